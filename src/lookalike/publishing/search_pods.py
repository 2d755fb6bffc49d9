"""What search pods say over HTTP: why one is not ready, and from which snapshot the Service answers.

A headless Service that publishes pods before they are ready resolves to all of them; each says on ``/readyz`` what it
waits for or refuses. So a roll-out learns which file is damaged without any right to look at pods. No proxy is asked
and no connection is kept: every question may meet another pod.
"""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PROBE_PORT = 8080
"""Where pods answer probes, whatever goes on at their public port: `--probe-port` in k8s/base/search."""
_TIMEOUT_S = 10.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Report:
    """What a pod that is not ready says of itself."""

    address: str
    index: str
    """The index snapshot that it refuses; ``""`` where it has come to none yet."""
    reason: str
    damaged: bool
    """The snapshot itself is at fault, so waiting is in vain."""

    def __str__(self) -> str:
        return f"pod {self.address}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Reply:
    """Of the answer to one search: the index snapshot (`str(Ref)`) that it came from, and how many hits it has."""

    index: str
    hits: int


def not_ready(url: str) -> list[Report]:
    """A report of each pod behind the host of `url` that answers and is not ready; none where nothing resolves."""
    at = urlsplit(url)
    port = at.port or 80
    try:
        found = socket.getaddrinfo(at.hostname, port, type=socket.SOCK_STREAM)
    except OSError:  # no such name from here, or no pods
        return []
    reports = []
    for address in sorted({str(entry[4][0]) for entry in found}):
        host = f"[{address}]" if ":" in address else address
        with contextlib.suppress(OSError, ValueError):  # it has not begun to listen, or ends
            report = _report(address, _ask(f"{at.scheme}://{host}:{port}/readyz"))
            if report is not None:
                reports.append(report)
    return reports


def search(url: str, photo: bytes) -> Reply:
    """Search for `photo` at the service of `url`. Raises `OSError` or `ValueError` with what was said instead."""
    body = _ask(f"{url}/v1/search?k=1", photo)
    if "detail" in body:
        raise ValueError(f"{body.get('status')}: {body['detail']}")
    return Reply(str(body.get("index")), len(body.get("hits", ())))


def _report(address: str, body: dict[str, Any]) -> Report | None:
    refused = body.get("refused")
    if body.get("ready"):
        return None
    if refused:
        return Report(
            address, str(refused.get("index")), str(refused.get("reason")), bool(refused.get("damaged"))
        )
    return Report(address, "", ", ".join(body.get("reasons", ())) or "not ready", damaged=False)


def _ask(url: str, photo: bytes | None = None) -> dict[str, Any]:
    """The JSON object that answers a GET, or a POST of `photo`, whatever its status."""
    headers = {} if photo is None else {"Content-Type": "image/jpeg"}
    try:
        reply = _OPENER.open(urllib.request.Request(url, photo, headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        body = json.load(reply)
    if not isinstance(body, dict):
        raise ValueError(f"{url} does not answer with a JSON object")  # noqa: TRY004
    return body
