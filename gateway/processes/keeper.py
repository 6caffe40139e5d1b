"""The keeper: spool into store, second copies of held footage, sweep, scrub, journal, signed heads of the audit log,
backups, alarms, monthly reports, upkeep of the catalog. One per node, no camera sockets.

Order of a start: lock, store and spool made ready, then uploads, then jobs; what was missed while it was away is caught
up with by the jobs' first run. While the store is away the keeper stays: the spool buffers, and it says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict
from functools import partial

from sqlalchemy import Connection

from config.clock import wall_ms
from config.errors import Kind, TiergateError
from config.units import HOUR_MS
from gateway.compose.keeper import KeeperParts, build_keeper
from gateway.ops import (
    alarm_hooks,
    backup_work,
    bucket_rules,
    clock_evidence,
    job_state,
    own_catalog,
    owner_checks,
    promise,
)
from gateway.ops.checks_catalog import BACKLOG_WARN_MS
from gateway.ops.jobs import Job, Jobs
from gateway.ops.locks import KEEPER_LOCK, SWEEP_LOCK, alone
from gateway.ops.lookout import Lookout
from gateway.processes import child
from gateway.processes.asking import Asking
from storage import canary, evidence_state, journal, use_view, volume
from storage.aside import Aside
from storage.audit import log as audit
from storage.audit.signed import Signer
from storage.catalog import facts, links, segments
from storage.evidence import EvidenceKeeper
from storage.objects import base
from storage.objects.folder import FolderStore
from storage.sweeper import Sweeper, clock_trust_of

_log = logging.getLogger(__name__)

JOURNAL_S = 60
STORE_CHECK_S = 60
FORECAST_S = 6 * 3600
LEFTOVERS_S = 3600
UNFINISHED_MS = 24 * HOUR_MS  #: an upload without a sign of life for so long is nobody's any more
ACTOR = "keeper"
SCRUB_S = 10  #: the scrub reads in bursts of so many seconds' worth
CATALOG_S = 30
BACKUP_LOOK_S = 600  #: whether the night's backup is due
RULES_S = 30
EVIDENCE_S = 60
ALARMS_S = 30
REPORTS_S = 600  #: whether a month is over
OWNERS_S = 600  #: whose turn it is to have its owner's recorder asked
_ROUND_MOST_S = 540.0  #: a round of that is ended then; what it has asked is written down
_LOCK_WAIT_S = 10.0
_STORE_WAIT_S = 10.0  #: a store that answers does so by then; the disk of one that does not may hang for days
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
            lambda: clock_evidence.gather(parts.clock, parts.store, parts.sweep_catalog, trusted),
            settings.retention.grace_hours * HOUR_MS,
            aside=Aside(parts.store, parts.spools, settings.retention.grace_hours * HOUR_MS),
        )
        self._evidence = EvidenceKeeper(
            parts.sweep_catalog, parts.store, parts.evidence, parts.clock, parts.mender, self._clock_trusted,
            parts.node_id,
        )  # fmt: skip
        self._evidence_ready = self._lock_tried = False
        self._signer = Signer(parts.catalog, parts.store, parts.node_id, parts.node_key)
        self._asking = Asking(parts.settings_file)
        self._lookout = Lookout(
            parts.sweep_catalog, settings, parts.clock, parts.node_id, alarm_hooks.hooks(settings.alarms)
        )
        self.jobs = Jobs(parts.catalog, parts.clock)
        for name, interval_s, work in (
            ("store", STORE_CHECK_S, self.make_store_ready),
            ("sweep", settings.retention.sweep_minutes * 60, self.sweep),
            ("rules", RULES_S, self.loosen_rules),
            ("evidence", EVIDENCE_S, self.keep_evidence),
            ("journal", JOURNAL_S, self.write_journal),
            ("checkpoint", JOURNAL_S, self.write_checkpoint),
            ("uploads", JOURNAL_S, self.tell_uploads),
            ("forecast", FORECAST_S, self.tell_forecast),
            ("leftovers", LEFTOVERS_S, self.drop_leftovers),
            *([("scrub", SCRUB_S, self.scrub)] if settings.store.scrub_bytes_per_s else []),
            ("catalog", CATALOG_S, self.cut_catalog_log),
            ("backup", BACKUP_LOOK_S, self.back_up),
            ("alarms", ALARMS_S, self.look_for_alarms),
            ("reports", REPORTS_S, self.keep_reports),
            *([("owners", OWNERS_S, self.ask_owners)] if settings.retention.owner_check_instants else []),
        ):
            self.jobs.add(Job(name, interval_s, work))

    async def run(self, stopping: asyncio.Event) -> None:
        await self.jobs.first("store", _STORE_WAIT_S)  # so that the others' first run finds a store
        self.jobs.start()
        uploads = asyncio.create_task(self._upload(stopping), name="uploads")
        await stopping.wait()
        self._evidence.stop()
        self._asking.end()
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
        self._claim_spools()
        parts.store.ensure()
        if isinstance(parts.store, FolderStore):
            volume_id = parts.store.volume_id
            parts.catalog.write(lambda c: volume.recognise(c, "store", volume_id))
        self._loop.call_soon_threadsafe(self._store_ready.set)

    def _claim_spools(self) -> None:
        """A volume that is missing, hangs, or is another one, is not touched; the others go on. Raises when none is
        right."""
        spools = self._parts.spools
        wrong = spools.claim(self._parts.catalog)
        for name, error in wrong.items():
            _log.warning("a spool volume is left alone", extra={"volume": name, "problem": str(error)})
        if wrong and not spools.present():
            raise list(wrong.values())[-1]

    def sweep(self) -> None:
        """A refused sweep is no failed job: it has a fact, an audit entry and an alarm of its own."""
        with alone(self._parts.settings.paths.run_dir / SWEEP_LOCK, "retention.sweep_running"):
            report = self._sweeper.sweep()
        if report.condemned or report.deleted or report.failed or report.aside.deleted or report.aside.failed:
            _log.info("sweep", extra={k: v for k, v in report.as_json().items() if k != "refused"})

    def loosen_rules(self) -> None:
        """A bucket's own rule knows neither holds nor classes: it must not stand a minute longer than footage is free,
        whether or not the store of second copies answers."""
        parts = self._parts
        plans = parts.catalog.read(lambda c: bucket_rules.plans(c, parts.settings, parts.node_id))
        for plan in bucket_rules.loosen(parts.settings, plans):
            _log.warning("rules of a bucket would have deleted too soon", extra={"purpose": plan.purpose})
            details: dict[str, object] = {plan.purpose: [rule.as_json() for rule in plan.rules]}
            parts.catalog.write(partial(_tell_loosened, now_ms=wall_ms(parts.clock), details=details))

    def keep_evidence(self) -> None:
        """Second copies of held footage; first of all, and every day, whether the store's locks hold."""
        parts = self._parts
        if not self._evidence_ready:
            parts.evidence.ensure()
            if isinstance(parts.evidence, FolderStore):
                volume_id = parts.evidence.volume_id
                parts.catalog.write(lambda c: volume.recognise(c, "evidence", volume_id))
            self._evidence_ready = True
        now_ms = wall_ms(parts.clock)
        tried = parts.catalog.read(canary.last)
        if not self._lock_tried or tried is None or abs(now_ms - tried.at_ms) >= canary.EVERY_MS:
            canary.run(parts.catalog, parts.evidence, parts.node_id, now_ms)
            self._lock_tried = True
        report = self._evidence.run()
        if report.copied or report.failed or report.missing or report.released:
            _log.info("evidence", extra=asdict(report))
        parts.catalog.write(lambda c: evidence_state.remember(c, now_ms))
        if report.away:
            raise base.unavailable("the evidence store or its source")

    def _clock_trusted(self) -> bool:
        parts = self._parts
        trusted = parts.settings.retention.clock_source == "trusted"
        seen = clock_evidence.gather(parts.clock, parts.evidence, parts.catalog, trusted)
        return parts.catalog.read(lambda c: clock_trust_of(c, seen)).trusted

    def scrub(self) -> None:
        self._parts.scrubber.run(self._parts.settings.store.scrub_bytes_per_s * SCRUB_S)

    def write_journal(self) -> None:
        parts = self._parts
        journal.write(parts.catalog, parts.store, parts.node_id, wall_ms(parts.clock))

    def write_checkpoint(self) -> None:
        """A log whose end was cut is no failed job: it has a fact, an audit entry and an alarm of its own."""
        self._signer.write(wall_ms(self._parts.clock))

    def drop_leftovers(self) -> None:
        """What uploads, and copies of held footage, left half done in this node's stores."""
        parts = self._parts

        def waiting(keys: Sequence[str]) -> Set[str]:
            return parts.catalog.read(lambda c: segments.spooled_keys(c, keys[:500])) | set(keys[500:])

        before_ms = wall_ms(parts.clock) - UNFINISHED_MS
        dropped = parts.store.drop_unfinished(f"{parts.node_id}/", before_ms, waiting)
        if self._evidence_ready:  # its folder may not be made yet, or hang on another disk
            dropped += parts.evidence.drop_unfinished(f"{parts.node_id}/", before_ms, lambda keys: set())
        if dropped:
            _log.info("unfinished uploads removed", extra={"count": dropped})

    def cut_catalog_log(self) -> None:
        """Here, so that no recorder pays for it in one of its commits. A reader in the way is asked again next time."""
        self._parts.sweep_catalog.checkpoint()

    def back_up(self) -> None:
        parts = self._parts
        made = backup_work.nightly(parts.settings, parts.settings_file, wall_ms(parts.clock))
        if made is not None:
            _log.info("backup", extra={"file": made.name})

    def look_for_alarms(self) -> None:
        """Raises when a hook does not take what it should: that too is a finding."""
        self._lookout.look()

    def keep_reports(self) -> None:
        """The report of use of each month that is over, once, and what of it each upper node is told. On a doubtful
        clock no month is over."""
        catalog, now_ms = self._parts.sweep_catalog, wall_ms(self._parts.clock)
        due = catalog.read(lambda c: use_view.months_due(c, now_ms))
        if not due or not self._clock_trusted():
            return
        upper = catalog.read(lambda c: links.all_of(c, "upper"))
        for month in due:
            made = catalog.read(partial(use_view.report, month=month, now_ms=now_ms))
            above = {
                link.id: catalog.read(partial(use_view.report, month=month, now_ms=now_ms, node=link.peer_node))
                for link in upper
            }
            catalog.write(partial(use_view.keep, month=month, value=made, now_ms=now_ms, actor=ACTOR, above=above))
            _log.info("report of use", extra={"month": month, "looks": made["sum"]["all"]["looks"]})

    def ask_owners(self) -> None:
        """A round of the sampled check of owners' recorders, in a process of its own: no camera's socket here."""
        catalog, settings, now_ms = self._parts.sweep_catalog, self._parts.settings, wall_ms(self._parts.clock)
        seed = catalog.write(owner_checks.seed_of)
        if not catalog.read(lambda c: owner_checks.due(c, settings, now_ms, seed)):
            return
        self._asking.run(_ROUND_MOST_S)
        known = catalog.read(lambda c: owner_checks.told(c, wall_ms(self._parts.clock)))
        catalog.write(lambda c: facts.set(c, job_state.OWNERS, known))

    def tell_uploads(self) -> None:
        """The uploader's state as a fact, when it changed; that it falls behind, and that it has caught up, audited.
        What waits is asked of the catalog: an uploader that hangs would not say it."""
        counters, now_ms = self._parts.uploader.counters, wall_ms(self._parts.clock)
        backlog = self._parts.catalog.read(segments.spooled_bytes)
        age_ms = max(0, now_ms - backlog.oldest_end_ms) if backlog.oldest_end_ms is not None else 0
        state: dict[str, object] = {
            "behind": age_ms >= BACKLOG_WARN_MS,
            "away_since_ms": counters.away_since_ms,
            "failures": counters.failures,
            "corrupt": counters.corrupt,
            "hanging": [{"segment": row.id, "camera": row.camera_id} for row in counters.hanging],
            "problem": counters.last_reason and counters.last_reason.as_json(),
        }
        if state == self._told:
            return

        turned = state["behind"] != (self._told or {}).get("behind", False)
        action = "uploads.behind" if state["behind"] else "uploads.caught_up"
        details = {"count": backlog.count, "bytes": backlog.bytes, "age_s": age_ms // 1000}

        def write(connection: Connection) -> None:
            facts.set(connection, job_state.UPLOADS, state)
            if turned:
                audit.append(connection, now_ms, ACTOR, action, "spool", details)

        self._parts.catalog.write(write)
        if turned:
            _log.warning("uploads", extra={"action": action, **details})
        self._told = state

    def tell_forecast(self) -> None:
        """Whether the store holds what is promised: for `doctor` and metrics, long before it does not."""
        parts = self._parts
        found = parts.sweep_catalog.read(lambda c: promise.gather(c, parts.settings, wall_ms(parts.clock))[0])
        state = {
            "needed_bytes": found.needed_bytes,
            "capacity_bytes": found.capacity_bytes,
            "full_ms": found.full_ms,
        }
        now_ms = wall_ms(parts.clock)
        kept = parts.sweep_catalog.read(lambda c: promise.told(*promise.promises(c, found.full_ms, now_ms), now_ms))

        def write(connection: Connection) -> None:
            facts.set(connection, job_state.FORECAST, state)
            facts.set(connection, job_state.PROMISES, kept)

        parts.catalog.write(write)


def _tell_loosened(connection: Connection, now_ms: int, details: dict[str, object]) -> None:
    audit.append(connection, now_ms, ACTOR, "retention.rules_loosened", "bucket rules", details)


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
        await asyncio.to_thread(own_catalog.require, process.settings)
        keeper = Keeper(build_keeper(process.settings, process.config_path))
        try:
            process.ready()
            await keeper.run(process.stopping)
        finally:
            await asyncio.to_thread(keeper.close)


if __name__ == "__main__":
    child.main("keeper", run)
