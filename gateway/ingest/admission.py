"""May footage be written now? Low disk stops new footage instead of deleting old footage early (DESIGN §6).

Below `min_free_percent` only what is precious is recorded (key classes, cameras under a hold), below
`critical_free_percent` nothing. One object per spool volume; its watch calls `observe`, every stream `refuses`.
"""

from __future__ import annotations

from collections.abc import Callable

from config.reasons import Reason
from config.settings import Spool
from gateway.ingest.source import GapCause

#: The class that ordinary cameras have; every other is somebody's decision to keep more.
ORDINARY_CLASS = "default"

#: Space must be this much above the limit before footage is admitted again: no flutter at the edge.
_HYSTERESIS_PERCENT = 0.5


class Admission:
    def __init__(self, settings: Spool, measure: Callable[[], float]) -> None:
        self._settings = settings
        self._measure = measure
        self._free_percent = 100.0
        self._low = self._critical = False

    def observe(self) -> None:
        try:
            self._free_percent = free = self._measure()
        except OSError:
            return  # a volume that cannot be asked fails the writers, which says it better
        self._low = free < self._settings.min_free_percent + (_HYSTERESIS_PERCENT if self._low else 0.0)
        self._critical = free < self._settings.critical_free_percent + (_HYSTERESIS_PERCENT if self._critical else 0.0)

    def refuses(self, precious: bool) -> tuple[GapCause, Reason] | None:
        if self._critical:
            return GapCause.DISK_FULL, Reason("recorder.disk_full")
        if self._low and not precious:
            return GapCause.SHED, Reason("recorder.shed", {"free_percent": round(self._free_percent, 1)})
        return None
