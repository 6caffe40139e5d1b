"""Identifiers: ULIDs, 20-digit camera ids, region codes. (pure)

Randomness and time are arguments. What an id *means* elsewhere (which table, which key) is not written here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.errors import Kind, TiergateError

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID_PATTERN = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def ulid(time_ms: int, entropy: bytes) -> str:
    """A ULID of `time_ms` (48 bit) and 10 bytes of `entropy`: sorts by time, never reused (FAULTS B28)."""
    if not 0 <= time_ms < 1 << 48 or len(entropy) != 10:
        raise ValueError("time_ms must fit 48 bits and entropy must be 10 bytes")
    value = time_ms << 80 | int.from_bytes(entropy, "big")
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    return ULID_PATTERN.fullmatch(text) is not None


#: Types of GB/T 28181 annex D/E that may be registered as a camera; 131 camera, 132 network camera, 111/118 recorder
#: channels.
CAMERA_TYPES = frozenset({"111", "118", "131", "132"})


@dataclass(frozen=True, slots=True)
class CameraId:
    """8 centre + 2 industry + 3 type + 1 network + 6 serial (GB/T 28181 rule A)."""

    centre: str
    industry: str
    type: str
    network: str
    serial: str

    def __str__(self) -> str:
        return self.centre + self.industry + self.type + self.network + self.serial

    @classmethod
    def parse(cls, text: str) -> CameraId:
        """Raises id.camera_malformed, id.camera_type_unknown. ASCII digits only: full-width digits are refused."""
        if not re.fullmatch(r"[0-9]{20}", text):
            raise TiergateError(Kind.INVALID, "id.camera_malformed", value=text[:40])
        parsed = cls(text[0:8], text[8:10], text[10:13], text[13], text[14:20])
        if parsed.type not in CAMERA_TYPES:
            raise TiergateError(Kind.INVALID, "id.camera_type_unknown", type=parsed.type, value=text)
        return parsed


def next_camera_id(centre: str, taken: set[str], industry: str = "01", type_: str = "132", network: str = "6") -> str:
    """The lowest free camera id of an 8-digit `centre` code. Raises ValueError when all 999 999 are taken."""
    prefix = f"{centre}{industry}{type_}{network}"
    serials = {int(c[14:]) for c in taken if c.startswith(prefix)}
    for serial in range(1, 1_000_000):
        if serial not in serials:
            return str(CameraId.parse(f"{prefix}{serial:06d}"))
    raise ValueError(f"no free serial under {prefix}")


REGION_DIGITS = (2, 4, 6, 9, 12)  #: significant digits of province, city, district, street, community


#: Login of a person or a wall.
LOGIN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,59}$"


def region_code(text: str) -> str:
    """`text` in its stored form: significant digits without trailing padding.

    12-digit zero-padded codes of GB/T 2260 and the statistical code come in as they are printed; the padding goes.
    Raises id.region_malformed.
    """
    if not re.fullmatch(r"[0-9]{2,12}", text):
        raise TiergateError(Kind.INVALID, "id.region_malformed", value=text[:40])
    if len(text) == 12:
        for digits in REGION_DIGITS:
            if set(text[digits:]) <= {"0"}:
                return text[:digits]
    if len(text) not in REGION_DIGITS:
        raise TiergateError(Kind.INVALID, "id.region_malformed", value=text)
    return text


def default_parent(code: str) -> str | None:
    """The parent by prefix: only a default, a stored `parent` wins (development zones, direct management)."""
    shorter = [digits for digits in REGION_DIGITS if digits < len(code)]
    return code[: shorter[-1]] if shorter else None


def centre_code(code: str) -> str:
    """The 8-digit centre code of a region in camera ids; streets and communities use their district's (R §3.1)."""
    return (code[:6] + "00").ljust(8, "0")
