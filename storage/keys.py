"""Names of objects in a store. (pure)

Belongs here: how a segment's key is made and read. Does not belong here: what keys a store admits
(`storage.objects.base`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from config.ids import is_ulid

CATALOG_FOLDER = "_catalog"  #: beneath the node: journals and checkpoints, not footage
QUARANTINE_FOLDER = "_quarantine"  #: beneath the node: damaged bytes that a whole copy has replaced
CANARY_FOLDER = "_canary"  #: beneath the node, in the evidence store: what must not be deletable
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  #: of the year 9999, behind which no date is
_SEGMENT = re.compile(
    r"(?P<node>[A-Za-z0-9_][A-Za-z0-9._-]*)/(?P<camera>[0-9A-Za-z]+)/[0-9]{4}/[0-9]{2}/[0-9]{2}/[0-9]{2}/"
    r"(?P<start>[0-9]+)-(?P<ulid>[0-9A-Z]{26})\.mp4"
)
_QUARANTINED = re.compile(
    rf"[A-Za-z0-9_][A-Za-z0-9._-]*/{QUARANTINE_FOLDER}/(?P<camera>[0-9A-Za-z]+)/[0-9]+-[0-9]+-(?P<ulid>[0-9A-Z]{{26}})\.mp4"
)


def segment_key(node: str, camera: str, start_ms: int, segment_id: str) -> str:
    """``<node>/<camera>/<yyyy>/<mm>/<dd>/<hh>/<start_ms>-<ulid>.mp4`` in UTC: a day of a camera is one prefix.

    Raises OverflowError behind the year 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=start_ms)
    return f"{node}/{camera}/{moment:%Y/%m/%d/%H}/{start_ms}-{segment_id}.mp4"


def dated_key(prefix: str, at_ms: int, seq: int) -> str:
    """``<prefix><yyyy>/<mm>/<dd>/<at_ms>-<seq>.json`` in UTC: small objects beside the footage, in the order of time.

    Raises OverflowError behind the year 9999.
    """
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return f"{prefix}{moment:%Y/%m/%d}/{at_ms:013d}-{seq:012d}.json"


def quarantine_key(object_key: str, at_ms: int) -> str:
    """Where damaged bytes go: ``<node>/_quarantine/<camera>/<at_ms>-<start_ms>-<ulid>.mp4``. Camera and segment are in
    the name, so that they end with their source even when no row tells of it; since when they lie there as well, for a
    file's own time means nothing (FAULTS B13)."""
    node, camera, *_, name = object_key.split("/")
    return f"{node}/{QUARANTINE_FOLDER}/{camera}/{at_ms}-{name}"


def parse_quarantine_key(key: str) -> tuple[str, str] | None:
    """(camera, segment id); None when it is no `quarantine_key`."""
    match = _QUARANTINED.fullmatch(key)
    return (match["camera"], match["ulid"]) if match is not None and is_ulid(match["ulid"]) else None


@dataclass(frozen=True, slots=True)
class SegmentKey:
    node: str
    camera: str
    start_ms: int
    segment_id: str


def parse_segment_key(key: str) -> SegmentKey | None:
    """None when `key` is not exactly what `segment_key` would have made."""
    match = _SEGMENT.fullmatch(key)
    if match is None or not is_ulid(match["ulid"]) or len(match["start"]) > 15:
        return None
    found = SegmentKey(match["node"], match["camera"], int(match["start"]), match["ulid"])
    if found.start_ms > _LAST_MS or segment_key(found.node, found.camera, found.start_ms, found.segment_id) != key:
        return None
    return found
