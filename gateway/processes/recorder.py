"""The recorder: camera sockets to the spool, rows into the catalog, live units to watchers. Nothing else (DESIGN §3).

Order of a start: lock of the shard, volumes with salvage of what a dead recorder left on them, cameras, then the live
socket. Order of an end: streams, writers, syncs, catalog; within 5 s.

When it succeeds a recorder that still works, it connects to the cameras first and keeps their newest pictures in
memory. Then the other is told to end and seals; and with the lock, recording goes on at the first key frame that the
other does not have. Two recorders never write one camera, and at most a GOP is missing.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import sys
import threading
import time
from functools import partial

from sqlalchemy import Connection

from config.clock import Deadline, wall_ms
from config.reasons import Reason
from config.units import NS_PER_MS
from gateway.access.ids import fresh_id
from gateway.compose.recorder import RecorderParts, build_recorder
from gateway.ingest.source import GapCause
from gateway.ingest.timekeeping import UNKNOWN, floor_ns
from gateway.processes import child
from storage.catalog import facts
from storage.catalog.engine import UNAVAILABLE
from storage.catalog.gaps import GapRow, open_gap
from storage.catalog.status import (
    WATCHDOG_FACT,
    Past,
    duties,
    past,
    put_status,
    recorded_time_fact,
    set_alone,
    shard_cameras,
)
from storage.salvage import end_open_runs

_log = logging.getLogger(__name__)

TICK_S = 0.2
POLL_S = 0.5
#: The register is read again at least this often although nothing moved: classes begin and end by the clock.
REREAD_S = 60.0
STATISTICS_S = 5.0
_LOCK_WAIT_S = 10.0
#: For salvage of what lies on a volume; one that takes longer comes to the others later.
VOLUMES_WAIT_S = 60.0
#: Cameras that have shown nothing by then are left to their reconnects.
PREPARE_S = 8.0


class Recorder:
    def __init__(self, parts: RecorderParts, shard: int) -> None:
        self._parts = parts
        self._shard = shard
        self._schedule_ms: int | None = None  #: when a camera's week next wants something else
        self._told: dict[str, int] = {}
        self._ticking = threading.Event()
        self._said: dict[str, object] = {}
        self.ticked_ns = 0  #: steady, of the newest round of the ticker
        self._ticker = threading.Thread(target=self._tick, name="ticker", daemon=True)

    async def prepare(self, stopping: asyncio.Event) -> None:
        """While another process records: returns when all cameras have pictures, or some have had their time."""
        parts = self._parts
        parts.fleet.prepare(await parts.catalog.aread(partial(duties, shard=self._shard, now_ms=wall_ms(parts.clock))))
        deadline = Deadline(PREPARE_S)
        while not (parts.fleet.prepared or deadline.passed or stopping.is_set()):
            parts.time.look()
            await asyncio.sleep(0.05)

    async def start(self) -> None:
        parts = self._parts
        culprit = await self._look_back()
        cameras = await parts.catalog.aread(partial(shard_cameras, shard=self._shard))
        await asyncio.to_thread(parts.volumes.start, VOLUMES_WAIT_S)
        await asyncio.to_thread(end_open_runs, parts.catalog, cameras)
        if culprit in cameras:
            await parts.catalog.awrite(partial(self._note_crash, camera_id=culprit))
        parts.time.begin(await self._floor_ns())
        parts.fleet.take_over({key: await self._past(key) for key in parts.fleet.recorded})
        self.ticked_ns = parts.clock.monotonic_ns()
        self._ticker.start()
        await self._apply()
        await parts.live.start()
        gc.collect()
        gc.freeze()

    async def _look_back(self) -> str | None:
        """The camera in whose thread the last recorder of this shard crashed. It gets one of its own."""
        parts = self._parts
        culprit = parts.crashes.culprit()
        parts.crashes.watch()
        if culprit is not None:
            move = partial(set_alone, camera_id=culprit, shard=self._shard, now_ms=wall_ms(parts.clock))
            alone = await parts.catalog.awrite(move)
            _log.error("the recorder crashed in a camera's thread", extra={"camera": culprit, "shard": alone})
        return culprit

    def _note_crash(self, connection: Connection, camera_id: str) -> None:
        """It may crash this process too before anything else about it is written."""
        now_ms = wall_ms(self._parts.clock)
        known = past(connection, camera_id, "main")
        ends = [end for end in (known.footage_end_ms, known.gap_end_ms) if end is not None]
        from_ms = min(max(ends, default=now_ms), now_ms)
        reason = Reason("camera.crashed").as_json()
        cause = GapCause.UNSUPPORTED.value
        open_gap(
            connection, GapRow(fresh_id(self._parts.clock), camera_id, "main", cause, from_ms, None, now_ms, reason)
        )  # fmt: skip

    async def run(self, stopping: asyncio.Event) -> None:
        """Until told to stop: follows the register, watches the streams, reports."""
        seen: int | None = None
        read_s = told_s = 0.0
        while not stopping.is_set():
            now_s = self._parts.clock.monotonic_ns() / 1e9
            try:
                version = await self._parts.catalog.aversion()
                due = self._schedule_ms is not None and wall_ms(self._parts.clock) >= self._schedule_ms
                if version != seen or due or self._parts.fleet.incomplete or now_s - read_s > REREAD_S:
                    await self._apply()
                    seen, read_s = version, now_s
            except UNAVAILABLE:
                _log.warning("the catalog does not answer; recording goes on as it was")
            self._parts.fleet.watchdog()
            self._tell_time()
            self._parts.volumes.tell(self._parts.ledger, self._shard, wall_ms(self._parts.clock))
            if now_s - told_s >= STATISTICS_S:
                told_s = now_s
                rows = self._parts.fleet.reports()
                if rows:
                    self._parts.ledger.put(partial(put_status, rows=rows))
                self._tell_watchdog()
            try:
                async with asyncio.timeout(POLL_S):
                    await stopping.wait()
            except TimeoutError:
                pass

    def _tell_watchdog(self) -> None:
        fleet = self._parts.fleet
        found = {**fleet.restarts(), "hung": fleet.hung(), "dropped": self._parts.ledger.dropped}
        if found != self._told:
            self._told = found
            self._parts.ledger.put(partial(facts.set, key=f"{WATCHDOG_FACT}{self._shard}", value=found))

    def _tell_time(self) -> None:
        time = self._parts.time
        said = {"trust": time.now.trust, "held_s": max(0, round(time.held_ns / 1e9))}
        if said != self._said:
            _log.info("recorded time", extra=said)
            self._said = said
            self._parts.ledger.put(partial(facts.set, key=recorded_time_fact(self._shard), value=said))

    async def stop(self) -> None:
        parts = self._parts
        await parts.live.stop()
        self._ticking.set()
        parts.fleet.stop("stopped")
        await asyncio.to_thread(self._drain)

    def _drain(self) -> None:
        parts = self._parts
        deadline = Deadline(3.0)
        while not deadline.passed and not all(
            task.recording is None or task.recording.idle for task in parts.fleet.tasks
        ):
            time.sleep(0.01)
        parts.volumes.close(0.5)
        if not parts.ledger.close(2.0):
            _log.error("not every row was committed; the files are salvaged at the next start")
        parts.catalog.close()

    async def _apply(self) -> None:
        parts = self._parts
        now_ms = wall_ms(parts.clock)
        wanted = await parts.catalog.aread(partial(duties, shard=self._shard, now_ms=now_ms))
        changes = [duty.schedule_ms for duty in wanted if duty.schedule_ms is not None]
        self._schedule_ms = min(changes, default=None)
        pasts: dict[tuple[str, str], Past] = {}
        for key in parts.fleet.new_recorded(wanted):
            pasts[key] = await self._past(key)
        parts.fleet.apply(wanted, pasts)

    async def _past(self, key: tuple[str, str]) -> Past:
        return await self._parts.catalog.aread(partial(past, camera_id=key[0], stream=key[1]))

    async def _floor_ns(self) -> int | None:
        """The end of what is recorded: nothing may be dated before it, unless a clock that is right proves it wrong."""
        parts = self._parts
        wanted = await parts.catalog.aread(partial(duties, shard=self._shard, now_ms=wall_ms(parts.clock)))
        ends_ns: dict[str, int] = {}
        for duty in wanted:
            if duty.recorded:
                known = await self._past((duty.camera_id, duty.stream))
                if known.accounted_ms is not None and not (parts.time.certain and known.trust == UNKNOWN):
                    ends_ns[duty.camera_id] = max(known.accounted_ms * NS_PER_MS, ends_ns.get(duty.camera_id, 0))
        return floor_ns(ends_ns, parts.clock.wall_ns())

    def _tick(self) -> None:
        while not self._ticking.wait(TICK_S):
            try:
                self._parts.fleet.tick()
            except Exception:
                _log.exception("tick")
            self.ticked_ns = self._parts.clock.monotonic_ns()


def lock_shard(path: str) -> int:
    """The descriptor that holds the shard's lock. Two recorders never write one camera: the later waits, then fails."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    deadline = Deadline(_LOCK_WAIT_S)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if deadline.passed:
                raise
            time.sleep(0.1)


async def run(process: child.Child) -> None:
    recorder = Recorder(build_recorder(process.settings, process.shard, asyncio.get_running_loop()), process.shard)
    held: int | None = None
    try:
        if process.heir:
            await recorder.prepare(process.stopping)
        process.waiting()
        await process.succeed()
        if process.stopping.is_set():
            return
        lock_path = process.settings.paths.run_dir / f"recorder-{process.shard}.lock"
        held = await asyncio.to_thread(lock_shard, str(lock_path))
        await recorder.start()
        process.progress.append(lambda: recorder.ticked_ns)
        process.ready()
        await recorder.run(process.stopping)
    finally:
        await recorder.stop()
        if held is not None:
            os.close(held)


def main() -> None:
    # Fewer, longer turns: 32 receiving threads share the interpreter, and none of them needs an answer in 5 ms.
    sys.setswitchinterval(0.02)
    child.main("recorder", run, succeeds_itself=True)


if __name__ == "__main__":
    main()
