"""``/metrics``: what the catalog and this process know, in SI units. What is not known is absent, never 0.

Belongs here: names and help of metrics, their reading. Does not belong here: judging them (`gateway.ops.doctor`).
Another room adds a reader to `READERS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.settings import Settings, is_loopback
from config.units import HOUR_MS
from gateway.ops import alarms, job_state, signs
from gateway.ops.disks import ask_each, folders_of
from storage import canary, damage, evidence_state, scrub, sweeper
from storage.audit import signed
from storage.catalog import (
    approvals,
    cameras,
    evidence_rows,
    facts,
    gaps,
    register,
    retention_rows,
    segments,
    status,
    volume_state,
)
from storage.catalog.tables import lease, link, segment
from storage.spool import free_space


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with its samples: (label values, number)."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: tuple[tuple[tuple[str, ...], float], ...]


Reader = Callable[[Connection, Settings, int], Iterable[Metric]]


def require_local_or_signed_in(client: str, principal: object | None) -> None:
    """Raises access.not_signed_in for a stranger from elsewhere."""
    if principal is None and client != "local" and not is_loopback(client):
        raise TiergateError(Kind.UNAUTHENTICATED, "access.not_signed_in")


def _one(name: str, help_: str, value: float | None) -> Metric:
    return Metric(name, help_, (), () if value is None else (((), value),))


def _cameras(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    own, known = cameras.cameras(connection), cameras.status_rows(connection)
    online: list[tuple[tuple[str, ...], float]] = []
    last: list[tuple[tuple[str, ...], float]] = []
    apart: list[tuple[tuple[str, ...], float]] = []
    for id_ in sorted(own):
        row = known.get(id_, {}).get("main")
        if row is None or not own[id_].enabled:
            continue
        if row.state in ("online", "offline"):
            online.append(((id_,), float(row.state == "online")))
        if row.last_media_ms is not None:
            last.append(((id_,), max(0, now_ms - row.last_media_ms) / 1000))
        if row.state == "online" and row.gop_ms is not None:
            apart.append(((id_,), row.gop_ms / 1000))
    verdicts = [
        ((id_, kind), float(row.verdict == kind))
        for id_, row in sorted(cameras.health_rows(connection).items())
        if id_ in own
        for kind in ("black", "frozen")
    ]
    enabled = Counter("enabled" if c.enabled else "disabled" for c in own.values())
    yield Metric(
        "tiergate_cameras", "Registered cameras.", ("state",), tuple(((k,), float(v)) for k, v in enabled.items())
    )
    yield Metric("tiergate_camera_online", "1 when media of the main stream arrives.", ("camera",), tuple(online))
    yield Metric("tiergate_camera_media_age_seconds", "Time since the last media arrived.", ("camera",), tuple(last))
    yield Metric(
        "tiergate_camera_gop_seconds", "Time from key frame to key frame of the main stream.", ("camera",), tuple(apart)
    )
    yield Metric(
        "tiergate_camera_picture_bad", "1 when the last check found it so.", ("camera", "kind"), tuple(verdicts)
    )


def _footage(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    states = connection.execute(select(segment.c.state, func.count()).group_by(segment.c.state)).all()
    yield Metric("tiergate_segments", "Rows of segments.", ("state",), tuple(((s,), float(n)) for s, n in states))
    waiting = segments.spooled_bytes(connection)
    yield _one("tiergate_spool_backlog_bytes", "Footage not yet in the store.", float(waiting.bytes))
    age = None if waiting.oldest_end_ms is None else max(0, now_ms - waiting.oldest_end_ms) / 1000
    yield _one("tiergate_spool_backlog_age_seconds", "Age of the oldest footage not yet in the store.", age)
    causes = Counter(g.cause for g in gaps.open_gaps(connection))
    yield Metric(
        "tiergate_gaps_open",
        "Cameras without footage now.",
        ("cause",),
        tuple(((k,), float(v)) for k, v in causes.items()),
    )


def _recorders(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    restarts: list[tuple[tuple[str, ...], float]] = []
    hung: list[tuple[tuple[str, ...], float]] = []
    dropped: list[tuple[tuple[str, ...], float]] = []
    for shard in status.shards(connection):
        found = facts.get(connection, f"{status.WATCHDOG_FACT}{shard}")
        for name, count in sorted((found or {}).items()):
            if name == "hung":
                hung.append(((str(shard),), float(count)))
            elif name == "dropped":
                dropped.append(((str(shard),), float(count)))
            else:
                restarts.append(((str(shard), name), float(count)))
    yield Metric(
        "tiergate_recorder_watchdog_restarts",
        "Camera sessions that a recorder's watchdog began anew since the recorder's start: dead thread, silent camera, "
        "useless pictures, missing task.",
        ("shard", "found"),
        tuple(restarts),
    )
    yield Metric("tiergate_recorder_hung_threads", "Threads of cameras that do not end.", ("shard",), tuple(hung))
    help_ = "Changes that a recorder has not brought into the catalog since its start, and will not."
    yield Metric("tiergate_recorder_dropped_changes", help_, ("shard",), tuple(dropped))


def _access(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    yield _one("tiergate_register_open_rows", "Looks going on.", float(register.open_count(connection)))
    running = connection.execute(
        select(lease.c.side, func.count())
        .where(lease.c.ended_ms.is_(None), lease.c.expires_ms > now_ms)
        .group_by(lease.c.side)
    ).all()
    yield Metric("tiergate_leases_running", "Leases going on.", ("side",), tuple(((s,), float(n)) for s, n in running))
    seen = [
        ((row.peer_name, row.peer_role), max(0, now_ms - row.last_seen_ms) / 1000)
        for row in connection.execute(select(link).where(link.c.removed_ms.is_(None)))
        if row.last_seen_ms is not None
    ]
    yield Metric("tiergate_link_seen_age_seconds", "Time since a peer was heard.", ("peer", "role"), tuple(seen))


def _volumes(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    told = volume_state.read(connection)
    trouble = tuple(((name,), float(reason is not None)) for name, reason in told.items())
    yield Metric("tiergate_spool_volume_trouble", "1 while the recorders do not trust it.", ("volume",), trouble)


def _keeping(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    def age(since_ms: int | None) -> float | None:
        return None if since_ms is None else max(0, now_ms - since_ms) / 1000

    states = job_state.states(connection)
    ages = [((n,), a) for n, s in states.items() if (a := age(s.last_success_ms)) is not None]
    failing = [((n,), age(s.failing_since_ms) or 0.0) for n, s in states.items()]
    yield Metric("tiergate_job_success_age_seconds", "Time since a job last succeeded.", ("job",), tuple(ages))
    yield Metric(
        "tiergate_job_failing_seconds", "How long a job has been failing; 0: it is not.", ("job",), tuple(failing)
    )
    success, refused = facts.get(connection, sweeper.LAST_SUCCESS), facts.get(connection, sweeper.REFUSED_SINCE)
    yield _one("tiergate_sweep_success_age_seconds", "Time since the last sweep that was not refused.", age(success))
    since = None if success is None and refused is None else age(refused) or 0.0
    yield _one("tiergate_sweep_refused_seconds", "How long the sweep has refused to delete; 0: it does not.", since)
    uploads = facts.get(connection, job_state.UPLOADS)
    away = None if uploads is None else age(uploads["away_since_ms"]) or 0.0
    yield _one("tiergate_store_away_seconds", "How long the store has taken nothing; 0: it does.", away)
    corrupt = None if uploads is None else float(uploads["corrupt"])
    yield _one("tiergate_uploads_corrupt", "Segments whose spool copy is not what its row says.", corrupt)
    hanging = None if uploads is None else float(len(uploads.get("hanging", ())))
    yield _one("tiergate_uploads_hanging", "Segments whose upload has begun and does not end.", hanging)
    forecast = facts.get(connection, job_state.FORECAST) or {}
    needed = forecast.get("needed_bytes")
    yield _one("tiergate_store_needed_bytes", "Most that the store must hold, by the forecast.", needed)
    yield _one("tiergate_store_capacity_bytes", "Most that the store can hold.", forecast.get("capacity_bytes"))
    full_ms = forecast.get("full_ms")
    until_full = None if full_ms is None else max(0, full_ms - now_ms) / 1000
    yield _one("tiergate_store_full_in_seconds", "Until the store is full, by the forecast; absent: never.", until_full)
    yield from _promises(connection, now_ms)
    made = facts.get(connection, signed.MARK)
    yield _one(
        "tiergate_audit_checkpoint_age_seconds",
        "Age of the last signed head in the store.",
        age(made and made["at_ms"]),
    )
    standing = retention_rows.holds(connection)
    overdue = sum(row.review_ms < now_ms for row in standing)
    yield _one("tiergate_holds_standing", "Orders that footage stays.", float(len(standing)))
    yield _one("tiergate_holds_review_overdue", "Holds whose review date has passed.", float(overdue))
    waiting = float(len(approvals.pending(connection)))
    yield _one("tiergate_approvals_pending", "Requests that wait for a second person.", waiting)


def _alarms(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    known = alarms.Alarms.from_json(facts.get(connection, alarms.FACT))
    levels = Counter(alarm.told for alarm in known.standing)
    samples = tuple(((level,), float(levels[level])) for level in ("warn", "bad"))
    yield Metric("tiergate_alarms", "Findings of `doctor` that stand, by level.", ("level",), samples)
    yield _one("tiergate_alarms_waiting", "News of alarms that a hook has not taken.", float(len(known.waiting)))


def _promises(connection: Connection, now_ms: int) -> Iterable[Metric]:
    """As the keeper found it a few hours ago: it reads too much for every scrape."""
    told = facts.get(connection, job_state.PROMISES) or {"cameras": {}, "overkept": None}
    known = sorted(told["cameras"].items())
    yield Metric(
        "tiergate_retention_promised_seconds",
        "How far back the class of a camera promises footage.",
        ("camera",),
        tuple(((id_,), one["promised_ms"] / 1000) for id_, one in known),
    )
    yield Metric(
        "tiergate_retention_attained_seconds",
        "How far back nothing is gone that should be there, at most what is promised; absent: nothing recorded.",
        ("camera",),
        tuple(
            ((id_,), min(one["promised_ms"], max(0, now_ms - since_ms)) / 1000)
            for id_, one in known
            if (since_ms := one["attained_since_ms"]) is not None
        ),
    )
    yield Metric(
        "tiergate_retention_broken_in_seconds",
        "Until a camera's promise is broken; 0: it is; absent: nothing speaks for it.",
        ("camera", "cause"),
        tuple(
            ((id_, one["cause"]), max(0, breaks_ms - now_ms) / 1000)
            for id_, one in known
            if (breaks_ms := one["breaks_ms"]) is not None
        ),
    )
    yield from _owners(connection, now_ms)
    over = told["overkept"] or {}
    yield _one("tiergate_overkept_segments", "Unheld segments past their latest deletion.", over.get("segments"))
    yield _one("tiergate_overkept_bytes", "Unheld footage past its latest deletion.", over.get("bytes"))
    since_ms = over.get("since_ms")
    late = None if since_ms is None else max(0, now_ms - since_ms) / 1000
    yield _one("tiergate_overkept_late_seconds", "How late the oldest of it is; absent: there is none.", late)


def _owners(connection: Connection, now_ms: int) -> Iterable[Metric]:
    """As the keeper found it after the last round of asking."""
    told = facts.get(connection, job_state.OWNERS) or {"cameras": {}, "instants": {}, "answered_ms": {}}
    yield Metric(
        "tiergate_owner_check_cameras",
        "Cameras that their owners record, by what the owners' recorders answered.",
        ("state",),
        tuple(((state,), float(count)) for state, count in sorted(told["cameras"].items())),
    )
    yield Metric(
        "tiergate_owner_check_instants",
        "Instants of what is promised that owners' recorders were asked for, by what they answered.",
        ("state",),
        tuple(((state,), float(count)) for state, count in sorted(told["instants"].items())),
    )
    yield Metric(
        "tiergate_owner_check_answered_age_seconds",
        "Time since an owner's recorder last answered; absent: it never did.",
        ("camera",),
        tuple(((id_,), max(0, now_ms - at_ms) / 1000) for id_, at_ms in sorted(told["answered_ms"].items())),
    )


def _whole(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    """Whether what is stored is what was recorded, and what should be gone is gone."""
    scrubbed = scrub.state_of(connection)
    yield _one(
        "tiergate_segments_damaged",
        "Segments in the store that are not what was recorded.",
        float(damage.count(connection)),
    )
    yield _one("tiergate_scrub_bytes", "Read so far in the round of the scrub that goes on.", float(scrubbed.bytes))
    ended_s = took_s = None
    if scrubbed.last_ended_ms is not None and scrubbed.last_began_ms is not None:
        ended_s = max(0, now_ms - scrubbed.last_ended_ms) / 1000
        took_s = max(0, scrubbed.last_ended_ms - scrubbed.last_began_ms) / 1000
    yield _one("tiergate_scrub_round_age_seconds", "Time since the last whole round of the scrub.", ended_s)
    yield _one("tiergate_scrub_round_seconds", "How long the last whole round took.", took_s)
    missed = (
        (("missing",), float(scrubbed.missing or scrubbed.last_missing)),
        (("mismatch",), float(scrubbed.mismatches or scrubbed.last_mismatches)),
        (("unreadable",), float(scrubbed.unreadable or scrubbed.last_unreadable)),
    )
    known = scrubbed.began_ms is not None or scrubbed.last_ended_ms is not None
    help_ = "Segments of this round, else of the last, that were not as recorded."
    yield Metric("tiergate_scrub_findings", help_, ("kind",), missed if known else ())
    waiting = retention_rows.oldest_tombstone_ms(connection)
    due_ms = None if waiting is None else waiting + settings.retention.grace_hours * HOUR_MS
    late = 0.0 if due_ms is None else max(0, now_ms - due_ms) / 1000
    yield _one("tiergate_tombstones_oldest_age_seconds", "How long the oldest decided deletion is not done.", late)


def _evidence(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    found = evidence_state.summary(connection)
    colours = () if found is None else tuple(((k,), float(v)) for k, v in sorted(found.colours.items()))
    help_ = "Standing holds: green when every segment is verified in two places, none without footage yet."
    yield Metric("tiergate_holds", help_, ("colour",), colours)
    copies = evidence_rows.counts(connection)
    counted = tuple(((state,), float(count)) for state, (count, _) in sorted(copies.items()))
    yield Metric("tiergate_evidence_copies", "Second copies of held segments.", ("state",), counted)
    size = sum(size for state, (_, size) in copies.items() if state in ("verified", "releasing"))
    yield _one("tiergate_evidence_bytes", "Bytes of second copies.", float(size))
    waits = None if found is None else max(0, now_ms - (found.oldest_waiting_ms or now_ms)) / 1000
    yield _one("tiergate_evidence_waiting_age_seconds", "How long held footage waits for its second copy.", waits)
    bad = None if found is None else float(found.bad)
    help_ = "Held segments that are damaged, lost, or cannot be copied."
    yield _one("tiergate_evidence_bad_segments", help_, bad)
    tried = canary.last(connection)
    told = tried is not None and tried.proof in ("proven", "lies")
    proven = float(tried.proof == "proven") if tried is not None and told else None
    help_ = "1 when the store refused to delete a locked object, 0 when it did not; absent: it has no locks."
    yield _one("tiergate_evidence_lock_proven", help_, proven)
    age = None if tried is None else max(0, now_ms - tried.at_ms) / 1000
    yield _one("tiergate_evidence_canary_age_seconds", "Time since the store's locks were tried.", age)


def _processes(connection: Connection, settings: Settings, now_ms: int) -> Iterable[Metric]:
    run_dir = settings.paths.run_dir
    lags: list[tuple[tuple[str, ...], float]] = []
    tasks: list[tuple[tuple[str, ...], float]] = []
    uses: list[tuple[tuple[str, ...], signs.Use]] = []
    for name in signs.signing(run_dir):
        sign, pid = signs.read_sign(run_dir, name), signs.pid_of(run_dir, name)
        if sign is not None:
            lags.append(((name,), sign.lag_us / 1e6))
            tasks.append(((name,), float(sign.tasks)))
        use = None if pid is None else signs.use_of(pid)
        if use is not None:
            uses.append(((name,), use))
    labels = ("process",)
    yield Metric("tiergate_loop_lag_seconds", "Worst lag of a process' event loop in 10 s.", labels, tuple(lags))
    yield Metric(
        "tiergate_process_open_fds", "Open descriptors.", labels, tuple((k, float(u.open_fds)) for k, u in uses)
    )
    yield Metric("tiergate_process_threads", "Threads.", labels, tuple((k, float(u.threads)) for k, u in uses))
    yield Metric("tiergate_process_tasks", "Tasks of the event loop.", labels, tuple(tasks))
    memory = tuple((k, float(u.resident_bytes)) for k, u in uses)
    yield Metric("tiergate_process_resident_bytes", "Memory in use.", labels, memory)
    ahead = [
        ((str(shard),), known["held_s"])
        for shard in status.shards(connection)
        if (known := facts.get(connection, status.recorded_time_fact(shard))) is not None
    ]
    yield Metric(
        "tiergate_recorded_time_ahead_seconds",
        "How far footage is dated ahead of a clock that was set back.",
        ("shard",),
        tuple(ahead),
    )


#: Each is asked at every scrape, in one read transaction.
READERS: list[Reader] = [
    _cameras,
    _footage,
    _recorders,
    _access,
    _volumes,
    _keeping,
    _alarms,
    _whole,
    _evidence,
    _processes,
]


def read_facts(connection: Connection, settings: Settings, now_ms: int) -> list[Metric]:
    return [metric for reader in READERS for metric in reader(connection, settings, now_ms)]


class _Collector(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        for metric in self._metrics:
            family: GaugeMetricFamily | CounterMetricFamily
            if metric.name.endswith("_total"):
                family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            else:
                family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.samples:
                family.add_metric(labels, value)
            if metric.samples:
                yield family


def disks(settings: Settings) -> list[Metric]:
    """Asked of the disks, and not in a transaction: one that hangs is waited for (`storage.questions`)."""
    free: list[tuple[tuple[str, ...], float]] = []
    scarce: list[tuple[tuple[str, ...], float]] = []
    answers: list[tuple[tuple[str, ...], float]] = []
    for name, found in ask_each(folders_of(settings), lambda _, folder: free_space(folder)).items():
        if isinstance(found, OSError):
            continue
        answers.append(((name,), float(not isinstance(found, Reason))))
        if not isinstance(found, Reason):
            free.append(((name,), float(found.bytes_free)))
            scarce.append(((name,), found.percent / 100))
    ratio = "What is left of bytes or of inodes, whichever is scarcer."
    said = "0 while the disk hangs: nothing that asks it comes back."
    return [
        Metric("tiergate_disk_free_bytes", "Bytes that the node may still take.", ("volume",), tuple(free)),
        Metric("tiergate_disk_free_ratio", ratio, ("volume",), tuple(scarce)),
        Metric("tiergate_disk_answers", said, ("volume",), tuple(answers)),
    ]


def looks_running(count: float | None) -> Metric:
    return _one("tiergate_looks_running", "Looks going on in the process that answers.", count)


def requests_refused(counts: Mapping[str, int]) -> Metric:
    return Metric(
        "tiergate_requests_refused_total",
        "Requests refused with 429 because they came too often, since the process that answers began; `node_…`: calls "
        "of linked nodes, since the relay began.",
        ("of",),
        tuple(((of,), float(count)) for of, count in sorted(counts.items())),
    )


def rtsp(connections: int, streams: int, refused: Mapping[str, int], malformed: int, turned_away: int) -> list[Metric]:
    """Of a process that serves RTSP."""
    by = tuple(((code,), float(count)) for code, count in sorted(refused.items()))
    closed = ((("malformed",), float(malformed)), (("too_many",), float(turned_away)))
    return [
        _one("tiergate_rtsp_connections", "RTSP connections of the process that answers.", float(connections)),
        _one("tiergate_rtsp_streams", "Streams that leave by them.", float(streams)),
        Metric("tiergate_rtsp_refused_total", "RTSP requests refused since it began.", ("reason",), by),
        Metric("tiergate_rtsp_closed_total", "RTSP connections that it closed unheard.", ("why",), closed),
    ]


def render(metrics: list[Metric]) -> tuple[bytes, str]:
    """(text, media type)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics))
    return generate_latest(registry), CONTENT_TYPE_LATEST
