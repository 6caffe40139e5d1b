"""Objects in an S3 bucket (MinIO, SeaweedFS, any other), through the `minio` client.

Segments are put by a request of our own, signed by minio's signer in the header with ``UNSIGNED-PAYLOAD`` and the
digest that the recorder took while writing as ``x-amz-checksum-sha256``: the client's own PUT would hash (and over TLS
also MD5) every byte again and double the cost of a camera (MEASUREMENTS C4); a presigned PUT cannot carry metadata or
checksum (D1). SeaweedFS does not check bodies against the *signature*, but both servers check the checksum header
(D1), and HEAD in checksum mode says what they have.

Belongs here: requests, deadlines, translation of S3 errors. Does not belong here: retries over minutes
(`storage.uploader`), lifecycle rules (the retention clock is ours), evidence locks (`storage.evidence`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import MinioException, S3Error
from minio.signer import sign_v4_s3
from urllib3.response import BaseHTTPResponse

from config.clock import Clock, SystemClock
from config.redact import Secret
from storage.objects import base
from storage.objects.base import CHUNK_BYTES, ObjectInfo, check_key

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 30
#: An upload slower than this is begun anew later: a store that trickles must not hold every worker (FAULTS B8).
SLOWEST_BYTES_PER_S = 32 * 1024
_BLOCK_BYTES = 64 * 1024  #: one send; at the slowest rate it still fits into the socket's timeout
_UNSIGNED = "UNSIGNED-PAYLOAD"
_REFUSALS = frozenset(
    {
        "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "AuthorizationHeaderMalformed",
        "InvalidBucketName", "AllAccessDisabled",
    }
)  # fmt: skip
_CHECKSUM_ERRORS = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest", "InvalidRequest"})
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
        object_lock: bool = False,
        clock: Clock | None = None,
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise base.refused("endpoint must be http(s)://host[:port]")
        self._base = f"{parts.scheme}://{parts.netloc}"
        self._region = region
        self._bucket = bucket
        self._object_lock = object_lock
        self._clock = clock or SystemClock()
        self._access_key = access_key
        self._secret_key = secret_key
        self._pool = urllib3.PoolManager(
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
        self._versioned: bool | None = None

    @property
    def bucket(self) -> str:
        return self._bucket

    # --- contract ---

    def ensure(self) -> None:
        with _translated(""):
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket, object_lock=self._object_lock)
            except S3Error as exc:
                if exc.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def put_file(
        self, key: str, path: Path, sha256: bytes, bytes: int, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        with path.open("rb", buffering=0) as file:
            return self._put(key, cast(BinaryIO, file), sha256, bytes, "video/mp4", metadata or {})

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        digest = hashlib.sha256(data).digest()
        return self._put(key, io.BytesIO(data), digest, len(data), "application/octet-stream", {})

    def head(self, key: str) -> ObjectInfo | None:
        check_key(key)
        with _translated(key):
            response = self._request("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
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
            response = self._request("HEAD", "", {})
            date = response.headers.get("Date")
        if not date:
            return None
        try:
            return round(parsedate_to_datetime(date).timestamp() * 1000)
        except (ValueError, OverflowError):
            return None

    def free_bytes(self) -> int | None:
        return None

    # --- inside ---

    def _put(
        self, key: str, body: BinaryIO, sha256: bytes, size: int, content_type: str, metadata: Mapping[str, str]
    ) -> ObjectInfo:
        check_key(key)
        checksum = base64.b64encode(sha256).decode()
        headers = {
            "Content-Length": str(size),
            "Content-Type": content_type,
            "If-None-Match": "*",
            "x-amz-checksum-sha256": checksum,
            **{f"x-amz-meta-{name}": _ascii(value) for name, value in metadata.items()},
        }
        deadline_ns = self._clock.monotonic_ns() + (READ_TIMEOUT_S + size // SLOWEST_BYTES_PER_S) * 1_000_000_000
        with _translated(key):
            response = self._request("PUT", key, headers, _Body(body, size, self._clock, deadline_ns))
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

    def _request(self, method: str, key: str, headers: dict[str, str], body: _Body | None = None) -> BaseHTTPResponse:
        """One signed request; the whole answer is read. Keys that `check_key` admits need no quoting."""
        url = urlsplit(f"{self._base}/{self._bucket}" + (f"/{key}" if key else ""))
        now = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC)
        signed = sign_v4_s3(
            method=method,
            url=url,
            region=self._region,
            headers={
                **headers,
                "Host": url.netloc,
                "x-amz-content-sha256": _UNSIGNED,
                "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
            },
            credentials=Credentials(self._access_key.reveal(), self._secret_key.reveal()),
            content_sha256=_UNSIGNED,
            date=now,
        )
        return self._pool.request(
            method,
            url.geturl(),
            headers=cast(dict[str, str], signed),
            body=cast(BinaryIO, body) if body is not None else None,
            retries=False if body is not None else None,
            redirect=False,
        )

    def _is_versioned(self) -> bool:
        if self._versioned is None:
            status = self._client.get_bucket_versioning(self._bucket).status
            self._versioned = bool(status) and status != "Off"
        return self._versioned


class _BehindTheEnd(Exception):
    """A range that begins behind the end of an object: no bytes, no failure."""


class _Body:
    """A request body with a deadline that no trickle can stretch, and exactly the promised length."""

    def __init__(self, source: BinaryIO, size: int, clock: Clock, deadline_ns: int) -> None:
        self._source = source
        self._left = size
        self._clock = clock
        self._deadline_ns = deadline_ns

    def read(self, size: int = -1) -> bytes:
        if self._clock.monotonic_ns() > self._deadline_ns:
            raise TimeoutError("upload is too slow")
        data = self._source.read(min(self._left, size if size > 0 else CHUNK_BYTES))
        if not data and self._left:
            raise OSError("the file is shorter than its row says")
        self._left -= len(data)
        return data


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
