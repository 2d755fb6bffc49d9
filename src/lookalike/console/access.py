"""Who may press the buttons: one token, shown once as a log-in or sent with each request.

A browser logs in with the token and a name; it gets a cookie that scripts cannot read and other sites cannot make it
send, signed with a key made from the token and of this process alone. So a session ends with its log-out, after twelve
hours, with a new token, and with the process. Actions by cookie must also carry the session's CSRF value, which only a
page of ours can read. Programs send ``Authorization: Bearer <token>``. All comparisons take the same time wherever they
differ. An address that shows wrong tokens may try again only now and then; meanwhile the right one is refused, too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from lookalike.errors import SettingsError
from lookalike.listening import Rate, network_of

COOKIE = "lookalike_console"
CSRF_HEADER = "X-CSRF-Token"
SESSION_S = 12 * 3600
SHORTEST_TOKEN = 16
_GUESSES, _GUESSES_PER_S = 10, 0.1
"""Wrong tokens of one address at once, and how many more a second."""
_LONGEST_NAME = 60


class TooManyGuesses(Exception):
    """An address has shown so many wrong tokens that none of it is looked at for a while."""


def client_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who has shown the token. `csrf` is empty for programs, which need none."""

    name: str
    csrf: str


class Access:
    """Checks tokens, sessions and CSRF values."""

    def __init__(
        self, token: str, *, clock: Callable[[], float] = time.time, process: bytes | None = None
    ) -> None:
        """`process` makes the sessions those of one process; None: random bytes."""
        if len(token) < SHORTEST_TOKEN:
            raise SettingsError(f"the console's token needs at least {SHORTEST_TOKEN} characters")
        self._token = token.encode()
        secret = self._token + b"\0" + (secrets.token_bytes(32) if process is None else process)
        self._key = hashlib.sha256(b"lookalike console session\0" + secret).digest()
        self._clock = clock
        self._guesses = Rate(_GUESSES_PER_S, _GUESSES, clock=clock)
        self._ended: dict[str, int] = {}
        """Sessions that were logged out, until they would have ended by time: only holders of the token make such."""

    def log_in(self, name: str, token: str, client: str = "") -> str | None:
        """The value of the session cookie, or None where the token is wrong. Raises `TooManyGuesses`."""
        if not self._is_token(token, client):
            return None
        who = base64.urlsafe_b64encode((name.strip()[:_LONGEST_NAME] or "somebody").encode()).decode()
        body = f"{who}.{int(self._clock()) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{body}.{self._sign('session', body)}"

    def log_out(self, session: str) -> None:
        """End a session, wherever else its cookie is."""
        if self._of_session(session) is not None:
            now = self._clock()
            self._ended = {each: until for each, until in self._ended.items() if until >= now}
            self._ended[session] = _end_of(session)

    def operator(self, request: Request) -> Operator | None:
        """Who sends this request, by header or cookie; None for a stranger. Raises `TooManyGuesses`."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            known = self._is_token(token.strip(), client_of(request))
            return Operator("token", "") if known else None
        return self._of_session(request.cookies.get(COOKIE, ""))

    def may_act(self, request: Request) -> Operator | None:
        """The operator, if this request was meant by them and not made for them by another site."""
        operator = self.operator(request)
        if operator is None or not operator.csrf:
            return operator
        sent = request.headers.get(CSRF_HEADER, "")
        return operator if hmac.compare_digest(sent.encode(), operator.csrf.encode()) else None

    def _is_token(self, token: str, client: str) -> bool:
        network = network_of(client) if client else ""
        if self._guesses.spent(network):
            raise TooManyGuesses
        known = hmac.compare_digest(token.encode(), self._token)
        if not known:
            self._guesses.wait(network)
        return known

    def _of_session(self, session: str) -> Operator | None:
        body, _, signature = session.rpartition(".")
        if not body or not hmac.compare_digest(signature.encode(), self._sign("session", body).encode()):
            return None
        who = body.partition(".")[0]
        if _end_of(session) < self._clock() or session in self._ended:
            return None
        return Operator(base64.urlsafe_b64decode(who).decode(), self._sign("csrf", session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()


def _end_of(session: str) -> int:
    """When a session that was signed ends, in seconds since the epoch."""
    return int(session.split(".")[1])
