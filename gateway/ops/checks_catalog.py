"""Checks of `doctor` on what the catalog knows: cameras, gaps, backlog, sweep, jobs, holds, audit, links, leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, select

from config.errors import TiergateError
from config.reasons import TABLE, Reason
from config.units import DAY_MS, HOUR_MS, format_time_ms
from gateway.access.keys import load_keys
from gateway.access.secrets import Secrets
from gateway.cameras import factory_accounts, known_firmware
from gateway.ops import bucket_rules, job_state, promise
from gateway.ops.disks import store_silent
from gateway.ops.findings import Finding, Level, NotAsked, fine, found
from gateway.ops.probe import Probe
from storage import aside, canary, damage, evidence_state, scrub, sweeper
from storage.audit import heads as audit_heads
from storage.audit import log as audit
from storage.audit import signed
from storage.catalog import break_glass, evidence_rows, facts, leases, links, retention_rows, segments, status
from storage.catalog import cameras as camera_rows
from storage.catalog import gaps as gap_rows
from storage.catalog import status as recorder_status
from storage.catalog.tables import camera
from storage.objects import make_store
from storage.reach_view import kept_elsewhere
from storage.sampled_view import assessments
from tiering import quota

_MINUTE_MS = 60_000
BACKLOG_WARN_MS, BACKLOG_BAD_MS = 10 * _MINUTE_MS, HOUR_MS
SWEEP_OLD_MS, REFUSED_BAD_MS = 26 * HOUR_MS, DAY_MS
FULL_SOON_MS = 14 * DAY_MS
LINK_SILENT_MS = 5 * _MINUTE_MS
PURGE_LATE_MS = 5 * _MINUTE_MS
UNSIGNED_WARN_MS = HOUR_MS  #: a new node has no signed head before the keeper's first minute
HEAD_OLD_MS, HEAD_BACK_SHOWN_MS = DAY_MS, 30 * DAY_MS
QUOTA_LOW_PERCENT = 20  #: left
TOMBSTONE_WARN_MS = HOUR_MS
EVIDENCE_WAITS_MS = HOUR_MS
MOST_LINES = 20  #: of one check: forty offline cameras are one fault of the network


def cameras(connection: Connection, probe: Probe) -> Iterator[Finding]:
    own = camera_rows.cameras(connection)
    status, health = camera_rows.status_rows(connection), camera_rows.health_rows(connection)
    recorded = [c for c in own.values() if c.enabled and c.recorded_by == "self"]
    if not own:
        yield found("cameras", "warn", Reason("ops.cameras_none"), Reason("ops.cameras_none_next"))
        return
    bad: list[Finding] = []
    long: list[Finding] = []
    for row in recorded:
        state = status.get(row.id, {}).get("main")
        if state is not None and state.state == "online":
            if (state.reason or {}).get("code") == "camera.gop_long":
                params = {"camera": row.id, "name": row.name, "seconds": (state.gop_ms or 0) // 1000}
                long.append(
                    found("cameras", "warn", Reason("ops.camera_gop_long", params), Reason("ops.camera_gop_next"))
                )
            continue
        if state is not None and state.cause == "disabled":
            continue  # of an enabled camera: outside its windows of the week
        said = state.reason if state is not None else None
        cause = said or (state.cause if state is not None else None) or "unknown"
        reason = Reason("ops.camera_offline", {"camera": row.id, "name": row.name, "cause": cause})
        bad.append(found("cameras", "bad", reason, Reason("ops.camera_next", {"camera": row.id})))
    yield from long[:MOST_LINES]
    yield from bad[:MOST_LINES]
    if not bad and not long:
        yield fine("cameras", "ops.cameras_ok", count=len(recorded))
    for id_, picture in sorted(health.items()):
        if id_ in own and picture.verdict != "ok":
            params = {"camera": id_, "name": own[id_].name, "verdict": picture.verdict}
            yield found("pictures", "warn", Reason("ops.picture_bad", params), Reason("ops.picture_next"))


def accounts(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Cameras that anybody on their network can open (FAULTS S9)."""
    try:
        secrets = Secrets(load_keys(probe.settings))
    except TiergateError as exc:
        raise NotAsked from exc  # `keys` says so
    known = factory_accounts.cameras_with(connection, secrets)
    for id_ in known[:MOST_LINES]:
        yield found("accounts", "warn", Reason("camera.factory_account", {"camera": id_}),
                    Reason("camera.factory_account_next", {"camera": id_}))  # fmt: skip
    if not known:
        yield fine("accounts", "camera.factory_account_none")


def firmware(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Cameras with firmware by which strangers break in today (FAULTS S9)."""
    known = known_firmware.cameras_with(connection)
    for risk in known[:MOST_LINES]:
        yield found("firmware", "warn", Reason("camera.bad_firmware", risk.params),
                    Reason("camera.bad_firmware_next", {"source": risk.faults[0].source}))  # fmt: skip
    if not known:
        yield fine("firmware", "camera.bad_firmware_none")


def recorded_time(connection: Connection, probe: Probe) -> Iterator[Finding]:
    for shard in status.shards(connection):
        known = facts.get(connection, status.recorded_time_fact(shard))
        if known is not None and known["held_s"] > 0:
            reason = Reason("ops.recorded_time_held", {"shard": shard, "held_s": known["held_s"]})
            yield found("clock", "warn", reason, Reason("ops.recorded_time_next"))


def gaps(connection: Connection, probe: Probe) -> Iterator[Finding]:
    present = set(connection.execute(select(camera.c.id).where(camera.c.removed_ms.is_(None))).scalars())
    causes = Counter(g.cause for g in gap_rows.open_gaps(connection) if g.camera_id in present)
    for cause, count in sorted(causes.items()):
        level: Level = "ok" if cause == "disabled" else "warn"
        reason = Reason("ops.gaps_open", {"count": count, "cause": cause})
        yield found("gaps", level, reason, Reason("ops.gaps_next"))
    if not causes:
        yield fine("gaps", "ops.gaps_ok")


def recorders(connection: Connection, probe: Probe) -> Iterator[Finding]:
    hung = dropped = 0
    for shard in recorder_status.shards(connection):
        said = facts.get(connection, f"{recorder_status.WATCHDOG_FACT}{shard}") or {}
        hung, dropped = hung + said.get("hung", 0), dropped + said.get("dropped", 0)
        if shard >= recorder_status.ALONE:
            held = connection.execute(select(camera.c.id).where(camera.c.shard == shard)).scalars().first()
            reason = Reason("ops.camera_alone", {"camera": held or "?"})
            yield found("recorders", "warn", reason, Reason("ops.camera_alone_next", {"camera": held or "?"}))
    if dropped:
        reason = Reason("ops.changes_dropped", {"count": dropped})
        yield found("recorders", "bad", reason, Reason("ops.changes_dropped_next"))
    if hung:
        yield found("recorders", "warn", Reason("ops.threads_hung", {"count": hung}), Reason("ops.threads_hung_next"))
    elif not dropped:
        yield fine("recorders", "ops.recorders_ok")


def backlog(connection: Connection, probe: Probe) -> Iterator[Finding]:
    waiting = segments.spooled_bytes(connection)
    age_ms = 0 if waiting.oldest_end_ms is None else max(0, probe.now_ms - waiting.oldest_end_ms)
    if age_ms < BACKLOG_WARN_MS:
        yield fine("backlog", "ops.backlog_ok")
    else:
        level: Level = "bad" if age_ms >= BACKLOG_BAD_MS else "warn"
        reason = Reason("ops.backlog", {"count": waiting.count, "minutes": age_ms // _MINUTE_MS})
        yield found("backlog", level, reason, Reason("ops.backlog_next"))
    uploads = facts.get(connection, job_state.UPLOADS) or {}
    if uploads.get("corrupt"):
        yield found("backlog", "bad", Reason("ops.corrupt", {"count": uploads["corrupt"]}), Reason("ops.corrupt_next"))
    if hanging := uploads.get("hanging"):
        reason = Reason("ops.uploads_hang", {"count": len(hanging), **hanging[0]})
        yield found("backlog", "bad", reason, Reason("ops.uploads_hang_next"))


def sweep(connection: Connection, probe: Probe) -> Iterator[Finding]:
    following = Reason("ops.sweep_next")
    last_ms = facts.get(connection, sweeper.LAST_SUCCESS)
    since_ms, code = facts.get(connection, sweeper.REFUSED_SINCE), facts.get(connection, sweeper.REFUSED_REASON)
    if since_ms is not None:
        why = Reason(code) if code in TABLE else str(code)
        hours = max(0, probe.now_ms - since_ms) // HOUR_MS
        level: Level = "bad" if probe.now_ms - since_ms >= REFUSED_BAD_MS else "warn"
        yield found("sweep", level, Reason("ops.sweep_refused", {"hours": hours, "why": why}), following)
    elif last_ms is None:
        yield found("sweep", "warn", Reason("ops.sweep_never"), following)
    elif probe.now_ms - last_ms > SWEEP_OLD_MS:
        reason = Reason("ops.sweep_old", {"hours": (probe.now_ms - last_ms) // HOUR_MS})
        yield found("sweep", "bad", reason, following)
    else:
        yield fine("sweep", "ops.sweep_ok", minutes=max(0, probe.now_ms - last_ms) // _MINUTE_MS)


def tombstones(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Deletions that were decided and that the store does not carry out (FAULTS B15)."""
    decided_ms = retention_rows.oldest_tombstone_ms(connection)
    if decided_ms is None:
        yield fine("tombstones", "ops.tombstones_ok")
        return
    late_ms = max(0, probe.now_ms - decided_ms - probe.settings.retention.grace_hours * HOUR_MS)
    level: Level = "ok" if late_ms < TOMBSTONE_WARN_MS else "bad" if late_ms >= DAY_MS else "warn"
    reason = Reason("ops.tombstones_wait", {"minutes": late_ms // _MINUTE_MS})
    yield Finding("tombstones", level, reason, None if level == "ok" else Reason("ops.tombstones_next"))


def scrubbed(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Whether the store still has what was recorded."""
    state = scrub.state_of(connection)
    damaged = damage.count(connection)
    missing = state.missing or state.last_missing
    unreadable = state.unreadable or state.last_unreadable
    following = Reason("ops.scrub_next")
    if damaged:
        yield found("scrub", "bad", Reason("ops.scrub_damaged", {"count": damaged}), following)
    if missing or unreadable:
        params: dict[str, object] = {"missing": missing, "unreadable": unreadable}
        yield found("scrub", "warn", Reason("ops.scrub_missing", params), following)
    if damaged or missing or unreadable:
        return
    if state.last_ended_ms is None or state.last_began_ms is None:
        yield fine("scrub", "ops.scrub_first", gb=round(state.bytes / 1e9, 1))
    else:
        hours = max(0, state.last_ended_ms - state.last_began_ms) // HOUR_MS
        at = format_time_ms(state.last_ended_ms, local=True)
        yield fine("scrub", "ops.scrub_ok", at=at, hours=hours)


def put_aside(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Bytes that were put aside and do not say whose they are: no clock ends them, so a person must (I4)."""
    told: dict[str, aside.Nameless] = facts.get(connection, aside.UNKNOWN) or {}
    for place, what in sorted(told.items()):
        params = {"count": what["count"], "place": place, "first": what["first"]}
        yield found("put_aside", "warn", Reason("ops.aside_unknown", params), Reason("ops.aside_next"))
    if not told:
        yield fine("put_aside", "ops.aside_ok")


def jobs(connection: Connection, probe: Probe) -> Iterator[Finding]:
    bad = False
    for name, state in job_state.states(connection).items():
        following = Reason("ops.job_next", {"job": name})
        if state.failing_since_ms is not None:
            bad = True
            minutes = max(0, probe.now_ms - state.failing_since_ms) // _MINUTE_MS
            params: dict[str, object] = {"job": name, "minutes": minutes, "problem": _words(state.problem)}
            yield found("jobs", "bad", Reason("ops.job_failing", params), following)
        elif state.is_late(probe.now_ms) and state.last_success_ms is not None:
            bad = True
            minutes = max(0, probe.now_ms - state.last_success_ms) // _MINUTE_MS
            yield found("jobs", "warn", Reason("ops.job_late", {"job": name, "minutes": minutes}), following)
    if not bad:
        yield fine("jobs", "ops.jobs_ok")


def promises(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Before the first camera there is nothing to promise."""
    if not any(c.enabled and c.recorded_by == "self" for c in camera_rows.cameras(connection).values()):
        return
    forecast, _ = promise.gather(connection, probe.settings, probe.now_ms)
    said = promise.verdict(forecast)
    if forecast.full_ms is not None:
        level: Level = "bad" if forecast.full_ms - probe.now_ms < FULL_SOON_MS else "warn"
        yield found("promise", level, said, Reason("retention.forecast_next"))
    else:
        yield Finding("promise", "ok", said)


def reach(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Camera by camera whether the promise is kept (a store that will be full has its own line); what is over-kept."""
    kept, over = promise.promises(connection, None, probe.now_ms)
    soon_ms = probe.now_ms + FULL_SOON_MS
    wrong = [(one.breaks_ms, one) for one in kept if one.breaks_ms is not None and one.breaks_ms < soon_ms]
    for breaks_ms, one in sorted(wrong, key=lambda pair: pair[0])[:MOST_LINES]:
        id_ = one.reach.camera_id
        level: Level = "bad" if breaks_ms <= probe.now_ms else "warn"
        reason = Reason("retention.promise_camera", {"camera": id_, "why": one.reason})
        yield found("reach", level, reason, Reason("retention.promise_next", {"camera": id_}))
    if kept and not wrong:
        yield fine("reach", "retention.promise_all_kept", count=len(kept))
    if over:
        since = format_time_ms(min(what.oldest_due_ms for what in over.values()), local=True)
        size = sum(what.bytes for what in over.values())
        params = {"count": sum(what.segments for what in over.values()), "mb": round(size / 1e6, 1), "since": since}
        yield found("overkept", "bad", Reason("retention.overkept", params), Reason("retention.overkept_next"))
    else:
        yield fine("overkept", "retention.overkept_none")


def attested(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Camera by camera, what owners say of the footage that only their recorders keep."""
    known = camera_rows.cameras(connection)
    theirs = [id_ for id_, row in known.items() if row.enabled and row.recorded_by == "owner"]
    if not theirs:
        return
    standing = kept_elsewhere(connection, sweeper.Policies.read(connection), probe.now_ms, theirs)
    wrong = [one for one in standing if one.state != "attested"]
    for one in sorted(wrong, key=lambda one: one.state != "short")[:MOST_LINES]:
        level: Level = "bad" if one.state == "short" else "warn"
        reason = Reason("retention.attested_camera", {"camera": one.camera_id, "why": one.reason})
        yield found("attested", level, reason, Reason("retention.attested_next", {"camera": one.camera_id}))
    ends = [(one.attestation.valid_until_ms, one.camera_id) for one in standing if one.attestation and one not in wrong]
    soon = sorted(pair for pair in ends if pair[0] - probe.now_ms < FULL_SOON_MS)
    for until_ms, id_ in soon[:MOST_LINES]:
        reason = Reason("retention.attested_ends", {"camera": id_, "until": format_time_ms(until_ms, local=True)})
        yield found("attested", "warn", reason, Reason("retention.attested_next", {"camera": id_}))
    if not wrong and not soon:
        yield fine("attested", "retention.attested_all", count=len(standing))


def owner_checks(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Camera by camera, what owners' recorders lack of what they were asked for, and which cannot be asked."""
    if not probe.settings.retention.owner_check_instants:
        return
    known = camera_rows.cameras(connection)
    theirs = [id_ for id_, row in known.items() if row.enabled and row.recorded_by == "owner"]
    standing = kept_elsewhere(connection, sweeper.Policies.read(connection), probe.now_ms, theirs)
    checked = list(assessments(connection, standing, probe.now_ms).values())
    wrong = [one for one in checked if one.state in ("missing", "unanswered")]
    for one in sorted(wrong, key=lambda one: one.state != "missing")[:MOST_LINES]:
        level: Level = "bad" if one.state == "missing" else "warn"
        code = f"retention.checked_camera_{one.state}"
        reason = Reason(code, {"camera": one.camera_id, "why": one.reason})
        yield found("owner_checks", level, reason, Reason("retention.checked_next", {"camera": one.camera_id}))
    asked = [one for one in checked if one.present]
    if asked and not wrong:
        present = sum(one.present for one in asked)
        yield fine("owner_checks", "retention.checked_all", count=len(asked), present=present)


def _words(problem: str | None) -> Reason | str:
    """A reason without its parameters would speak in braces: then its code says more."""
    if problem in TABLE and "{" not in TABLE[problem][0]:
        return Reason(problem)
    return str(problem)


def holds(connection: Connection, probe: Probe) -> Iterator[Finding]:
    standing = retention_rows.holds(connection)
    overdue = [row for row in standing if row.review_ms < probe.now_ms]
    if overdue:
        reason = Reason("ops.holds_overdue", {"count": len(overdue), "case": overdue[0].case_no})
        yield found("holds", "warn", reason, Reason("ops.holds_next"))
    else:
        yield fine("holds", "ops.holds_ok", count=len(standing))


def evidence(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Whether held footage is in two places, and which of the two belts is there."""
    standing = evidence_state.of_standing(connection, probe.now_ms)
    proof, in_bucket = canary.proof(connection), probe.settings.store.kind == "s3"
    if proof == "lies":
        yield found("evidence", "bad", Reason("ops.evidence_lock_lies"), Reason("ops.evidence_lock_next"))
    elif proof == "absent" and in_bucket:
        yield found("evidence", "warn", Reason("ops.evidence_lock_absent"), Reason("ops.evidence_lock_next"))
    elif proof == "absent":
        yield fine("evidence", "ops.evidence_folder")
    elif proof == "proven":
        yield fine("evidence", "ops.evidence_lock_ok")
    bad = [(row, state.standing.bad) for row, state in standing if state.standing.bad]
    if bad:
        params: dict[str, object] = {"count": sum(count for _, count in bad), "case": bad[0][0].case_no}
        yield found("evidence", "bad", Reason("ops.evidence_bad", params), Reason("ops.evidence_next"))
    kept = evidence_rows.unexplained(connection)
    if kept.start_ms is not None:
        params = {"count": kept.count, "camera": kept.camera_id, "at": format_time_ms(kept.start_ms, local=True)}
        following = Reason("retention.copies_unexplained_next")
        yield found("evidence", "warn", Reason("retention.copies_unexplained", params), following)
    since = [s.standing.oldest_waiting_ms for _, s in standing if s.standing.oldest_waiting_ms is not None]
    age_ms = max(0, probe.now_ms - min(since, default=probe.now_ms))
    if age_ms >= EVIDENCE_WAITS_MS:
        params = {"count": sum(s.standing.waiting for _, s in standing), "minutes": age_ms // _MINUTE_MS}
        yield found("evidence", "warn", Reason("ops.evidence_waits", params), Reason("ops.evidence_next"))
    elif standing and not bad:
        yield fine("evidence", "ops.evidence_ok", count=sum(s.standing.verified for _, s in standing))


def rules(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Rules that the buckets carry out by themselves. That uploads end is the keeper's work where a store cannot."""
    try:
        plans = bucket_rules.plans(connection, probe.settings, load_keys(probe.settings).node_id)
    except TiergateError as exc:
        raise NotAsked from exc  # the keys have a line of their own
    states = bucket_rules.compare(probe.settings, plans)
    told = [(state.bucket, one) for state in states for one in state.differences]
    danger = [(bucket, one.rule) for bucket, one in told if one.change == "dangerous"]
    for bucket, rule in danger:
        params: dict[str, object] = {"bucket": bucket, "rule": rule.id, "days": rule.expire_days}
        yield found("rules", "bad", Reason("ops.rules_dangerous", params), Reason("ops.rules_dangerous_next"))
    differ = [one for _, one in told if one.change in ("add", "change", "remove") and one.rule.expire_days is not None]
    if differ:
        yield found("rules", "warn", Reason("ops.rules_differ", {"count": len(differ)}), Reason("ops.rules_next"))
    elif told and not danger:
        yield fine("rules", "ops.rules_ok")
    if any(state.unread for state in states):
        raise NotAsked  # `store` says so of a store that is away


def audit_log(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """The chain."""
    if probe.quick:
        return
    broken = audit.verify_catalog(connection)
    if broken is not None:
        yield found("audit", "bad", Reason("cli.audit_broken", {"seq": broken}), Reason("ops.audit_next"))
        return
    yield fine("audit", "ops.audit_ok", count=audit.head(connection)[0])


def audit_cut(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Loud from the moment the keeper finds the log's end cut until somebody has reviewed it."""
    told = facts.get(connection, signed.CUT)
    if told is not None:
        yield _cut(told)


def audit_end(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """The log against the newest signed head that the store keeps, where the catalog's owner cannot mend it. What
    cannot be compared is no good sign."""
    following = Reason("ops.audit_end_next")
    hangs = store_silent(probe.settings)
    if hangs is not None:
        yield found("audit", "warn", Reason("ops.audit_unread", {"problem": hangs}), following)
        raise NotAsked
    try:
        keys, store = load_keys(probe.settings), make_store(probe.settings)
        standing = signed.judge(lambda query: query(connection), store, keys.node_id, keys.node_public, probe.now_ms)
        marked = signed.mark(connection, keys.node_id)
        gone = marked is not None and signed.read_head(store, marked, keys.node_public) is None
    except TiergateError as exc:
        yield found("audit", "warn", Reason("ops.audit_unread", {"problem": exc.reason}), following)
        raise NotAsked from exc
    newest, began_ms = standing.newest, audit.began_ms(connection)
    if standing.cut is not None:
        if facts.get(connection, signed.CUT) is None:  # else `audit_cut` has said it
            yield _cut(standing.cut.as_json())
    elif gone and marked is not None:
        at = format_time_ms(marked.at_ms, local=True)
        yield found("audit", "warn", Reason("ops.audit_head_gone", {"at": at}), following)
    elif newest is not None:
        at = format_time_ms(newest.at_ms, local=True)
        yield fine("audit", "ops.audit_end_ok", seq=newest.seq, at=at)
    elif not standing.excused and began_ms is not None and probe.now_ms - began_ms >= UNSIGNED_WARN_MS:
        yield found("audit", "warn", Reason("ops.audit_unsigned"), following)


def _cut(told: Mapping[str, int]) -> Finding:
    return found("audit", "bad", Reason("ops.audit_cut", signed.shown(told)), Reason("ops.audit_cut_next"))


def _named(row: links.LinkRow) -> dict[str, object]:
    """Two nodes may have the same name."""
    return {"link": row.id, "name": row.peer_name}


def peers(connection: Connection, probe: Probe) -> Iterator[Finding]:
    rows = links.all_of(connection)
    following = Reason("ops.link_next")
    bad = False
    for row in rows:
        named = _named(row)
        if row.suspended_ms is not None:
            bad = True
            yield found("links", "warn", Reason("ops.link_suspended", named), following)
        elif row.last_seen_ms is None:
            bad = True
            yield found("links", "warn", Reason("ops.link_never", named), following)
        elif row.peer_role == "lower" and probe.now_ms - row.last_seen_ms > LINK_SILENT_MS:
            bad = True
            minutes = (probe.now_ms - row.last_seen_ms) // _MINUTE_MS
            reason = Reason("ops.link_silent", named | {"minutes": minutes})
            yield found("links", "bad", reason, following)
    if rows and not bad:
        yield fine("links", "ops.links_ok", count=len(rows))


def heads(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Whether linked nodes' audit logs only ever grew, by the signed heads that they give us."""
    known = [(row, audit_heads.seen(connection, row.peer_node)) for row in links.all_of(connection)]
    given = [(row, last) for row, last in known if last is not None]
    bad = False
    for row, last in given:
        if last.back_ms is not None and probe.now_ms - last.back_ms < HEAD_BACK_SHOWN_MS:
            bad = True
            at = format_time_ms(last.back_ms, local=True)
            reason = Reason("ops.head_back", _named(row) | {"at": at})
            yield found("heads", "bad", reason, Reason("ops.head_back_next"))
        elif row.usable and probe.now_ms - last.at_ms > HEAD_OLD_MS:
            bad = True
            reason = Reason("ops.head_old", _named(row) | {"hours": (probe.now_ms - last.at_ms) // HOUR_MS})
            yield found("heads", "warn", reason, Reason("ops.link_next"))
    if given and not bad:
        yield fine("heads", "ops.heads_ok", count=len(given))


def quotas(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """How much of a day's pictures each upper node was given: who asks for so much has an emergency, or should not."""
    above = [row for row in links.all_of(connection, "upper") if row.usable]
    bad = False
    for row in above:
        left = quota.left(connection, row, probe.now_ms)
        params = _named(row) | {"limit_mb": row.bytes_per_day // 1_000_000, "left_mb": left // 1_000_000}
        following = Reason("ops.quota_next", {"link": row.id})
        if left < quota.FULL_BYTES:
            bad = True
            yield found("quotas", "bad", Reason("ops.quota_full", params), following)
        elif left * 100 < row.bytes_per_day * QUOTA_LOW_PERCENT:
            bad = True
            yield found("quotas", "warn", Reason("ops.quota_low", params), following)
    if above and not bad:
        yield fine("quotas", "ops.quotas_ok", count=len(above))


def broken_glass(connection: Connection, probe: Probe) -> Iterator[Finding]:
    """Loud from the moment a seal is opened until somebody else has reviewed it."""
    for row in break_glass.unreviewed(connection):
        until_ms = row.until_ms or 0
        at = format_time_ms(row.used_ms or 0, local=True)
        params = {"seal": row.id, "person": row.person, "at": at, "reason": row.reason}
        reason = Reason("ops.break_glass_unreviewed", params)
        if until_ms > probe.now_ms:
            reason = Reason("ops.break_glass_open", params | {"until": format_time_ms(until_ms, local=True)})
        yield found("break_glass", "bad", reason, Reason("ops.break_glass_next"))


def pulls(connection: Connection, probe: Probe) -> Iterator[Finding]:
    for row in leases.unconfirmed_late(connection, probe.now_ms):
        reason = Reason("ops.lease_unconfirmed", {"lease": row.id, "case": row.case_no})
        yield found("leases", "warn", reason, Reason("ops.lease_next"))
    for row in leases.to_purge(connection, probe.now_ms - PURGE_LATE_MS):
        minutes = (probe.now_ms - row.cache_until_ms) // _MINUTE_MS
        reason = Reason("ops.purge_late", {"lease": row.id, "minutes": minutes})
        yield found("leases", "bad", reason, Reason("ops.purge_next"))
