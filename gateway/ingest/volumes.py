"""Spool volumes as a recorder uses them: which is well, and which camera is written to which.

Each volume has its own writers and its own syncs, so that a disk that stalls holds up the cameras of no other. A camera
has its places in a fixed order: homes go round by the camera's number, what comes after is spread by hash, so that a
disk that fails hands its cameras to all others. A camera is written to the first place that is well, and comes back
when that is well again. A volume that is missing or is another one is never written
to, and nothing of it counts as lost.

Belongs here: health and choice of volumes, telling of both. Does not belong here: files (`storage.spool`), moving
a stream from one volume to another (`gateway.ingest.recording`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from config.clock import Deadline, steady_s
from config.errors import TiergateError
from config.reasons import Reason
from gateway.ingest.admission import Admission
from gateway.ingest.ledger import Ledger
from gateway.ingest.source import GapCause
from gateway.ingest.spooling import Writing
from gateway.ingest.writer import Lane, WriterPool
from storage.audit import log as audit
from storage.catalog import volume_state
from storage.segmenter import OpenSegment
from storage.spool import Spool, SyncGroup

_log = logging.getLogger(__name__)

LOOK_S = 0.5
PROBE_S = 2.0
PROBES_NEEDED = 3  #: in a row, before a disk that failed is believed again
STUCK_S = 5.0  #: a single write or sync that takes longer: the disk stalls
SILENT_S = 10.0  #: a volume that does not even say how full it is
ACTOR = "recorder"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing is written here now, as the account of a stream says it."""

    cause: GapCause
    reason: Reason


class Volume:
    """One volume. `failed` comes from its lanes, `look` from its watch; everything else from any thread."""

    def __init__(
        self,
        spool: Spool,
        group: SyncGroup,
        writers: WriterPool,
        admission: Admission,
        open_: Callable[[Spool], None] | None = None,
    ) -> None:
        """`open_`: until it has returned once the volume is not used; raises TiergateError while it cannot be."""
        self.spool = spool
        self.group = group
        self.writers = writers
        self.admission = admission
        self._open = open_
        self._absent = Reason("media.volume_missing", {"volume": spool.name}) if open_ is not None else None
        self._read_only = False
        self._failing: Reason | None = None
        self._probes = 0
        self._probe_due_s = 0.0
        self._looked_s = steady_s()

    @property
    def name(self) -> str:
        return self.spool.name

    def lane(self) -> Lane:
        return self.writers.lane()

    def begin(self, opened: OpenSegment) -> Writing:
        return Writing(self.spool, self.group, opened)

    # -- health ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Asks the disk; may take as long as the disk likes."""
        self._look()
        self._looked_s = steady_s()

    def _look(self) -> None:
        try:
            if self._open is None:
                _ = self.spool.volume_id
            else:
                self._open(self.spool)
                self._open = None
            self._absent = None
            self._read_only = self.spool.free().read_only
            self.admission.observe()
            if self._failing is not None and steady_s() >= self._probe_due_s:
                self._probe_due_s = steady_s() + PROBE_S
                self.spool.probe()
                self._probes += 1
                if self._probes >= PROBES_NEEDED:
                    self._failing = None
        except TiergateError as error:
            self._probes = 0
            if error.reason.code in ("media.volume_missing", "media.volume_swapped"):
                self._absent = error.reason
        except OSError as error:
            self._probes = 0
            self._absent = Reason("recorder.disk_broken", {"problem": type(error).__name__})

    def failed(self, error: TiergateError) -> None:
        """A write did not succeed. The volume comes last until it has shown that it takes bytes."""
        problem = error.reason.params.get("problem")
        self._failing = Reason("recorder.disk_broken", {"problem": problem}) if problem else error.reason
        self._probes = 0

    def proven(self) -> None:
        """A fragment has been written."""
        self._failing = None

    @property
    def failing(self) -> bool:
        return self._failing is not None

    @property
    def slow(self) -> bool:
        return self.writers.stuck_s > STUCK_S or steady_s() - self._looked_s > SILENT_S

    def refuses(self, precious: bool) -> Trouble | None:
        """Why footage must not be written here."""
        absent = self._absent
        if absent is not None:
            return Trouble(GapCause.UNKNOWN, absent)
        if self._read_only:
            return Trouble(GapCause.UNKNOWN, Reason("recorder.disk_broken", {"problem": "EROFS"}))
        refusal = self.admission.refuses(precious)
        return Trouble(*refusal) if refusal is not None else None

    def complaint(self) -> Reason | None:
        """What a person should know of it."""
        trouble = self.refuses(precious=False)
        if trouble is not None:
            return trouble.reason
        if self._failing is not None:
            return self._failing
        return Reason("recorder.disk_slow") if self.slow else None


class Volumes:
    """All of a recorder. The order of a camera's places depends on the settings and on nothing that changes."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self.all = tuple(volumes)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._told: dict[str, Reason | None] = {}

    def ranked(self, camera_id: str) -> tuple[Volume, ...]:
        """The camera's places, the first one first."""

        home = self.all[int(camera_id[-6:]) % len(self.all)]

        def weight(volume: Volume) -> bytes:
            return hashlib.sha256(f"{camera_id} {volume.name}".encode()).digest()

        return home, *sorted((volume for volume in self.all if volume is not home), key=weight)

    @staticmethod
    def place(ranked: Sequence[Volume], precious: bool) -> Volume | Trouble:
        """Where to write now: the first volume that is well, else one that may be; else why there is none."""
        refused = [(volume, volume.refuses(precious)) for volume in ranked]
        able = [volume for volume, trouble in refused if trouble is None]
        if able:
            return min(able, key=lambda volume: (volume.slow, volume.failing))
        troubles = [trouble for _, trouble in refused if trouble is not None]
        return min(troubles, key=lambda trouble: _SEVERITY.index(trouble.cause))

    # -- watching ----------------------------------------------------------------------------------------------------

    def start(self, timeout_s: float) -> None:
        """Opens every volume that is there, all at once, and watches them from then on. One that hangs is not waited
        for longer than `timeout_s`."""
        looked = [threading.Event() for _ in self.all]
        for volume, first in zip(self.all, looked, strict=True):
            volume.group.start()
            thread = threading.Thread(
                target=self._watch, args=(volume, first), name=f"watch-{volume.name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        deadline = Deadline(timeout_s)
        for first in looked:
            first.wait(deadline.left_s)

    def tell(self, ledger: Ledger, shard: int, now_ms: int) -> None:
        """What changed since the last time: into the audit log, the log, and a fact for `doctor`."""
        now = {volume.name: volume.complaint() for volume in self.all}
        # The number in a reason (percent free) moves all the time; what a person is told is the kind.
        news = {name: reason for name, reason in now.items() if _code(reason) != _code(self._told.get(name))}
        if not news and self._told:
            return
        self._told = now
        state = {name: reason.as_json() if reason is not None else None for name, reason in now.items()}

        def write(connection: Connection) -> None:
            volume_state.put(connection, shard, state)
            for name, reason in news.items():
                details = {"shard": shard, "trouble": reason.as_json() if reason is not None else None}
                audit.append(connection, now_ms, ACTOR, "volume.trouble" if reason else "volume.well", name, details)

        for name, reason in news.items():
            _log.warning("spool volume", extra={"volume": name, "trouble": _code(reason)})
        ledger.put(write)

    def close(self, timeout_s: float) -> None:
        """After the lanes are idle, or will not be. A disk that hangs is not waited for."""
        self._stop.set()
        for volume in self.all:
            volume.writers.close(timeout_s)
            if volume.slow:
                _log.error(
                    "a spool volume hangs; its files are salvaged at the next start", extra={"volume": volume.name}
                )
            else:
                volume.group.stop()

    def _watch(self, volume: Volume, first: threading.Event) -> None:
        while True:
            try:
                volume.look()
            except Exception:
                _log.exception("looking at a volume failed", extra={"volume": volume.name})
            first.set()
            if self._stop.wait(LOOK_S):
                return


#: From what passes soonest to what somebody must come for.
_SEVERITY = (GapCause.SHED, GapCause.DISK_SLOW, GapCause.DISK_FULL, GapCause.UNKNOWN)


def _code(reason: Reason | None) -> str | None:
    return reason.code if reason is not None else None
