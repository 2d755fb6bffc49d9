"""A server of photos on this machine, over http or https, which counts what is asked; tests use it, too."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Site:
    """A server of photos; what each path answers can be changed."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.together = self.most_together = 0
        self.photos: dict[str, bytes] = {}
        self.busy: Counter[str] = Counter()
        self.redirects: dict[str, str] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with site._lock:
                    site.asked[self.command, self.path] += 1
                    site.together += 1
                    site.most_together = max(site.most_together, site.together)
                try:
                    self.answer()
                finally:
                    with site._lock:
                        site.together -= 1

            do_HEAD = do_GET  # noqa: N815

            def answer(self) -> None:
                data = site.photos.get(self.path)
                status = 503 if site.busy[self.path] > 0 else 200 if data is not None else 404
                site.busy[self.path] -= 1
                told = {"Content-Type": "image/jpeg", "ETag": f'"{hash(data)}"'}
                if self.path in site.redirects:
                    status, told = 302, {"Location": site.redirects[self.path]}
                body = data if status == 200 and data is not None else b""
                told = {"Content-Length": str(len(body))} | told | site.headers.get(self.path, {})
                self.send_response(status)
                for name, value in told.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = "https"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def uri(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}"

    def gets(self) -> int:
        """Photos that were asked for."""
        with self._lock:
            return sum(count for (method, _), count in self.asked.items() if method == "GET")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def signed(path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that signs itself, in one file."""
    key, certificate = path.with_suffix(".key"), path.with_suffix(".crt")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-days", "2", "-subj", f"/CN={path.stem}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=60
    )
    path.write_bytes(key.read_bytes() + certificate.read_bytes())
    return path
