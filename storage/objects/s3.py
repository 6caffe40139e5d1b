"""Objects in an S3 bucket (MinIO, SeaweedFS, any other), through the `minio` client.

Segments are put by a request of our own, signed by minio's signer in the header with ``UNSIGNED-PAYLOAD`` and the
digest that the recorder took while writing as ``x-amz-checksum-sha256``: the client's own PUT would hash (and over TLS
also MD5) every byte again and double the cost of a camera (MEASUREMENTS C4); a presigned PUT cannot carry metadata or
checksum (D1). SeaweedFS does not check bodies against the *signature*, but both servers check the checksum header
(D1), and HEAD in checksum mode says what they have.

A store whose clock is wrong refuses signatures (S3 allows 15 minutes): requests are then signed for the store's time.
Footage keeps ours, and `server_time` tells whoever asks how far apart they are (FAULTS B25).

Belongs here: requests, deadlines, translation of S3 errors. Does not belong here: retries over minutes
(`storage.uploader`), lifecycle rules (the retention clock is ours), locked evidence (`storage.objects.s3_evidence`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlencode, urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.credentials.credentials import Credentials
from minio.datatypes import Upload
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, LifecycleConfig, Rule
from minio.signer import sign_v4_s3
from urllib3.response import BaseHTTPResponse

from config.clock import Clock, SystemClock, wall_ms
from config.errors import TiergateError
from config.redact import Secret
from storage.lifecycle import UNFINISHED, UNFINISHED_DAYS
from storage.objects import base
from storage.objects.base import CHUNK_BYTES, SLOWEST_BYTES_PER_S, ObjectInfo, check_key

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
#: One send: few turns of the interpreter for a segment, and at the slowest rate still within the socket's timeout.
_BLOCK_BYTES = 512 * 1024
_UNSIGNED = "UNSIGNED-PAYLOAD"
_CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED"}
_SIGNATURE = ("authorization", "x-amz-date")
#: A store further away than this is asked again in its own time before its refusal is believed.
_SKEW_NOTICED_MS = 5 * 60_000
_REFUSALS = frozenset(
    {
        "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "AuthorizationHeaderMalformed",
        "InvalidBucketName", "AllAccessDisabled",
    }
)  # fmt: skip
_CHECKSUM_ERRORS = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest", "InvalidRequest"})
_NOT_KNOWN = frozenset({"NotImplemented", "MethodNotAllowed"})  #: of a server that lacks a kind of request
_MANY = 1_000  #: keys that one request may delete
_VERSIONED_NS = 60 * 10**9  #: so long is believed whether a bucket keeps versions
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,60})</Code>")


class S3Store:
    """One bucket. One instance per process (the client is thread-safe, not fork-safe: MEASUREMENTS A4)."""

    def __init__(
        self,
        endpoint: str,
        region: str,
        bucket: str,
        access_key: Secret,
        secret_key: Secret,
        ca_file: Path | None = None,
        connections: int = 8,
        clock: Clock | None = None,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise base.refused("endpoint must be http(s)://host[:port]")
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._bucket = bucket
        self._clock = clock or SystemClock()
        self._pool = _SignedPool(
            self._clock,
            region,
            Credentials(access_key.reveal(), secret_key.reveal()),
            num_pools=2,
            maxsize=connections,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
            # A pooled connection that the server closed meanwhile is worth one more try; anything longer is the
            # caller's.
            retries=urllib3.Retry(total=2, connect=1, read=1, status=0, redirect=0, other=0, backoff_factor=0.2),
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(ca_file) if ca_file is not None else None,
            blocksize=_BLOCK_BYTES,
        )
        self._client = Minio(
            parts.netloc,
            access_key=access_key.reveal(),
            secret_key=secret_key.reveal(),
            secure=parts.scheme == "https",
            region=region,
            http_client=self._pool,
        )
        self._versioned: tuple[bool, int] | None = None  #: and monotonic when the server said so

    @property
    def bucket(self) -> str:
        return self._bucket

    @property
    def server(self) -> str:
        return self._base

    # --- contract ---

    def ensure(self) -> None:
        with _translated(""):
            if not self._client.bucket_exists(self._bucket):
                try:
                    self._make_bucket()
                except S3Error as exc:
                    if exc.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                        raise
            self._end_unfinished_by_rule()

    def _make_bucket(self) -> None:
        self._client.make_bucket(self._bucket)

    def _end_unfinished_by_rule(self) -> None:
        """Unfinished uploads end by themselves after a day, where the store can do that; `drop_unfinished` else."""
        try:
            rules = self.lifecycle()
            if rules is None or any(rule.abort_incomplete_multipart_upload is not None for rule in rules):
                return
            ends = AbortIncompleteMultipartUpload(days_after_initiation=UNFINISHED_DAYS)
            rules.append(
                Rule(
                    status=ENABLED, rule_filter=Filter(prefix=""), rule_id=UNFINISHED.id,
                    abort_incomplete_multipart_upload=ends,
                )
            )  # fmt: skip
            self.set_lifecycle(rules)
        except (TiergateError, ValueError) as exc:
            _log.info(
                "the store takes no lifecycle rule", extra={"bucket": self._bucket, "problem": type(exc).__name__}
            )

    def lifecycle(self) -> list[Rule] | None:
        """The bucket's own rules; None of a server that has no such thing."""
        try:
            with _translated(""):
                standing = self._client.get_bucket_lifecycle(self._bucket)
        except TiergateError as exc:
            if exc.reason.params.get("problem") in ("NotImplemented", "MethodNotAllowed"):
                return None
            raise
        return list(standing.rules) if standing is not None else []

    def set_lifecycle(self, rules: Sequence[Rule]) -> None:
        with _translated(""):
            if rules:
                self._client.set_bucket_lifecycle(self._bucket, LifecycleConfig(list(rules)))
            else:
                self._client.delete_bucket_lifecycle(self._bucket)

    def put_file(
        self, key: str, path: Path, sha256: bytes, bytes: int, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        try:
            opened = path.open("rb", buffering=0)
        except OSError as exc:
            raise base.corrupt(key) from exc
        with opened as file:
            return self._put(key, cast(BinaryIO, file), sha256, bytes, "video/mp4", metadata or {})

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        digest = hashlib.sha256(data).digest()
        return self._put(key, io.BytesIO(data), digest, len(data), "application/octet-stream", {})

    def head(self, key: str) -> ObjectInfo | None:
        check_key(key)
        with _translated(key):
            response = self._request("HEAD", key, _CHECKSUM_MODE)
            if response.status == 404:
                return None
            _judge(response, key)
            return _info(key, response)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return b"".join(self.iter_range(key, offset, length))

    def iter_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        check_key(key)
        if length is not None and length <= 0:
            return iter(())
        try:
            with _translated(key):
                response = self._client.get_object(self._bucket, key, offset=offset, length=length or 0)
        except _BehindTheEnd:
            return iter(())
        return _pieces(response, key)

    def fetch(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        check_key(key)
        with _translated(key):
            response = self._client.get_object(self._bucket, key, request_headers={**_CHECKSUM_MODE})
        return _info(key, response), _pieces(response, key)

    def delete(self, key: str, version_id: str | None = None) -> None:
        check_key(key)
        with _translated(key):
            if version_id is not None or not self._is_versioned():
                self._client.remove_object(self._bucket, key, version_id=version_id)
                return
            # In a versioned bucket a plain DELETE only hides the object (FAULTS B26): each version must go.
            for item in self._client.list_objects(self._bucket, prefix=key, include_version=True):
                if item.object_name == key:
                    self._client.remove_object(self._bucket, key, version_id=item.version_id)

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        failed = base.one_by_one(check_key, keys)
        good = [key for key in keys if key not in failed]
        for start in range(0, len(good), _MANY):
            some = good[start : start + _MANY]
            try:
                with _translated(""):
                    errors = None if self._is_versioned() else self._remove(some)
            except TiergateError as exc:
                errors = dict.fromkeys(some, exc)
            failed |= base.one_by_one(self.delete, some) if errors is None else errors
        return failed

    def _remove(self, keys: Sequence[str]) -> dict[str, TiergateError] | None:
        """Those that one request did not remove; None from a server that has no such request."""
        failed: dict[str, TiergateError] = {}
        try:
            errors = list(self._client.remove_objects(self._bucket, [DeleteObject(key) for key in keys]))
        except S3Error as exc:
            if exc.code in _NOT_KNOWN:
                return None
            raise
        except (ParseError, ValueError) as exc:  # the client reads whatever comes with 200 as XML
            raise base.unavailable("answer is no list of deletions") from exc
        for error in errors:
            if error.code == "NoSuchKey":
                continue
            problem = base.refused(error.code) if error.code in _REFUSALS else base.unavailable(error.code[:60])
            if error.name is not None and error.name in keys:
                failed[error.name] = problem
            else:  # of the whole request
                failed |= dict.fromkeys(keys, problem)
        return failed

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        with _translated(prefix):
            found = self._client.list_objects(
                self._bucket, prefix=prefix or None, recursive=True, start_after=start_after or None
            )
            for item in found:
                if item.object_name is not None and not item.is_dir:
                    yield ObjectInfo(item.object_name, item.size or 0, None, item.version_id)

    def server_time(self) -> int | None:
        with _translated(""):
            return _date_ms(self._request("HEAD", "", {}))

    def drop_unfinished(self, prefix: str, before_ms: int, waiting: Callable[[Sequence[str]], Set[str]]) -> int:
        dropped = 0
        with _translated(""):
            # minio-py lists them only inside; a page is enough: what is left comes with the next look.
            found = self._client._list_multipart_uploads(self._bucket, prefix=prefix)
            old = [u for u in found.uploads if u.object_name and u.upload_id and self._last_act_ms(u) < before_ms]
            kept = waiting([str(upload.object_name) for upload in old]) if old else set()
            for upload in old:
                if upload.object_name not in kept:
                    self._client._abort_multipart_upload(self._bucket, str(upload.object_name), str(upload.upload_id))
                    dropped += 1
        return dropped

    def _last_act_ms(self, upload: Upload) -> float:
        """A slow upload is not a dead one: its newest part counts."""
        parts = self._client._list_parts(self._bucket, str(upload.object_name), str(upload.upload_id)).parts
        times = [upload.initiated_time, *(part.last_modified for part in parts)]
        known = [time.timestamp() * 1000 for time in times if time is not None]
        return max(known) if known else float("inf")

    # --- inside ---

    def _put(
        self, key: str, body: BinaryIO, sha256: bytes, size: int, content_type: str, metadata: Mapping[str, str],
        once: bool = True,
    ) -> ObjectInfo:  # fmt: skip
        check_key(key)
        checksum = base64.b64encode(sha256).decode()
        headers = {
            "Content-Length": str(size),
            "Content-Type": content_type,
            **({"If-None-Match": "*"} if once else {}),
            "x-amz-checksum-sha256": checksum,
            **{f"x-amz-meta-{name}": _ascii(value) for name, value in metadata.items()},
        }
        deadline_ns = self._clock.monotonic_ns() + (READ_TIMEOUT_S + size // SLOWEST_BYTES_PER_S) * 1_000_000_000
        with _translated(key):
            response = self._request("PUT", key, headers, _Body(body, size, self._clock, deadline_ns, key))
            if response.status not in (200, 412):
                _judge(response, key, checksum_errors=True)
        found = self.head(key)
        if found is None:
            raise base.unavailable("object is not there after its PUT")
        if found.bytes == size and found.sha256 is None:
            found = ObjectInfo(key, size, self._read_digest(key), found.version_id)
        if found.bytes != size or found.sha256 != sha256:
            raise base.exists(key) if response.status == 412 else base.corrupt(key)
        return found

    def _read_digest(self, key: str) -> bytes:
        """For a store, or an object of another hand, without a checksum: only reading it back tells."""
        digest = hashlib.sha256()
        for piece in self.iter_range(key):
            digest.update(piece)
        return digest.digest()

    def _request(
        self, method: str, key: str, headers: dict[str, str], body: _Body | None = None,
        query: Mapping[str, str] | None = None,
    ) -> BaseHTTPResponse:  # fmt: skip
        """One signed request; the whole answer is read. Keys that `check_key` admits need no quoting."""
        url = f"{self._base}/{self._bucket}" + (f"/{key}" if key else "") + (f"?{urlencode(query)}" if query else "")
        return self._pool.request(
            method,
            url,
            headers={**headers, "Host": urlsplit(url).netloc, "x-amz-content-sha256": _UNSIGNED},
            body=cast(BinaryIO, body) if body is not None else None,
            retries=False if body is not None else None,
            redirect=False,
        )

    def _is_versioned(self) -> bool:
        """Asked again each minute: somebody may switch versions on while a keeper runs for weeks."""
        now_ns = self._clock.monotonic_ns()
        if self._versioned is None or now_ns - self._versioned[1] > _VERSIONED_NS:
            try:
                status = self._client.get_bucket_versioning(self._bucket).status
            except S3Error as exc:
                if exc.code not in _NOT_KNOWN:
                    raise
                status = None  # a server without versions
            self._versioned = bool(status) and status != "Off", now_ns
        return self._versioned[0]


class _BehindTheEnd(Exception):
    """A range that begins behind the end of an object: no bytes, no failure."""


class _SignedPool(urllib3.PoolManager):
    """Signs every request, the client's too, for the time that the store believes in."""

    def __init__(self, clock: Clock, region: str, credentials: Credentials, **pool: Any) -> None:
        super().__init__(**pool)
        self._clock = clock
        self._region = region
        self._credentials = credentials
        self._skew_ms = 0  #: store minus ours; 0 while the store does not mind

    def urlopen(self, method: str, url: str, redirect: bool = True, **more: Any) -> BaseHTTPResponse:  # type: ignore[override]  # PoolManager's own
        believed_ms = self._skew_ms
        response = super().urlopen(method, url, redirect, **self._signed(method, url, more, believed_ms))
        if response.status != 403 or not self._learn(response, believed_ms):
            return response
        body = more.get("body")
        if isinstance(body, _Body):
            body.rewind()
        elif not isinstance(body, bytes | str | None):
            return response
        response.read()
        response.release_conn()
        return super().urlopen(method, url, redirect, **self._signed(method, url, more, self._skew_ms))

    def _signed(self, method: str, url: str, more: dict[str, Any], skew_ms: int) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._clock.wall_ns() / 1e9 + skew_ms / 1000, UTC)
        headers = {k: v for k, v in dict(more.get("headers") or {}).items() if k.lower() not in _SIGNATURE}
        content = next(v for k, v in headers.items() if k.lower() == "x-amz-content-sha256")
        signed = sign_v4_s3(
            method=method,
            url=urlsplit(url),
            region=self._region,
            headers={**headers, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")},
            credentials=self._credentials,
            content_sha256=content,
            date=now,
        )
        return {**more, "headers": signed}

    def _learn(self, response: BaseHTTPResponse, believed_ms: int) -> bool:
        """Whether the refusal may be about the time: the store's is far from the one that was signed for."""
        store_ms = _date_ms(response)
        if store_ms is None:
            return False
        skew_ms = store_ms - wall_ms(self._clock)
        if abs(skew_ms - believed_ms) < _SKEW_NOTICED_MS:
            return False
        if abs(skew_ms - self._skew_ms) >= _SKEW_NOTICED_MS:  # else another thread has learned it meanwhile
            self._skew_ms = skew_ms if abs(skew_ms) >= _SKEW_NOTICED_MS else 0
            skew = {"skew_s": skew_ms // 1000}
            _log.warning("the store's clock is not ours; requests are signed for its", extra=skew)
        return True


class _Body:
    """A request body with a deadline that no trickle can stretch, and exactly the promised length."""

    def __init__(self, source: BinaryIO, size: int, clock: Clock, deadline_ns: int, key: str = "") -> None:
        self._source = source
        self._key = key
        self._size = self._left = size
        self._clock = clock
        self._deadline_ns = deadline_ns

    def read(self, size: int = -1) -> bytes:
        if self._clock.monotonic_ns() > self._deadline_ns:
            raise TimeoutError("upload is too slow")
        try:
            data = self._source.read(min(self._left, size if size > 0 else CHUNK_BYTES))
        except OSError as exc:  # the spool's disk, not the store
            raise base.corrupt(self._key) from exc
        if not data and self._left:  # shorter than its row says
            raise base.corrupt(self._key)
        self._left -= len(data)
        return data

    def rewind(self) -> None:
        """An attempt that begins again sends everything again (FAULTS B8)."""
        self._source.seek(0)
        self._left = self._size


def _date_ms(response: BaseHTTPResponse) -> int | None:
    """What the store says the time is."""
    try:
        return round(parsedate_to_datetime(response.headers["Date"]).timestamp() * 1000)
    except (KeyError, ValueError, OverflowError):
        return None


def _ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()[:200]


def _info(key: str, response: BaseHTTPResponse) -> ObjectInfo:
    checksum = response.headers.get("x-amz-checksum-sha256")
    digest: bytes | None = None
    if checksum:
        with contextlib.suppress(ValueError):
            digest = base64.b64decode(checksum, validate=True)
    size = response.headers.get("Content-Length")
    if size is None or not size.isdigit():
        raise base.unavailable("HEAD without Content-Length")
    version = response.headers.get("x-amz-version-id")
    return ObjectInfo(key, int(size), digest, None if version == "null" else version)


def _judge(response: BaseHTTPResponse, key: str, checksum_errors: bool = False) -> None:
    """Raises for every answer that is not success."""
    if response.status in (200, 204, 206):
        return
    found = _CODE.search(response.data or b"")
    code = found[1].decode() if found else f"HTTP {response.status}"
    if checksum_errors and response.status == 400 and code in _CHECKSUM_ERRORS:
        raise base.corrupt(key)
    if response.status in (401, 403) or code in _REFUSALS:
        raise base.refused(code)
    if response.status == 404:
        raise base.missing(key)
    raise base.unavailable(code)


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except S3Error as exc:
        if exc.code in ("NoSuchKey", "NoSuchVersion"):
            raise base.missing(key) from exc
        if exc.code == "InvalidRange":
            raise _BehindTheEnd from exc
        if exc.code in _REFUSALS:
            raise base.refused(str(exc.code)) from exc
        raise base.unavailable(str(exc.code)[:60]) from exc
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as exc:
        raise base.unavailable(type(exc).__name__) from exc


def _pieces(response: BaseHTTPResponse, key: str) -> Iterator[bytes]:
    finished = False
    try:
        with _translated(key):
            yield from response.stream(CHUNK_BYTES)
        finished = True
    finally:
        # A connection with unread bytes must not go back into the pool.
        if not finished:
            response.close()
        response.release_conn()
