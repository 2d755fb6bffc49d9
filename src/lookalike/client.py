"""A search endpoint from Python: what a shop's own server, or a script, asks it with.

::

    from lookalike.client import Client

    shop = Client("https://search.example", key="lk_...")
    answer = shop.search("lamp.jpg", k=12, aspects={"colour": ["red"]})
    for hit in answer:
        print(hit.listing_id, hit.score, hit.title, shop.photo_url(hit.photo_id))

It needs urllib3 alone, neither an index nor a model, and knows the API of docs/api.md. A reply may gain fields with any
version: they stand in `more` of what has them, and `parameters` of a search takes what this client does not name. A
busy endpoint (429, 503) is asked again after as long as it says. Errors are a tree of their own::

    ClientError                 the endpoint cannot be asked: no connection, no reply in time, no JSON
    └── ApiError                it answered with an error: `status`, `type`, `detail`, `request_id`
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Retry, Timeout

from lookalike.errors import LookalikeError
from lookalike.parameter_texts import parameter_texts
from lookalike.version import VERSION

Photo = str | os.PathLike[str] | bytes | BinaryIO
"""A photo: the path of a file, its bytes, or a file that is open for reading them."""
Value = str | int | float | bool
Choices = Mapping[str, str | Sequence[str]]
"""Values of aspects, by name."""
Bounds = tuple[float | None, float | None]
"""Lowest and highest number, both included; None: no bound."""
_CONNECT_S = 5.0
_BUSY = (429, 503)


class ClientError(LookalikeError):
    """The endpoint cannot be asked."""


class ApiError(ClientError):
    """The endpoint answered with an error."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: int | None) -> None:
        self.status = status
        self.type = str(problem.get("type", ""))
        """Stable, such as ``urn:lookalike:problem:query``."""
        self.detail = str(problem.get("detail") or problem.get("title") or f"status {status}")
        self.request_id = str(problem.get("request_id", ""))
        """What the endpoint's log has it by."""
        self.retry_after = retry_after
        """Seconds after which it may be asked again; None where it does not say."""
        super().__init__(f"{status}: {self.detail}")


@dataclass(frozen=True)
class _Reply:
    """An object of a reply, with the fields that this client does not know in `more`."""

    more: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        """Raises `ClientError` where a field is missing."""
        known = {each.name for each in fields(cls)} - {"more"}
        try:
            return cls(
                **{name: value for name, value in body.items() if name in known},
                more={name: value for name, value in body.items() if name not in known},
            )
        except TypeError as error:
            raise ClientError(f"this is no reply of a search endpoint: {error}") from error


@dataclass(frozen=True)
class Hit(_Reply):
    """One listing of an answer; docs/api.md has the fields."""

    listing_id: str
    photo_id: str
    photo_ordinal: int
    category: str
    score: float
    distance: int
    group: str
    likeness: float | None = None
    alike: str | None = None
    beyond: bool = False
    matched_aspects: Mapping[str, str] = field(default_factory=dict)
    aspects: Mapping[str, Sequence[str]] | None = None
    """What it states of the aspects in `show`; None where there were none."""
    explain: Mapping[str, Any] | None = None
    """The parts of its score, where they were asked for."""
    title: str | None = None
    price: float | None = None
    currency: str | None = None
    seller: str | None = None
    availability: str | None = None
    url: str | None = None
    image_url: str | None = None
    extra: Mapping[str, str | float] = field(default_factory=dict)
    """What it states in the shop's own columns."""


@dataclass(frozen=True)
class Answer(_Reply):
    """What a search found, best first: a sequence of `Hit`, and what else the reply says."""

    hits: tuple[Hit, ...]
    categories: Sequence[Mapping[str, Any]]
    aspects: Mapping[str, Sequence[Mapping[str, Any]]]
    release: str
    index: str
    delta: str | None = None
    query_id: str | None = None
    """Stands for the photo in a next search, for a while."""
    answer_id: str | None = None
    """By which `send_events` speaks of this answer; None where nothing of it is kept."""
    likeness: float | None = None
    nothing_alike: bool = False
    text: Mapping[str, Any] | None = None
    """What the words beside the photo were taken to mean."""
    boxes: Sequence[Sequence[float]] = ()
    """Where in the photo something of the catalogue's kind may be."""
    box: Sequence[float] | None = None
    """That of these which was searched with instead of the whole photo."""
    facets: Mapping[str, Any] | None = None
    """Counts of what the nearest listings that pass the filters state, where they were asked for."""
    explain: Mapping[str, Any] | None = None
    """How the answer came about, where that was asked for."""
    partial: Mapping[str, Any] | None = None
    """Which shards are missing, where some are."""
    scanned: int = 0
    unlearned: int = 0
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Self:
        return super().read({**body, "hits": tuple(Hit.read(hit) for hit in body.get("hits", ()))})

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, place: int) -> Hit:
        return self.hits[place]


@dataclass(frozen=True)
class Listing(_Reply):
    """Everything that the index knows of one listing."""

    listing_id: str
    category: str
    photo_id: str
    group: str
    aspects: Mapping[str, Sequence[str]]
    photo_ordinal: int = 0
    title: str | None = None
    price: float | None = None
    currency: str | None = None
    seller: str | None = None
    availability: str | None = None
    url: str | None = None
    image_url: str | None = None
    extra: Mapping[str, str | float] = field(default_factory=dict)


class Client:
    """A search endpoint. It keeps connections open; several threads may use one."""

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        timeout: float = 15,
        retries: int = 3,
        longest_wait: float = 30,
        connections: int = 8,
    ) -> None:
        """`address` is such as ``https://search.example``, `key` an API key where it asks for one.

        A reply must begin within `timeout` seconds. A request that met no connection, or a busy endpoint, is sent
        `retries` times more, after the seconds that `Retry-After` says, at most `longest_wait`.
        """
        self._address = address.rstrip("/")
        self._headers = {"User-Agent": f"lookalike-client/{VERSION}", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        retry = _Patient(
            total=retries,
            status_forcelist=_BUSY,
            allowed_methods=None,  # a search changes nothing, whatever its method is
            backoff_factor=0.2,
            raise_on_status=False,
            redirect=0,
        )
        retry.longest = longest_wait
        self._retry = retry
        self._pool = urllib3.PoolManager(
            maxsize=connections, timeout=Timeout(connect=min(_CONNECT_S, timeout), read=timeout)
        )

    def search(
        self,
        photo: Photo | None = None,
        *,
        listing_id: str | None = None,
        k: int = 24,
        offset: int = 0,
        categories: Sequence[str] = (),
        categories_not: Sequence[str] = (),
        everything: bool = False,
        aspects: Choices | None = None,
        aspects_not: Choices | None = None,
        price: Bounds | None = None,
        ranges: Mapping[str, Bounds] | None = None,
        seller: str | Sequence[str] = (),
        seller_not: str | Sequence[str] = (),
        currency: str | Sequence[str] = (),
        currency_not: str | Sequence[str] = (),
        availability: str | Sequence[str] = (),
        availability_not: str | Sequence[str] = (),
        exclude: Sequence[str] = (),
        exclude_group: Sequence[str] = (),
        box: tuple[float, float, float, float] | None = None,
        text: str = "",
        sort: str | None = None,
        show: str | Sequence[str] = (),
        facets: bool = False,
        explain: bool = False,
        **parameters: Value | Sequence[Value] | None,
    ) -> Answer:
        """Listings that look like `photo`, or like the listing named.

        Parameters are those of docs/api.md. `aspects` (values by name), `price` and `ranges` (lowest and highest
        number, None for an open end), `seller` and so on filter; those ending in ``_not`` keep out. `box` is the part
        of the photo to look for, `text` says words beside it ("in red"). `facets` and `explain` fill those of the
        answer, `show` the `aspects` of hits. Any other parameter may be given by its name. Raises `ApiError`,
        `QueryError` where a value cannot be sent, and `ClientError` where the endpoint cannot be asked.
        """
        query = parameter_texts(
            {
                "listing_id": listing_id,
                "k": k,
                "offset": offset or None,
                "categories": categories,
                "categories_not": categories_not,
                "everything": everything,
                "aspects": aspects,
                "aspects_not": aspects_not,
                "price": price,
                "ranges": ranges,
                "seller": seller,
                "seller_not": seller_not,
                "currency": currency,
                "currency_not": currency_not,
                "availability": availability,
                "availability_not": availability_not,
                "exclude": exclude,
                "exclude_group": exclude_group,
                "box": box,
                "text": text or None,
                "sort": sort,
                "show": show,
                "facets": facets,
                "explain": explain,
                **parameters,
            }
        )
        body = b"" if photo is None else _bytes_of(photo)
        return Answer.read(self._json("POST", f"/v1/search?{urlencode(query)}", body))

    def send_events(self, answer: Answer, events: Iterable[tuple[str, int]], *, offset: int = 0) -> int:
        """Say what of an answer was shown or clicked: ``[("impression", 0), ("click", 3)]``, each with the hit's place.

        `offset` is that of the search. How many were kept: none where the endpoint keeps none of this answer.
        """
        if answer.answer_id is None:
            return 0
        said = [
            {
                "event": event,
                "answer_id": answer.answer_id,
                "listing_id": answer[place].listing_id,
                "rank": offset + place + 1,
            }
            for event, place in events
        ]
        body = json.dumps({"events": said}, allow_nan=False).encode()
        return int(self._json("POST", "/v1/events", body, "application/json")["kept"])

    def listing(self, listing_id: str) -> Listing:
        """One listing. Raises `ApiError` with status 404 where there is none."""
        return Listing.read(self._json("GET", f"/v1/listings/{quote(listing_id, safe='')}"))

    def catalogue(self) -> dict[str, Any]:
        """What there is to filter by: categories, aspect values and prices, with counts."""
        return self._json("GET", "/v1/catalogue")

    def photo(self, photo_id: str, *, size: int = 240) -> bytes:
        """A listing's photo, a JPEG whose longer side has 96, 240, 480 or 960 pixels."""
        return self._ask("GET", f"/v1/photos/{quote(photo_id, safe='')}?size={size}").data

    def photo_url(self, photo_id: str, *, size: int = 240) -> str:
        """Where a page finds that photo."""
        return f"{self._address}/v1/photos/{quote(photo_id, safe='')}?size={size}"

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _json(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/octet-stream"
    ) -> dict[str, Any]:
        return _object(self._ask(method, path, body, content_type).data, self._address)

    def _ask(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/octet-stream"
    ) -> urllib3.BaseHTTPResponse:
        headers = {**self._headers, "Content-Type": content_type} if body else self._headers
        try:
            reply = self._pool.request(
                method, self._address + path, body=body or None, headers=headers, retries=self._retry
            )
        except HTTPError as error:
            raise ClientError(f"{self._address} cannot be asked: {error}") from error
        if reply.status in (200, 202):
            return reply
        wait = reply.headers.get("Retry-After", "")
        try:
            problem = _object(reply.data, self._address)
        except ClientError:  # a proxy's page
            problem = {}
        raise ApiError(reply.status, problem, int(wait) if wait.isdecimal() else None)


class _Patient(Retry):
    """Waits as long as a busy endpoint says, but not for ever."""

    longest = 30.0

    def new(self, **kw: Any) -> Self:
        found = super().new(**kw)
        found.longest = self.longest
        return found

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, self.longest)


def _object(data: bytes, address: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError as error:
        raise ClientError(f"{address} answers with something that is not JSON") from error
    if not isinstance(body, dict):
        raise ClientError(f"{address} answers with something that is no object")
    return body


def _bytes_of(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    if isinstance(photo, str | os.PathLike):
        return Path(photo).read_bytes()
    return photo.read()
