"""A file encrypted with a passphrase, written and read as a stream.

``tiergate-sealed-1\\n``, a line of JSON that names every algorithm and says in plain words what the file is, then
records: AES-256-GCM over 64 KiB each, the last one shorter or equal. Each record is bound to the head, to its number
and to whether it is the last, so a changed, cut, reordered or lengthened file does not open. The key is made from the
passphrase by argon2id with a salt of this file alone, so a number is never used twice with one key.

Belongs here: bytes to records and back. Does not belong here: what is inside (`storage.backup`), where the passphrase
comes from.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from typing import IO, Any

from argon2.low_level import Type, hash_secret_raw

from config import crypto
from config.errors import Kind, TiergateError
from config.redact import Secret

MAGIC = b"tiergate-sealed-1\n"
RECORD_BYTES = 64 * 1024
_TAG_BYTES = 16
_HEAD_MAX_BYTES = 64 * 1024
#: RFC 9106, second recommendation: 64 MiB of memory, 3 passes, 4 lanes.
_KDF = {"kdf": "argon2id", "memory_kib": 64 * 1024, "passes": 3, "lanes": 4}
#: A head that asks for more is not ours: it would only eat memory.
_KDF_MOST = {"memory_kib": 1 << 20, "passes": 16, "lanes": 16}


def _key(passphrase: Secret, head: dict[str, Any]) -> bytes:
    return hash_secret_raw(
        passphrase.reveal().encode(),
        crypto.unb64(head["salt"]),
        time_cost=head["passes"],
        memory_cost=head["memory_kib"],
        parallelism=head["lanes"],
        hash_len=32,
        type=Type.ID,
    )


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _binding(head_digest: bytes, number: int, last: bool) -> bytes:
    return head_digest + number.to_bytes(8, "big") + bytes([last])


class SealedWriter(io.RawIOBase):
    """`finish` writes the last record; a file without it does not open. `close` alone leaves it unfinished."""

    def __init__(self, file: IO[bytes], passphrase: Secret, about: dict[str, Any]) -> None:
        super().__init__()
        suite = crypto.DEFAULT_SUITE
        head = {"suite": suite.name, **_KDF, "salt": crypto.b64(os.urandom(16)), "about": about}
        lines = MAGIC + json.dumps(head, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        file.write(lines)
        self._file, self._suite, self._key = file, suite, _key(passphrase, head)
        self._head_digest = hashlib.sha256(lines).digest()
        self._number = 0
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        while len(self._waiting) > RECORD_BYTES:  # a full one waits: it may be the last
            self._record(bytes(self._waiting[:RECORD_BYTES]), last=False)
            del self._waiting[:RECORD_BYTES]
        return len(data)

    def finish(self) -> None:
        self._record(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _record(self, data: bytes, last: bool) -> None:
        bound = _binding(self._head_digest, self._number, last)
        self._file.write(self._suite.seal(self._key, _nonce(self._number), data, bound))
        self._number += 1


def read_head(file: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """(head, its digest). Raises backup.not_one, backup.unknown_suite. The file then stands at the first record."""
    try:
        magic, line = file.readline(len(MAGIC)), file.readline(_HEAD_MAX_BYTES)
        if magic != MAGIC or not line.endswith(b"\n"):
            raise ValueError("magic")
        head = json.loads(line)
        if head["kdf"] != _KDF["kdf"] or head["suite"] not in crypto.SUITES:
            raise TiergateError(Kind.INVALID, "backup.unknown_suite", suite=f"{head['kdf']}, {head['suite']}"[:80])
        if not all(1 <= int(head[name]) <= most for name, most in _KDF_MOST.items()):
            raise ValueError("kdf")
        if len(crypto.unb64(head["salt"])) < 16 or not isinstance(head["about"], dict):
            raise ValueError("salt")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise TiergateError(Kind.INVALID, "backup.not_one") from exc
    return head, hashlib.sha256(magic + line).digest()


class SealedReader(io.RawIOBase):
    """Gives out only what was authenticated. Raises backup.passphrase at the first record, backup.damaged later."""

    def __init__(self, file: IO[bytes], passphrase: Secret) -> None:
        super().__init__()
        head, self._head_digest = read_head(file)
        self.about: dict[str, Any] = head["about"]
        self._file, self._suite = file, crypto.SUITES[head["suite"]]
        try:
            self._key = _key(passphrase, head)
        except Exception as exc:  # argon2 refuses parameters in its own way
            raise TiergateError(Kind.INVALID, "backup.not_one") from exc
        self._number = 0
        self._next = file.read(RECORD_BYTES + _TAG_BYTES)
        self._ready = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._ended:
            self._open_record()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _open_record(self) -> None:
        sealed, self._next = self._next, self._file.read(RECORD_BYTES + _TAG_BYTES)
        last = not self._next
        bound = _binding(self._head_digest, self._number, last)
        try:
            data = self._suite.open(self._key, _nonce(self._number), sealed, bound)
        except TiergateError as exc:
            code = "backup.passphrase" if self._number == 0 else "backup.damaged"
            raise TiergateError(Kind.INVALID, code) from exc
        self._number += 1
        self._ready, self._ended = memoryview(data), last

    def drain(self) -> None:
        """Reads to the end: only then is it known that nothing was cut off."""
        while self.read(RECORD_BYTES):
            pass
