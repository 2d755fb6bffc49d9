"""An object store in S3, or in a server that speaks its protocol. The only module that imports boto3.

Reads are retried by botocore, and here where a body breaks off after its headers have come. A conditional write is
sent once: after a time-out or a 5xx its outcome is unknown and said to be so, because sending it again could lose a
race against itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import RetriesExceededError, S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from lookalike.errors import (
    AccessDenied,
    LostRace,
    ObjectNotFound,
    OutcomeUnknown,
    StorageError,
    StoreUnavailable,
    StoreUnsupported,
)
from lookalike.settings import S3Settings
from lookalike.storage.objects import ObjectInfo, check_key
from lookalike.storage.versions import OldVersions

_TRANSFER = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=32 << 20, max_concurrency=4)
_ABSENT = {"404", "NoSuchKey", "NotFound"}
_DENIED = {"403", "AccessDenied", "Forbidden"}
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}  # these come with status 400
_LOST = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_BROKEN_BODY = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)


class S3Store:
    """`ObjectStore` over one bucket and prefix. Safe to use from several threads."""

    def __init__(self, bucket: str, prefix: str = "", settings: S3Settings | None = None) -> None:
        self.bucket, self.prefix = bucket, prefix
        self.settings = settings or S3Settings()
        self._session = boto3.session.Session()  # the default one would keep the first credentials for ever
        self._reader = self._client(attempts=self.settings.attempts)
        self._writer = self._client(attempts=1)

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def head(self, key: str) -> ObjectInfo:
        with self._translated(key):
            reply = self._reader.head_object(Bucket=self.bucket, Key=self._key(key))
        return ObjectInfo(key, reply["ContentLength"], reply["ETag"], reply["LastModified"])

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        span = {} if start == 0 and length is None else {"Range": _range(start, length)}
        return self._read(key, span)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        return self._read(key, {})

    def download(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated(key):  # boto3 reads broken bodies again, into a temporary file that it renames
            self._reader.download_file(self.bucket, self._key(key), str(path), Config=_TRANSFER)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        condition: dict[str, str] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        elif if_match is not None:
            condition["IfMatch"] = if_match if self.settings.if_match_quoted else if_match.strip('"')
        client = self._writer if condition else self._reader
        with self._translated(key, writing=bool(condition)):
            reply = client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, **condition)
        etag: str = reply["ETag"]
        return etag

    def upload(self, key: str, path: Path, *, give: bool = False) -> None:
        with self._translated(key):
            self._reader.upload_file(str(path), self.bucket, self._key(key), Config=_TRANSFER)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        start = f"{self.prefix}/{prefix}" if self.prefix else prefix
        cut = len(self.prefix) + 1 if self.prefix else 0
        with self._translated(prefix):
            pages = self._reader.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield ObjectInfo(entry["Key"][cut:], entry["Size"], entry["ETag"], entry["LastModified"])

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._reader.delete_object(Bucket=self.bucket, Key=self._key(key))

    def local_path(self, key: str) -> Path | None:
        return None

    def remove_unfinished(self, before: datetime) -> int:
        """Abort uploads in parts that nobody finished; see `storage.leftovers`. The parts cost, and are not listed."""
        removed = 0
        start = f"{self.prefix}/" if self.prefix else ""
        with self._translated(""):
            pages = self._reader.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=start
            )
            for upload in [found for page in pages for found in page.get("Uploads", ())]:
                if upload["Initiated"] < before:
                    self._reader.abort_multipart_upload(
                        Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    removed += 1
        return removed

    def old_versions(self) -> OldVersions | None:
        """See `storage.versions`. Objects of a bucket that never had versions have the one version ``null``."""
        start, known, count, size = f"{self.prefix}/" if self.prefix else "", False, 0, 0
        with self._translated(""):
            pages = self._reader.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=start
            )
            for page in pages:
                known = known or bool(page.get("DeleteMarkers"))
                for entry in page.get("Versions", ()):
                    known = known or entry["VersionId"] != "null"
                    if not entry["IsLatest"]:
                        count, size = count + 1, size + entry["Size"]
        return OldVersions(count, size) if known else None

    def _read(self, key: str, span: dict[str, str]) -> tuple[bytes, str]:
        attempt = 1
        with self._translated(key):
            while True:
                reply = self._reader.get_object(Bucket=self.bucket, Key=self._key(key), **span)
                try:
                    return reply["Body"].read(), reply["ETag"]
                except _BROKEN_BODY:
                    if attempt >= self.settings.attempts:
                        raise
                time.sleep(min(0.1 * 2**attempt, 2))
                attempt += 1

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def _client(self, attempts: int) -> Any:
        settings = self.settings
        return self._session.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            config=Config(
                connect_timeout=settings.connect_timeout_s,
                read_timeout=settings.read_timeout_s,
                retries={"mode": "standard", "total_max_attempts": attempts},
                max_pool_connections=16,
                request_checksum_calculation=settings.checksums,
                response_checksum_validation=settings.checksums,
            ),
        )

    @contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        name = f"{self.uri}/{key}"
        try:
            yield
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = str(error.response.get("Error", {}).get("Code", status))
            if code == "NoSuchBucket":
                message = f"{self.uri}: there is no bucket {self.bucket!r}; create it first"
                raise StoreUnavailable(key, message) from error
            if code == "InvalidObjectState":
                raise StorageError(key, f"{name} is archived ({code}); restore it first") from error
            if code in _DENIED:
                raise AccessDenied(key, f"{name}: access denied ({code}); check the credentials") from error
            if code in _EXPIRED or status in (401, 403):
                message = f"{name}: the store refuses the credentials ({code}); check them"
                raise StoreUnavailable(key, message) from error
            if code in _LOST or status in (409, 412):
                raise LostRace(key, f"{name} was written by somebody else ({code})") from error
            if code == "NotImplemented" or status == 501:
                message = f"{name}: the store does not know conditional writes, so refs are not safe in it"
                raise StoreUnsupported(key, message) from error
            if code in _ABSENT or status == 404:
                raise ObjectNotFound(key, f"{name} does not exist") from error
            if writing and status >= 500:
                raise OutcomeUnknown(key, f"{name}: the write got {code}; it may have happened") from error
            if status >= 500:
                raise StoreUnavailable(key, f"{name}: the store answers {code}") from error
            raise StorageError(key, f"{name}: {error}") from error
        except NoCredentialsError as error:
            message = f"{name}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise StoreUnavailable(key, message) from error
        except RetriesExceededError as error:
            message = f"{name}: the store cannot be reached ({error.last_exception})"
            raise StoreUnavailable(key, message) from error
        except (HTTPClientError, IncompleteReadError) as error:  # time-outs and broken connections
            if writing:
                raise OutcomeUnknown(key, f"{name}: the write got no answer; it may have happened") from error
            raise StoreUnavailable(key, f"{name}: the store cannot be reached ({error})") from error
        except S3UploadFailedError as error:  # boto3 wraps what the upload met
            if not isinstance(error.__context__, Exception):
                raise StoreUnavailable(key, f"{name}: {error}") from error
            with self._translated(key, writing=writing):
                raise error.__context__ from None
        except BotoCoreError as error:
            raise StoreUnavailable(key, f"{name}: {error}") from error


def _range(start: int, length: int | None) -> str:
    return f"bytes={start}-" if length is None else f"bytes={start}-{start + length - 1}"
