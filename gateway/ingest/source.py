"""The `Source` seam: one camera stream as a blocking iterator, and the one error a source may raise.

Belongs here: the Protocol, `SourceError`, the causes of gaps. Does not belong here: any implementation (libav is
`gateway.ingest.libav_source`; a faster one drops in beside it), reconnecting (`gateway.ingest.supervision`).
tests/gateway/ingest/conformance.py is the suite that every source must pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from config.reasons import Reason
from config.redact import Secret
from storage.media.access_unit import AccessUnit, StreamConfig


class GapCause(StrEnum):
    """Why a second has no footage (DESIGN §2)."""

    CAMERA_OFFLINE = "camera_offline"
    NETWORK = "network"
    CREDENTIALS = "credentials"
    UNSUPPORTED = "unsupported"
    RECORDER_DOWN = "recorder_down"
    DISK_FULL = "disk_full"
    DISK_SLOW = "disk_slow"
    CLOCK = "clock"
    DISABLED = "disabled"
    SHED = "shed"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


#: With fragments of 0.68 s, syncs each 0.8 s and a tick of 0.2 s this keeps the loss of a crash under 2 s (I2).
RELAXED_S = 0.25


#: Nothing took the connection: such a try costs a camera nothing.
_NOBODY_THERE = frozenset({"camera.refused", "camera.unreachable", "camera.address_unresolvable"})


class SourceError(Exception):
    """The stream cannot be opened or has ended. `reason` is safe to show: no secret, no foreign text unredacted."""

    def __init__(self, cause: GapCause, code: str, **params: object) -> None:
        self.cause = cause
        self.reason = Reason(code, params)
        super().__init__(f"{cause}: {code}")

    @property
    def answered(self) -> bool:
        """Whether something took the connection."""
        return self.reason.code not in _NOBODY_THERE


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """Where a stream is and how to get in."""

    url: str  #: rtsp or rtsps, without user information
    username: str | None = None
    password: Secret | None = None
    audio: bool = False  #: False: sound is not even asked for


class Source(Protocol):
    """One session with one camera stream, used by one thread and once.

    ``open()`` connects, or raises SourceError. Iterating then yields a `StreamConfig` first, and again at each change
    of parameter sets, each before the units it describes; units come in decoding order per track, `dts` strictly
    increasing within an epoch, the first video unit of each epoch a key frame or units before it to be dropped by the
    segmenter. Sound counts on the picture's timeline: equal times were taken together. The iterator returns only after
    `stop()`; every other end is a SourceError, after all units that came before it. ``close()`` frees the connection,
    in the thread that iterated.

    `relaxed` is a wish of the owner: nobody watches, so units may come in batches of up to `RELAXED_S`, which saves
    most thread switches. It may change at any moment.
    """

    relaxed: bool

    def open(self) -> None: ...

    def __iter__(self) -> Iterator[StreamConfig | AccessUnit]: ...

    def stop(self) -> None:
        """From any thread: the iterator ends at the next packet or its read deadline. Idempotent, never blocks."""
        ...

    def cut(self) -> None:
        """From any thread: whatever the source waits for ends now, and nobody is told goodbye. Idempotent, never
        blocks."""
        ...

    def close(self) -> None: ...


class SourceFactory(Protocol):
    """Makes a source for one session. May raise SourceError (address refused)."""

    def __call__(self, address: StreamAddress, /) -> Source: ...
