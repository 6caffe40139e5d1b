"""`doctor`: what is wrong with this node and what to do next. Looks, and changes nothing.

Every metric that can turn red is explained by one of the checks (`METRICS`); a test holds the two together.

Belongs here: which checks there are, and their order. Does not belong here: the checks (`gateway.ops.checks_machine`,
`gateway.ops.checks_catalog`), their words (``config/reasons/ops.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from sqlalchemy import Connection

from config.clock import Clock
from config.reasons import Reason
from config.settings import Settings
from gateway.ops import checks_catalog, checks_machine
from gateway.ops.findings import Answer, Finding, NotAsked
from gateway.ops.probe import Probe
from storage.catalog import migrate
from storage.catalog.engine import Catalog

_log = logging.getLogger(__name__)

_MACHINE: tuple[Callable[[Probe], Iterable[Finding]], ...] = (
    checks_machine.settings,
    checks_machine.folders,
    checks_machine.keys,
    checks_machine.catalog,
    checks_machine.register,
    checks_machine.disks,
    checks_machine.store,
    checks_machine.clock,
    checks_machine.page,
    checks_machine.fonts,
    checks_machine.processes,
    checks_machine.ports,
    checks_machine.certificates,
)
_CATALOG: tuple[Callable[[Connection, Probe], Iterable[Finding]], ...] = (
    checks_catalog.cameras,
    checks_catalog.accounts,
    checks_catalog.firmware,
    checks_catalog.recorded_time,
    checks_catalog.gaps,
    checks_catalog.recorders,
    checks_catalog.backlog,
    checks_catalog.sweep,
    checks_catalog.tombstones,
    checks_catalog.put_aside,
    checks_catalog.scrubbed,
    checks_catalog.jobs,
    checks_catalog.promises,
    checks_catalog.reach,
    checks_catalog.attested,
    checks_catalog.owner_checks,
    checks_catalog.holds,
    checks_catalog.evidence,
    checks_catalog.rules,
    checks_catalog.audit_log,
    checks_catalog.audit_cut,
    checks_catalog.audit_end,
    checks_catalog.peers,
    checks_catalog.heads,
    checks_catalog.quotas,
    checks_catalog.pulls,
    checks_catalog.broken_glass,
)

#: They walk what grows with the footage, or ask the store much: not for every look of the alarms.
SLOW = frozenset({"promises", "reach", "rules", "audit_log", "audit_end", "owner_checks"})

#: Metric -> the check whose lines explain it when it is red; None: a count that is never red by itself.
METRICS: dict[str, str | None] = {
    "tiergate_cameras": None,
    "tiergate_camera_online": "cameras",
    "tiergate_camera_media_age_seconds": "cameras",
    "tiergate_camera_gop_seconds": "cameras",
    "tiergate_camera_picture_bad": "pictures",
    "tiergate_segments": None,
    "tiergate_spool_backlog_bytes": "backlog",
    "tiergate_spool_backlog_age_seconds": "backlog",
    "tiergate_gaps_open": "gaps",
    "tiergate_recorder_watchdog_restarts": None,
    "tiergate_recorder_hung_threads": "recorders",
    "tiergate_recorder_dropped_changes": "recorders",
    "tiergate_register_open_rows": None,
    "tiergate_rtsp_connections": None,
    "tiergate_rtsp_streams": None,
    "tiergate_rtsp_refused_total": None,
    "tiergate_rtsp_closed_total": None,
    "tiergate_leases_running": None,
    "tiergate_link_seen_age_seconds": "links",
    "tiergate_loop_lag_seconds": "processes",
    "tiergate_process_open_fds": None,
    "tiergate_process_threads": None,
    "tiergate_process_tasks": None,
    "tiergate_process_resident_bytes": None,
    "tiergate_recorded_time_ahead_seconds": "clock",
    "tiergate_disk_free_bytes": "disks",
    "tiergate_disk_free_ratio": "disks",
    "tiergate_disk_answers": "disks",
    "tiergate_spool_volume_trouble": "disks",
    "tiergate_job_success_age_seconds": "jobs",
    "tiergate_job_failing_seconds": "jobs",
    "tiergate_sweep_success_age_seconds": "sweep",
    "tiergate_sweep_refused_seconds": "sweep",
    "tiergate_store_away_seconds": "store",
    "tiergate_uploads_corrupt": "backlog",
    "tiergate_uploads_hanging": "backlog",
    "tiergate_audit_checkpoint_age_seconds": "audit",
    "tiergate_store_needed_bytes": None,
    "tiergate_store_capacity_bytes": None,
    "tiergate_store_full_in_seconds": "promise",
    "tiergate_retention_promised_seconds": None,
    "tiergate_retention_attained_seconds": "reach",
    "tiergate_retention_broken_in_seconds": "reach",
    "tiergate_owner_check_cameras": "owner_checks",
    "tiergate_owner_check_instants": "owner_checks",
    "tiergate_owner_check_answered_age_seconds": "owner_checks",
    "tiergate_overkept_segments": "overkept",
    "tiergate_overkept_bytes": "overkept",
    "tiergate_overkept_late_seconds": "overkept",
    "tiergate_segments_damaged": "scrub",
    "tiergate_scrub_bytes": None,
    "tiergate_scrub_round_age_seconds": None,
    "tiergate_scrub_round_seconds": None,
    "tiergate_scrub_findings": "scrub",
    "tiergate_tombstones_oldest_age_seconds": "tombstones",
    "tiergate_holds_standing": None,
    "tiergate_holds_review_overdue": "holds",
    "tiergate_approvals_pending": None,
    "tiergate_holds": "evidence",
    "tiergate_evidence_copies": None,
    "tiergate_evidence_bytes": None,
    "tiergate_evidence_waiting_age_seconds": "evidence",
    "tiergate_evidence_bad_segments": "evidence",
    "tiergate_evidence_lock_proven": "evidence",
    "tiergate_evidence_canary_age_seconds": "jobs",
    "tiergate_looks_running": None,
    "tiergate_requests_refused_total": None,
    "tiergate_alarms": None,
    "tiergate_alarms_waiting": "jobs",
}


def examine(
    settings: Settings, clock: Clock, quick: bool = False, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Finding]:
    """All findings, the good ones too; see `answers`."""
    for answer in answers(settings, clock, quick, wanted):
        yield from answer.findings


def answers(
    settings: Settings, clock: Clock, quick: bool = False, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Answer]:
    """One of each check. A check that itself fails has a finding that says so, and stops no other.

    `quick` leaves out the walk over the audit log; `wanted` chooses checks by name. Where a disk with the node's own
    folders hangs, that is said and nothing else: no check would come back from it. Without the catalog no answer is
    whole: checks of the machine look into it too.
    """
    machine = [check for check in _MACHINE if wanted(check.__name__)]
    of_catalog = [check for check in _CATALOG if wanted(check.__name__)]
    hung = tuple(checks_machine.unreachable(settings))
    if hung:
        for name in (check.__name__ for check in (*machine, *of_catalog)):
            yield Answer(name, hung if name == "disks" else (), whole=False)
        return
    catalog = _open(settings)
    probe = Probe(settings, clock, catalog, quick)
    try:
        for check in machine:
            said = _safe(check.__name__, lambda check=check: _answer(check.__name__, check(probe)))  # type: ignore[misc]  # a bound default
            yield said if catalog is not None else replace(said, whole=False)
        for look in of_catalog:
            if catalog is None:
                yield Answer(look.__name__, whole=False)
            else:
                yield _safe(
                    look.__name__,
                    lambda look=look, catalog=catalog: catalog.read(lambda c: _answer(look.__name__, look(c, probe))),  # type: ignore[misc]  # bound defaults
                )
    finally:
        if catalog is not None:
            catalog.close()


def _open(settings: Settings) -> Catalog | None:
    try:
        url = settings.catalog_url
        if migrate.current(url) != migrate.head() or migrate.whose(url) is None:
            return None
        return Catalog(settings.catalog_url)
    except Exception:  # the check of the catalog says what
        return None


def _safe(name: str, ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except Exception as error:
        _log.debug("check failed", exc_info=True)
        reason = Reason("ops.check_failed", {"check": name, "problem": type(error).__name__})
        return Answer(name, (Finding(name, "bad", reason, Reason("ops.check_failed_next")),), whole=False)


def _answer(name: str, findings: Iterable[Finding]) -> Answer:
    """What is found before a check comes upon something that it cannot ask counts."""
    said: list[Finding] = []
    try:
        for finding in findings:
            said.append(finding)
    except NotAsked:
        return Answer(name, tuple(said), whole=False)
    return Answer(name, tuple(said))
