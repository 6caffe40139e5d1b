"""Asks kernel, store and boot id for what `storage.clock_trust` judges.

The kernel's word is ``adjtimex(2)`` with ``modes = 0`` (reading needs no right): ``STA_UNSYNC`` clear means that
something disciplines the clock. chrony and systemd-timesyncd both maintain the flag.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from config.clock import Clock
from storage.clock_trust import ClockEvidence
from storage.objects.base import ObjectStore

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_TIMEX_BYTES = 208  # sizeof(struct timex) on 64-bit Linux
_STATUS_OFFSET = 40  # modes(4)+pad(4) offset(8) freq(8) maxerror(8) esterror(8) → status(4)


def kernel_synchronised() -> bool | None:
    """None where the kernel cannot be asked."""
    try:
        buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    status = int.from_bytes(buffer.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
    return state != _TIME_ERROR and not status & _STA_UNSYNC


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def gather(clock: Clock, store: ObjectStore, assume_synchronised: bool = False) -> ClockEvidence:
    """The evidence of this moment. A store that does not answer gives none."""
    try:
        store_ms = store.server_time()
    except Exception:  # any failure of the store only means: no second opinion
        store_ms = None
    return ClockEvidence(
        wall_ms=clock.wall_ns() // 1_000_000,
        monotonic_ms=clock.monotonic_ns() // 1_000_000,
        boot_id=boot_id(),
        kernel_synchronised=True if assume_synchronised else kernel_synchronised(),
        store_ms=store_ms,
    )
