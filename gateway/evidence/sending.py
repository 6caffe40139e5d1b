"""An evidence package while it is sent: a ZIP that nobody keeps, made of segments as they were recorded.

Belongs here: reading and comparing the segments, the manifest, its signature, the audit entry that names it. Does not
belong here: what the manifest says of footage (`gateway.evidence.contents`), the format (`gateway.evidence.verifier`),
who may (`gateway.web.routers.exports`).

The manifest comes last and says what was sent, not what was meant to be: a package that breaks off anywhere has no
signature. A segment is read whole before its first byte leaves, because a ZIP says a file's checksum before its bytes;
one too large to be held is read twice. At no time is more than one of them in memory.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import crypto
from config.errors import Kind, TiergateError
from config.units import format_time_ms
from gateway.evidence import verifier, words
from gateway.evidence.contents import CameraContents, Contents, camera_json, classes_json, file_of
from gateway.playback.footage import Footage, Piece, piece_of
from storage.audit.log import Checkpoint, Entry, canonical_json, export
from storage.catalog.segments import SegmentRow

HELD_BYTES = 64 << 20  #: a segment up to this is read once; a minute of 8 Mbit/s is 60 MB
_READ_BYTES = 4 << 20

#: Writes the audit entry of a manifest (its details are the argument) and signs the log's head behind it.
Record = Callable[[dict[str, Any]], Awaitable[tuple[Entry, Checkpoint]]]


@dataclass(frozen=True, slots=True)
class Maker:
    """Who makes the package, where, and what for."""

    package_id: str
    made_ms: int
    node: dict[str, Any]  #: id, name, region, tier, version
    private_key: bytes
    person: dict[str, Any]  #: person, unit, login, kind
    purpose: str
    reason: str
    case_no: str | None
    registers: Sequence[str]  #: rows of the call register, one a camera, in their order


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of the package, and of which camera's (place in `Contents.cameras`) pictures they are."""

    camera: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Whole:
    """A segment that was read through."""

    piece: Piece
    size: int  #: in bytes
    sha256: bytes
    crc: int
    held: tuple[bytes, ...] | None  #: None: too large


class _Zip:
    """What is written of the ZIP so far."""

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self._directory = bytearray()
        self._count = self._at = 0

    def head(self, name: str, size: int, sha256: bytes, crc: int) -> bytes:
        """What stands before the bytes of a file, which must follow."""
        head = verifier.local_header(name, size, crc)
        self._directory += verifier.central_header(name, size, crc, self._at)
        self.files.append({"name": name, "bytes": size, "sha256": sha256.hex()})
        self._at += len(head) + size
        self._count += 1
        return head

    def small(self, name: str, data: bytes) -> bytes:
        return self.head(name, len(data), hashlib.sha256(data).digest(), zlib.crc32(data)) + data

    def end(self) -> bytes:
        return bytes(self._directory) + verifier.directory_end(self._count, len(self._directory), self._at)


async def send(
    footage: Footage, contents: Contents, maker: Maker, record: Record, held_bytes: int = HELD_BYTES
) -> AsyncGenerator[Part, None]:
    """The bytes of the package. Raises media.play_bytes_away, media.store_unavailable and whatever `record` raises:
    what was sent until then is no package."""
    made = _Zip()
    # With the first segment and not before: what cannot begin is said with a reason.
    waiting = made.small("README.txt", words.ENGLISH.encode()) + made.small("README.zh-CN.txt", words.CHINESE.encode())
    waiting += made.small("verify_evidence.py", Path(verifier.__file__).read_bytes())
    differing: set[str] = set()
    for number, part in enumerate(contents.cameras):
        for row in part.segments:
            whole = await _as_recorded(footage, row, row.id in part.marked, held_bytes)
            if whole.sha256 != row.sha256:
                differing.add(row.id)
            yield Part(number, waiting + made.head(file_of(row), whole.size, whole.sha256, whole.crc))
            waiting = b""
            async for chunk in _again(footage, whole):
                yield Part(number, chunk)
    manifest = canonical_json(_manifest(contents, maker, made.files, frozenset(differing)))
    entry, head = await record(_details(contents, maker, manifest, len(made.files)))
    signed = crypto.sign(maker.private_key, verifier.statement(manifest)).as_text()
    out = made.small(verifier.MANIFEST, manifest) + made.small(verifier.SIGNATURE, signed.encode() + b"\n")
    out += made.small(verifier.AUDIT, "".join(export([entry], [head])).encode())
    yield Part(0, out + made.end())


async def _as_recorded(footage: Footage, row: SegmentRow, marked: bool, held_bytes: int) -> _Whole:
    """The segment, read through. One whose bytes are not what was recorded is marked for everybody, and comes from its
    second copy where that is whole."""
    whole = await _read_through(footage, piece_of(row, damaged=marked), held_bytes)
    if whole.sha256 == row.sha256:
        return whole
    return await _read_through(footage, await footage.examine(whole.piece), held_bytes)


async def _read_through(footage: Footage, piece: Piece, held_bytes: int) -> _Whole:
    digest, crc, size = hashlib.sha256(), 0, 0
    held: list[bytes] | None = []
    while data := await footage.read(piece, size, _READ_BYTES):
        digest.update(data)
        crc = zlib.crc32(data, crc)
        size += len(data)
        if held is not None:
            held.append(data)
        if size > held_bytes:
            held = None
    if not size:
        raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away")
    return _Whole(piece, size, digest.digest(), crc, None if held is None else tuple(held))


async def _again(footage: Footage, whole: _Whole) -> AsyncGenerator[bytes, None]:
    """The bytes that were read through. Raises media.play_bytes_away when they are others now."""
    if whole.held is not None:
        for data in whole.held:
            yield data
        return
    digest, at = hashlib.sha256(), 0
    while at < whole.size:
        data = await footage.read(whole.piece, at, min(_READ_BYTES, whole.size - at))
        if not data:
            raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away")
        digest.update(data)
        at += len(data)
        yield data
    if digest.digest() != whole.sha256:
        raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away")


def _manifest(
    contents: Contents, maker: Maker, files: list[dict[str, Any]], differing: frozenset[str]
) -> dict[str, Any]:
    public_key = crypto.DEFAULT_SUITE.public_key(maker.private_key)
    pairs: Sequence[tuple[CameraContents, str]] = list(zip(contents.cameras, maker.registers, strict=True))
    value = {
        "format": verifier.FORMAT,
        "package": maker.package_id,
        "made_ms": maker.made_ms,
        "made_utc": format_time_ms(maker.made_ms),
        "node": maker.node | {"public_key": crypto.b64(public_key)},
        "maker": maker.person,
        "purpose": maker.purpose,
        "reason": maker.reason,
        "asked": {
            "stream": contents.stream,
            "from_ms": contents.from_ms,
            "from_utc": format_time_ms(contents.from_ms),
            "to_ms": contents.to_ms,
            "to_utc": format_time_ms(contents.to_ms),
        },
        "cameras": [camera_json(part, contents, register, differing) for part, register in pairs],
        "classes": classes_json(contents.classes),
        "files": list(files),
    }
    return value if maker.case_no is None else value | {"case_no": maker.case_no}


def _details(contents: Contents, maker: Maker, manifest: bytes, files: int) -> dict[str, Any]:
    return {
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "cameras": [part.camera.id for part in contents.cameras],
        "stream": contents.stream,
        "from_ms": contents.from_ms,
        "to_ms": contents.to_ms,
        "files": files,
        "purpose": maker.purpose,
        "reason": maker.reason,
        "case_no": maker.case_no,
        "registers": list(maker.registers),
    }
