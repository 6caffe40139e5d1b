"""Asks clock, store and boot id for what `storage.clock_trust` judges."""

from __future__ import annotations

from pathlib import Path

from config.clock import Clock
from storage.clock_trust import ClockEvidence
from storage.objects.base import ObjectStore


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
        kernel_synchronised=True if assume_synchronised else clock.synchronised(),
        store_ms=store_ms,
    )
