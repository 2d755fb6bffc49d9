"""Every error that Lookalike raises on purpose, as one small tree.

A message says what happened, in which file or key, and what to do. Errors of libraries are translated
where they enter (storage, photos, index files, the Kubernetes API), with the cause chained.

::

    LookalikeError
    ├── SettingsError            a setting or an option is wrong
    ├── CatalogueError           the catalogue as a whole cannot be used
    │   ├── NothingLeft          all its rows were left out, or all but too few
    │   └── PhotoOutside         a photo's place is not one that the catalogue may name
    ├── PhotoError               these bytes are not a photo we take (`rule` says which rule)
    ├── TrainingError            nothing to learn from, the loss is not a number, or a rank is gone
    │   └── TrainingStopped      SIGTERM: what was learned is kept, the same command goes on
    ├── StorageError
    │   ├── ObjectNotFound       no such key
    │   ├── StoreUnavailable     cannot be reached, no such bucket, credentials refused
    │   │   └── AccessDenied     the credentials are good, but not for this key (403)
    │   ├── StoreUnsupported     the store does not know conditional writes (501)
    │   ├── LostRace             a conditional write lost (412, 409): somebody else was first
    │   ├── OutcomeUnknown       a write timed out: read back before trying again
    │   └── CorruptObject        the bytes differ from their digest or break the format
    ├── SegmentError             an index file is damaged, foreign or too new (`rule` says which rule)
    ├── ReleaseError             a model release is damaged or does not fit the index
    ├── QueryError               a search request is wrong
    │   ├── QueryExpired         the query that it goes on with is no more: ask anew
    │   └── QueryUnreachable     the address that it names gives no photo
    ├── ServiceBusy              a search process cannot take a request now; later, or another, can
    ├── QualityGateError         the new model release is worse than the live one
    ├── PublishingHeld           a roll-back keeps this from being published unattended
    ├── DataGateError            the new index differs too much from the live one
    └── RolloutError             the cluster could not be rolled to the snapshot that is to be live
        └── RolloutRefused       its pods did not come up with it: it is taken back
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

_LISTED_AT_MOST = 12
"""Names that a message lists; a shop may have thousands of categories."""


class LookalikeError(Exception):
    """Base of all errors that a user can act on; the CLI prints the message as one line and exits with 1."""

    exit_code = 1


class SettingsError(LookalikeError):
    """A setting or an option is wrong."""

    exit_code = 2


class CatalogueError(LookalikeError):
    """The catalogue as a whole cannot be used: unreadable, a required column missing, nothing left."""


class NothingLeft(CatalogueError):
    """No row of a catalogue can be used, or too few to learn from. `left_out` (`Losses`) are those that cannot, with
    reasons."""

    def __init__(self, message: str, left_out: Any) -> None:
        super().__init__(message)
        self.left_out = left_out


class PhotoOutside(CatalogueError):
    """A photo's place is not one that its catalogue may name: its folder or bucket, or a root that is allowed."""


class PhotoError(LookalikeError):
    """These bytes are not a photo that we take.

    `rule` is a short stable word: `type`, `bytes`, `pixels`, `effort`, `truncated`, `damaged`, `empty`.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


class TrainingError(LookalikeError):
    """Training cannot start or go on."""


class TrainingStopped(TrainingError):
    """Training was asked to stop (SIGTERM) and has kept its state. Exit code 143 is 128 + SIGTERM, as shells say it."""

    exit_code = 143


class StorageError(LookalikeError):
    """Base of the object store's errors; `key` is the object's key or the store's URI."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class ObjectNotFound(StorageError):
    """There is no object of that key."""


class StoreUnavailable(StorageError):
    """The store cannot be reached, the bucket does not exist, or access is denied."""


class AccessDenied(StoreUnavailable):
    """Access to this key is denied; other keys may be open.

    S3 says so of a key that does not exist too, where the credentials may not list the bucket.
    """


class StoreUnsupported(StorageError):
    """The store does not know conditional writes, so refs cannot be moved safely in it."""


class LostRace(StorageError):
    """A conditional write lost: the object exists already, or is no longer the one that was read."""


class OutcomeUnknown(StorageError):
    """A write got no answer: it may or may not have happened. Read back before trying again."""


class CorruptObject(StorageError):
    """The bytes differ from their digest, or break the format they claim."""


class SegmentError(LookalikeError):
    """An index file is damaged, foreign or too new. `file` and `rule` name what broke what."""

    def __init__(self, file: str, rule: str, message: str) -> None:
        super().__init__(f"{file}: {message} (rule: {rule})")
        self.file = file
        self.rule = rule


class ReleaseError(LookalikeError):
    """A model release is damaged, or does not fit the index snapshot beside it."""


class QueryError(LookalikeError):
    """A search request is wrong: an unknown category, a box outside the photo, k out of range."""


class QueryExpired(QueryError):
    """The query that a request goes on with is no more: its photo must be sent again."""


class QueryUnreachable(QueryError):
    """The address that a request names gives no photo."""


class ServiceBusy(LookalikeError):
    """A search process cannot take this request now: not ready, full, too late, or stopping.

    `retry_after` is the number of seconds after which trying again makes sense.
    """

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QualityGateError(LookalikeError):
    """The new model release is worse than the live one by more than the margin."""


class PublishingHeld(LookalikeError):
    """A roll-back keeps this from being published without a person: a hold, or this was rejected. Nothing is wrong."""


class DataGateError(LookalikeError):
    """The new index differs from the live one by more than the bounds: rather a broken catalogue than a new one."""


class RolloutError(LookalikeError):
    """The cluster could not be rolled to the snapshot: out of reach, not allowed, somebody else rolls out."""


class RolloutRefused(RolloutError):
    """The pods did not come up with the new snapshot, or do not answer from it: it is to be taken back."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is none of `known`: the one that was probably meant, and all where they are few."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    there = f"; there are {', '.join(names) or 'none'}" if len(names) <= _LISTED_AT_MOST else ""
    return f"unknown {kind} {name[:100]!r}{there}{meant}"
