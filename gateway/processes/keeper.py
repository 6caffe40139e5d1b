"""The keeper: spool into store, sweep, journal, signed heads of the audit log, backups, the catalog's write-ahead log.
One per node, no camera sockets.

Order of a start: lock, store and spool made ready, then uploads, then jobs; what was missed while it was away is caught
up with by the jobs' first run. While the store is away the keeper stays: the spool buffers, and it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from sqlalchemy import Connection

from config.clock import wall_ms
from config.errors import Kind, TiergateError
from config.units import HOUR_MS
from gateway.compose.keeper import KeeperParts, build_keeper
from gateway.ops import backup_work, clock_evidence, job_state
from gateway.ops.jobs import Job, Jobs
from gateway.ops.locks import KEEPER_LOCK, SWEEP_LOCK, alone
from gateway.processes import child
from storage import journal, volume
from storage.catalog import facts
from storage.objects.folder import FolderStore
from storage.sweeper import Sweeper

_log = logging.getLogger(__name__)

JOURNAL_S = 60
STORE_CHECK_S = 60
CATALOG_S = 30
BACKUP_LOOK_S = 600  #: whether the night's backup is due
_LOCK_WAIT_S = 10.0
_UPLOADER_PAUSE_S = 5.0


class Keeper:
    def __init__(self, parts: KeeperParts) -> None:
        self._parts = parts
        self._store_ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._told: dict[str, object] | None = None
        settings = parts.settings
        trusted = settings.retention.clock_source == "trusted"
        self._sweeper = Sweeper(
            parts.sweep_catalog,
            parts.store,
            parts.clock,
            lambda: clock_evidence.gather(parts.clock, parts.store, trusted),
            settings.retention.grace_hours * HOUR_MS,
        )
        self.jobs = Jobs(parts.catalog, parts.clock)
        for name, interval_s, work in (
            ("store", STORE_CHECK_S, self.make_store_ready),
            ("sweep", settings.retention.sweep_minutes * 60, self.sweep),
            ("journal", JOURNAL_S, self.write_journal),
            ("checkpoint", JOURNAL_S, self.write_checkpoint),
            ("uploads", JOURNAL_S, self.tell_uploads),
            ("catalog", CATALOG_S, self.cut_catalog_log),
            ("backup", BACKUP_LOOK_S, self.back_up),
        ):
            self.jobs.add(Job(name, interval_s, work))

    async def run(self, stopping: asyncio.Event) -> None:
        await self.jobs.run("store")  # before the others, so that their first run finds a store
        self.jobs.start()
        uploads = asyncio.create_task(self._upload(stopping), name="uploads")
        await stopping.wait()
        await self.jobs.stop()
        await uploads

    def close(self) -> None:
        self._parts.uploader.close()
        self._parts.sweep_catalog.close()
        self._parts.catalog.close()

    async def _upload(self, stopping: asyncio.Event) -> None:
        """The uploader, started when there is a store, and again should it ever fail in a way nobody foresaw."""
        ready = asyncio.create_task(self._store_ready.wait())
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({ready, stop}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        while not stopping.is_set():
            try:
                await self._parts.uploader.run(stopping)
            except Exception:
                _log.exception("the uploader failed")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_UPLOADER_PAUSE_S):
                        await stopping.wait()
        stop.cancel()

    # --- jobs ---

    def make_store_ready(self) -> None:
        """Folders and buckets, once; afterwards only whether the store answers. Raises what is wrong with it."""
        parts = self._parts
        if self._store_ready.is_set():
            parts.store.head(f"{parts.node_id}/probe")
            return
        parts.spool.prepare()
        parts.store.ensure()
        if isinstance(parts.store, FolderStore):
            volume_id = parts.store.volume_id
            parts.catalog.write(lambda c: volume.recognise(c, "store", volume_id))
        self._loop.call_soon_threadsafe(self._store_ready.set)

    def sweep(self) -> None:
        """A refused sweep is no failed job: it has a fact, an audit entry and an alarm of its own."""
        with alone(self._parts.settings.paths.run_dir / SWEEP_LOCK, "retention.sweep_running"):
            report = self._sweeper.sweep()
        if report.condemned or report.deleted or report.failed:
            _log.info("sweep", extra={k: v for k, v in report.as_json().items() if k != "refused"})

    def write_journal(self) -> None:
        parts = self._parts
        journal.write(parts.catalog, parts.store, parts.node_id, wall_ms(parts.clock))

    def write_checkpoint(self) -> None:
        parts = self._parts
        journal.write_checkpoint(parts.catalog, parts.store, parts.node_id, parts.node_key, wall_ms(parts.clock))

    def cut_catalog_log(self) -> None:
        """Here, so that no recorder pays for it in one of its commits. A reader in the way is asked again next time."""
        self._parts.sweep_catalog.checkpoint()

    def back_up(self) -> None:
        parts = self._parts
        made = backup_work.nightly(parts.settings, parts.settings_file, wall_ms(parts.clock))
        if made is not None:
            _log.info("backup", extra={"file": made.name})

    def tell_uploads(self) -> None:
        """The uploader's state as a fact, when it changed."""
        counters = self._parts.uploader.counters
        state: dict[str, object] = {
            "away_since_ms": counters.away_since_ms,
            "failures": counters.failures,
            "corrupt": counters.corrupt,
            "problem": counters.last_reason and counters.last_reason.as_json(),
        }
        if state == self._told:
            return

        def write(connection: Connection) -> None:
            facts.set(connection, job_state.UPLOADS, state)

        self._parts.catalog.write(write)
        self._told = state


@contextlib.contextmanager
def _only_one(process: child.Child) -> Iterator[None]:
    with alone(process.settings.paths.run_dir / KEEPER_LOCK, "retention.keeper_running"):
        yield


async def _locked(process: child.Child, stack: contextlib.ExitStack) -> None:
    """A predecessor that is still ending is waited for. Raises retention.keeper_running."""
    deadline_s = asyncio.get_running_loop().time() + _LOCK_WAIT_S
    while True:
        try:
            stack.enter_context(_only_one(process))
            return
        except TiergateError as error:
            if error.kind is not Kind.CONFLICT or asyncio.get_running_loop().time() > deadline_s:
                raise
        await asyncio.sleep(0.1)


async def run(process: child.Child) -> None:
    with contextlib.ExitStack() as stack:
        await _locked(process, stack)
        keeper = Keeper(build_keeper(process.settings, process.config_path))
        try:
            process.ready()
            await keeper.run(process.stopping)
        finally:
            await asyncio.to_thread(keeper.close)


if __name__ == "__main__":
    child.main("keeper", run)
