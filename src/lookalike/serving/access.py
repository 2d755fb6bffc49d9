"""Who may ask, and how often: hosts, API keys and rates, before a request costs anything.

ASGI middleware. Probes pass: they come by a pod's address. A request that names no host, or two, is refused whatever
the settings, since whoever forwards it and whoever answers could each believe another. Keys and rates are for a search
process that other sites can reach; without settings nothing is asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, ClassVar

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lookalike.errors import SettingsError, unknown
from lookalike.layers import Env
from lookalike.listening import Rate, network_of, wrong_host
from lookalike.serving import keys
from lookalike.serving.problems import problem

PARTS = ("page", "photos", "search")
"""What can be open without a key: the search page, photos by their id, and everything else below /v1/."""
_PROBES = frozenset({"/livez", "/readyz"})
_OPEN = frozenset({"/openapi.json", "/web/client.js"})
"""What tells how to ask, and nothing of the shop."""
_TOO_MANY = "too many requests; wait as long as Retry-After says"


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may ask a search process. Without any of these everybody may, as often as the queue takes."""

    table: ClassVar[str] = "access"

    keys_file: Annotated[Path | None, Env("LOOKALIKE_KEYS_FILE")] = None
    """File of API keys, whose lines `lookalike keys` makes; None: no key is asked for. It is read anew on change."""
    public: tuple[str, ...] = ("photos",)
    """What needs no key where others do: of ``page``, ``photos``, ``search``. Photos are open unless this says
    otherwise: an ``<img>`` sends no key, and a photo's id cannot be guessed. The page searches without a key, so
    ``page`` is of use with ``search`` alone."""
    per_key: float = 0
    """Requests a second of each key, in the mean; 0: no limit."""
    per_address: Annotated[float, Env("LOOKALIKE_REQUESTS_PER_ADDRESS")] = 0
    """Requests a second of each client address (IPv6: of one /64) that shows no key; 0: no limit. Behind a proxy all
    clients have one address: limit there. Each process counts for itself."""
    burst: int = 60
    """Requests that may come at once before a rate holds: a page of 24 hits asks for as many photos."""
    hosts: Annotated[tuple[str, ...], Env("LOOKALIKE_HOSTS")] = ()
    """Names that requests may be sent to, without port; empty: any."""
    origins: Annotated[tuple[str, ...], Env("LOOKALIKE_ORIGINS")] = ()
    """Origins (``https://shop.example``) whose pages may read replies (CORS); empty: none but our own."""

    def __post_init__(self) -> None:
        for part in self.public:
            if part not in PARTS:
                raise SettingsError(f"public: {unknown('part', part, PARTS)}")
        if min(self.per_key, self.per_address) < 0 or not math.isfinite(self.per_key + self.per_address):
            raise SettingsError("per_key and per_address must be 0 (no limit) or more")
        if self.burst < 1:
            raise SettingsError(f"burst must be at least 1, not {self.burst}")
        for origin in self.origins:
            scheme, separator, rest = origin.partition("://")
            if origin != "*" and (
                scheme not in ("http", "https") or not separator or not rest or "/" in rest
            ):
                raise SettingsError(f"origins: {origin!r} is no origin, such as https://shop.example")


def with_access(app: ASGIApp, config: AccessConfig) -> ASGIApp:
    """`app` behind these rules. Raises `SettingsError` where the file of keys cannot be read."""
    guarded: ASGIApp = Access(app, config)
    if config.origins:  # outside, so that a page can read why it was refused, and asks first without a key
        guarded = CORSMiddleware(
            guarded,
            allow_origins=config.origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-Request-ID"),
            expose_headers=("Retry-After", "X-Request-ID"),
            max_age=600,
        )
    return guarded


def charge(request: Request, requests: int) -> None:
    """Count a request as so many more. Raises `HTTPException` 429 where its client may not ask so often."""
    if requests > 0 and (wait := request.scope["charge"](requests)):
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY, {"Retry-After": str(math.ceil(wait))})


class Access:
    """Lets a request through, or answers 400, 401, 403 or 429 in the application's stead."""

    def __init__(self, app: ASGIApp, config: AccessConfig) -> None:
        self._app, self._config = app, config
        self._keys = None if config.keys_file is None else keys.KeyFile(config.keys_file)
        self._hosts = frozenset(host.lower() for host in config.hosts)
        self._of_key = Rate(config.per_key, config.burst)
        self._of_address = Rate(config.per_address, config.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in _PROBES:
            app = self._refusal(scope) or app
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """The reply to a request that may not pass; None for one that may."""
        request = Request(scope)
        if detail := wrong_host(scope, self._hosts):
            return problem(request, HTTPStatus.BAD_REQUEST, "host", detail)
        given = _key_of(scope)
        key = None
        if self._keys is not None and given:
            key = self._keys.find(given)
        if key is not None:
            scope.get("notes", {})["key"] = key.name
        if self._keys is not None and (needed := _scope_of(scope["path"], self._config.public)):
            if key is None:
                said = (
                    "this API key is not known"
                    if given
                    else "an API key is needed: Authorization: Bearer KEY"
                )
                headers = {"WWW-Authenticate": "Bearer"}
                # A guesser is counted as the stranger he is.
                return self._too_often(request, None) or problem(
                    request, HTTPStatus.UNAUTHORIZED, "key", said, headers=headers
                )
            if not key.allows(needed):
                said = f"this API key's scopes do not hold {needed!r}"
                return problem(request, HTTPStatus.FORBIDDEN, "scope", said)
        return self._too_often(request, key)

    def _too_often(self, request: Request, key: keys.Key | None) -> ASGIApp | None:
        client = request.client
        rate, name = self._of_address, network_of(client.host) if client else ""
        if key is not None:
            rate, name = self._of_key, key.name
        request.scope["charge"] = partial(rate.wait, name)
        wait = rate.wait(name)
        if not wait:
            return None
        headers = {"Retry-After": str(math.ceil(wait))}
        return problem(request, HTTPStatus.TOO_MANY_REQUESTS, "rate", _TOO_MANY, headers=headers)


def _scope_of(path: str, public: tuple[str, ...]) -> keys.Scope | None:
    """The scope that a key needs for this path; None where none is needed."""
    if path in _OPEN:
        return None
    if path == "/metrics":
        return "admin"
    if path == "/v1/events":
        return "events"
    if path.startswith("/v1/photos/"):
        part = "photos"
    elif path.startswith("/v1/"):
        part = "search"
    else:
        part = "page"
    return None if part in public else "search"


def _key_of(scope: Scope) -> str:
    """The key that a request shows, or nothing."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            return str(key).strip() if scheme.lower() == "bearer" else ""
    return ""
