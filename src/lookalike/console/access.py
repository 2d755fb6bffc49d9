"""Who may press the buttons: one token, shown once as a log-in or sent with each request.

A browser logs in with the token and a name; it gets a cookie that scripts cannot read and other sites cannot make it
send, signed with a key made from the token, so changing the token ends every session. Actions by cookie must also
carry the session's CSRF value, which only a page of ours can read. Programs send ``Authorization: Bearer <token>``.
All comparisons take the same time wherever they differ.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from lookalike.errors import SettingsError

COOKIE = "lookalike_console"
CSRF_HEADER = "X-CSRF-Token"
SESSION_S = 12 * 3600
SHORTEST_TOKEN = 16
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who has shown the token. `csrf` is empty for programs, which need none."""

    name: str
    csrf: str


class Access:
    """Checks tokens, sessions and CSRF values."""

    def __init__(self, token: str, *, clock: Callable[[], float] = time.time) -> None:
        if len(token) < SHORTEST_TOKEN:
            raise SettingsError(f"the console's token needs at least {SHORTEST_TOKEN} characters")
        self._token = token.encode()
        self._key = hashlib.sha256(b"lookalike console session\0" + self._token).digest()
        self._clock = clock

    def log_in(self, name: str, token: str) -> str | None:
        """The value of the session cookie, or None where the token is wrong."""
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        who = base64.urlsafe_b64encode((name.strip()[:_LONGEST_NAME] or "somebody").encode()).decode()
        body = f"{who}.{int(self._clock()) + SESSION_S}"
        return f"{body}.{self._sign('session', body)}"

    def operator(self, request: Request) -> Operator | None:
        """Who sends this request, by header or cookie; None for a stranger."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            known = hmac.compare_digest(token.strip().encode(), self._token)
            return Operator("token", "") if known else None
        return self._of_session(request.cookies.get(COOKIE, ""))

    def may_act(self, request: Request) -> Operator | None:
        """The operator, if this request was meant by them and not made for them by another site."""
        operator = self.operator(request)
        if operator is None or not operator.csrf:
            return operator
        sent = request.headers.get(CSRF_HEADER, "")
        return operator if hmac.compare_digest(sent.encode(), operator.csrf.encode()) else None

    def _of_session(self, session: str) -> Operator | None:
        body, _, signature = session.rpartition(".")
        if not body or not hmac.compare_digest(signature.encode(), self._sign("session", body).encode()):
            return None
        who, _, until = body.partition(".")
        if int(until) < self._clock():
            return None
        return Operator(base64.urlsafe_b64decode(who).decode(), self._sign("csrf", session))

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
