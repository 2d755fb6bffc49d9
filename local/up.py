"""`make up`: Prefect's server, the served flows, the search endpoint and the console, as one group of processes.

The supervisor starts them in order, waits until each answers, says the addresses, and watches. One that ends is
started again, unless it keeps ending: then everything stops with its last words. Ctrl-C or SIGTERM ends them in
reverse order, flows before the server they report to; whoever does not end in time is killed. Should the supervisor
itself be killed, the kernel tells its children to end.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import ipaddress
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.settings import LocalSettings, inherited
from tasks import environment

ROOT = Path(__file__).parents[1]
_ENDS_IN_A_ROW = 3
_SETTLED_S = 60.0
_READY_S = 180.0
_STOP_S = 25.0
_PR_SET_PDEATHSIG = 1


@dataclass
class Service:
    """One process: what runs it, where it answers, and how it has been doing."""

    name: str
    command: Sequence[str]
    health: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    ends: list[float] = field(default_factory=list)

    def start(self, environ: Mapping[str, str]) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends them in order
                preexec_fn=_end_with_parent,
            )
        self.started = time.monotonic()

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.health, timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """Ask the process to end; kill its whole session if it does not."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self, lines: int = 12) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Stopped(Exception):
    """Somebody asked the supervisor to end."""


def supervise(services: Sequence[Service], environ: Mapping[str, str], ready: str) -> int:
    """Run the services until somebody stops us (0) or one cannot be kept up (1). `ready` is said once all answer."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        for service in services:
            service.start(environ)
            _wait_until_it_answers(service)
        print(ready, flush=True)
        while all(_kept_up(service, environ) for service in services):
            time.sleep(1)
        return 1
    except Stopped:
        print("\nstopping ...", flush=True)
        return 0
    except TimeoutError as error:
        print(f"{error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # one is enough
        for service in reversed(services):
            service.stop()
        print("stopped", flush=True)


def _wait_until_it_answers(service: Service) -> None:
    until = time.monotonic() + _READY_S
    assert service.process is not None
    while not service.answers():
        if service.process.poll() is not None:
            raise TimeoutError(f"{service.name} ended at its start:\n{service.last_words()}")
        if time.monotonic() > until:
            raise TimeoutError(f"{service.name} does not answer:\n{service.last_words()}")
        time.sleep(0.2)


def _kept_up(service: Service, environ: Mapping[str, str]) -> bool:
    assert service.process is not None
    code = service.process.poll()
    if code is None:
        return True
    now = time.monotonic()
    service.ends = [*(end for end in service.ends if now - end < _SETTLED_S), now]
    words = f"{service.name} ended with {code}"
    if len(service.ends) >= _ENDS_IN_A_ROW:
        print(f"{words} {len(service.ends)} times:\n{service.last_words()}", file=sys.stderr, flush=True)
        return False
    print(f"{words}; starting it again (log: {service.log})", file=sys.stderr, flush=True)
    service.start(environ)
    return True


def _stop(number: int, frame: object) -> None:
    raise Stopped


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _token(home: Path) -> str:
    """The console's token: set by the environment, or made once and kept readable to its owner alone."""
    if token := LocalSettings().console_token:
        return token
    file = home / "console-token"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
    return file.read_text().strip()


def services(home: Path, host: str, ports: Mapping[str, int]) -> list[Service]:
    """The four processes in the order in which they start."""
    python, logs = sys.executable, home / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    def at(name: str) -> list[str]:
        return ["--host", host, "--port", str(ports[name])]

    def url(name: str) -> str:
        return f"http://{host}:{ports[name]}"

    registered = f"{url('prefect')}/api/deployments/name/publish/publish"
    program = [python, "-c", "from lookalike.cli import main; main()"]
    return [
        Service(
            "Prefect's server",
            [python, "-m", "prefect", "server", "start", *at("prefect")],
            f"{url('prefect')}/api/health",
            logs / "prefect.log",
        ),
        Service("the flows", [python, "-m", "local.deployments"], registered, logs / "flows.log"),
        Service("search", [*program, "serve", *at("search")], f"{url('search')}/livez", logs / "search.log"),
        Service(
            "the console",
            [*program, "console", *at("console")],
            f"{url('console')}/livez",
            logs / "console.log",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make up", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--directory", type=Path, default=Path(".demo"), help="state of everything that runs here"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="of the search page")
    parser.add_argument("--console-port", type=int, default=8001)
    parser.add_argument("--prefect-port", type=int, default=4200)
    options = parser.parse_args(arguments)
    home: Path = options.directory.absolute()
    home.mkdir(parents=True, exist_ok=True)
    ports = {"search": options.port, "console": options.console_port, "prefect": options.prefect_port}
    address = {name: f"http://{options.host}:{port}" for name, port in ports.items()}
    environ = inherited()
    _sample_where_nothing_is_named(home, environ)
    environment.own_home(home / "prefect", environ)
    environment.lasting_server(environ)
    environ.setdefault("LOOKALIKE_STORE", (home / "store").as_uri())
    environ.setdefault("LOOKALIKE_CATALOGUE", str(home / "catalogue" / "catalogue.csv"))
    token = _token(home)
    environ |= {
        "PREFECT_API_URL": f"{address['prefect']}/api",
        "PREFECT_UI_API_URL": f"{address['prefect']}/api",
        "LOOKALIKE_CONSOLE_TOKEN": token,
        "LOOKALIKE_CONSOLE_SEARCH_URL": address["search"],
    }
    environ.setdefault("PREFECT_RUNNER_POLL_FREQUENCY", "2")
    ready = (
        f"\n  search page   {address['search']}\n  console       {address['console']}   token: {token}\n"
        f"  Prefect       {address['prefect']}\n\n  store         {environ['LOOKALIKE_STORE']}\n"
        f"  catalogue     {environ['LOOKALIKE_CATALOGUE']}\n  logs          {home / 'logs'}\n\nCtrl-C stops everything."
    )
    if not _is_loopback(options.host):
        print(
            f"Prefect has no password: whoever reaches {address['prefect']} can run flows and remove what they keep.",
            flush=True,
        )
    print("starting Prefect, the flows, search and the console ...", flush=True)
    return supervise(services(home, options.host, ports), environ, ready)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sample_where_nothing_is_named(home: Path, environ: Mapping[str, str]) -> None:
    """Without LOOKALIKE_CATALOGUE the sample catalogue is the shop's, drawn at the first start."""
    if "LOOKALIKE_CATALOGUE" in environ:
        return
    from sample_shop import write_sample

    print("no LOOKALIKE_CATALOGUE is set: working on the sample catalogue", flush=True)
    write_sample(home / "catalogue")


if __name__ == "__main__":
    sys.exit(main())
