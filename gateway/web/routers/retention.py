"""``/retention``: classes, the plan, why something stays, and the sweep by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import TABLE, Reason
from config.units import HOUR_MS, format_time_ms
from gateway.access import approvals, footage
from gateway.ops import bucket_rules, clock_evidence, promise
from gateway.ops.locks import SWEEP_LOCK, alone
from gateway.web.policy import client_of, policy
from gateway.web.routers.approvals import MAY_QUEUE, queued
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, ShortText, TimeMs, page
from storage import class_changes, lifecycle, sweeper
from storage.approval_rules import Governance, needed_reason, needs_second
from storage.aside import Aside
from storage.audit import log as audit
from storage.catalog import facts, retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import AreaStay, Deletion
from storage.classes import MIN_DAYS_PER_MONTH, RetentionClass, judge_change, judge_days
from storage.forecast import ASSUMED_BPS, Forecast, Inflow
from storage.holds import holds_on
from storage.objects import make_store
from storage.plan_view import PlanItem, plan_view, require_class, what_if
from storage.reach_view import kept_elsewhere
from storage.retention import Verdict, undated_span
from storage.sampled_view import assessments, nearest
from storage.spools import make_spools
from storage.sweeper import Policies, Sweeper, SweepReport
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/retention", tags=["retention"])


class ClassChange(Body):
    """One of `months` and `days`: a class keeps whole months."""

    months: int | None = Field(None, ge=0, le=1200)
    days: int | None = Field(None, ge=0, le=36_000)
    legal_basis: ShortText | None = None


def _class_json(class_: RetentionClass, change: class_changes.Change | None) -> dict[str, Any]:
    return {
        "name": class_.name,
        "rank": class_.rank,
        "months": class_.months,
        "min_days": class_.min_days,
        "ceiling_months": class_.ceiling_months,
        "for_hold": class_.for_hold,
        "pending": change
        and {"months": change.months, "effective_ms": change.effective_ms, "asked_by": change.asked_by},
    }


@router.get("")
async def show(request: Request, principal: Annotated[Principal, policy(users_only=True)]) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        changes = class_changes.pending(connection)
        code = facts.get(connection, sweeper.REFUSED_REASON)
        return {
            "classes": [
                _class_json(class_, changes.get(name)) for name, class_ in retention_rows.classes(connection).items()
            ],
            "sweep": {
                "last_success_ms": facts.get(connection, sweeper.LAST_SUCCESS),
                "refused_since_ms": facts.get(connection, sweeper.REFUSED_SINCE),
                "refused_reason": Reason(code).as_json() if code in TABLE else None,
            },
        }

    return await services_of(request).read(read)


@router.put("/{class_name}", responses=MAY_QUEUE)
async def change(
    request: Request,
    response: Response,
    class_name: str,
    body: ClassChange,
    principal: Annotated[Principal, policy(role="system_admin")],
) -> dict[str, Any]:
    """Longer holds at once; shorter, or above the ceiling, after seven days, applied by the sweep. Under full
    governance these two wait for a second person first."""
    services, client = services_of(request), client_of(request)
    if (body.months is None) == (body.days is None):
        raise TiergateError(Kind.INVALID, "retention.length_once", field="months")

    def write(connection: Connection) -> dict[str, Any]:
        now_ms = services.now_ms()
        months, basis, governance = body.months, body.legal_basis, services.settings.node.governance
        if months is None:
            months = class_changes.months_of_days(connection, class_name, body.days or 0)
        proposal = class_changes.propose(connection, class_name, months, basis)
        if needs_second("retention.set", proposal, governance):
            asked = approvals.ask(
                connection, services.clock, principal, "retention.set", class_name, proposal, basis or "", client
            )
            said = queued(asked)
            return {"class": class_name, "months": months, "waits": True, "reason": said["notice"]} | said
        made = class_changes.ask(connection, class_name, months, now_ms, principal.actor, basis, governance)
        waits = made.effective_ms > now_ms
        reason = Reason(
            "retention.change_waits" if waits else "retention.change_done",
            {"class": class_name, "months": made.months}
            | ({"from": format_time_ms(made.effective_ms, local=True)} if waits else {}),
        )
        return {
            "class": class_name,
            "months": made.months,
            "min_days": made.min_days,
            "effective_ms": made.effective_ms,
            "waits": waits,
            "reason": reason.as_json(),
        }

    answer = await services.write(write)
    if "approval" in answer:
        response.status_code = 202
    return answer


@router.get("/plan")
async def plan(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    at: TimeMs | None = None,
    class_name: Annotated[str | None, Query(alias="class", max_length=20)] = None,
    months: Annotated[int | None, Query(ge=0, le=1200)] = None,
    days: Annotated[int | None, Query(ge=0, le=36_000)] = None,
    legal_basis: Annotated[str | None, Query(max_length=200)] = None,
) -> dict[str, Any]:
    """Per camera, class and reason what stays and what goes at a time, or as if a class kept another length. Changes
    of classes that wait, and provisional holds, count as they will by then.

    Of such a change it says as well whether it is refused, and whether a second person must approve it."""
    services = services_of(request)
    if (class_name is None) != (months is None and days is None):
        raise TiergateError(Kind.INVALID, "retention.what_if_half")
    if months is not None and days is not None:
        raise TiergateError(Kind.INVALID, "retention.length_once", field="months")
    at_ms = services.now_ms() if at is None else at
    client, governance = client_of(request), services.settings.node.governance
    has_basis = bool((legal_basis or "").strip())

    def read(connection: Connection) -> tuple[list[PlanItem], Reason | None, Reason | None]:
        policies = Policies.foreseen(connection, at_ms)
        refusal = second = None
        if class_name is not None:
            kept = (days or 0) // MIN_DAYS_PER_MONTH if months is None else months
            known = Policies.foreseen(connection, services.now_ms()).classes
            if class_name in known:
                refusal, second = _judged(known[class_name], kept, days, has_basis, governance)
            policies = what_if(policies, class_name, kept, days)
        seen = footage.visible_cameras(connection, principal, services.now_ms(), client)
        return plan_view(connection, policies, at_ms, seen), refusal, second

    items, refusal, second = await services.read_apart(read)
    going = [item for item in items if not item.keep]
    return page([item.as_json() for item in items]) | {
        "at_ms": at_ms,
        "total": {
            "segments": sum(i.segments for i in items),
            "bytes": sum(i.bytes for i in items),
            "remove_segments": sum(i.segments for i in going),
            "remove_bytes": sum(i.bytes for i in going),
            "remove_first_ms": min((i.first_ms for i in going), default=None),
            "remove_last_ms": max((i.last_ms for i in going), default=None),
        },
        "change_refused": refusal and refusal.as_json(),
        "change_needs": second and second.as_json(),
    }


def _judged(
    class_: RetentionClass, months: int, days: int | None, has_basis: bool, governance: Governance
) -> tuple[Reason | None, Reason | None]:
    """(why the change would be refused, who must approve it): the second also while the legal basis is missing."""
    refusal = None if days is None else judge_days(class_, days)
    refusal = refusal or judge_change(class_, months, has_basis)
    if class_.months is None or (refusal is not None and refusal.code != "retention.above_ceiling"):
        return refusal, None
    params = {"months": months, "from_months": class_.months, "ceiling": class_.ceiling_months}
    return refusal, needed_reason("retention.set") if needs_second("retention.set", params, governance) else None


@router.get("/forecast")
async def forecast(
    request: Request,
    principal: Annotated[Principal, policy(role=("system_admin", "duty"))],
    add: Annotated[int, Query(ge=0, le=100_000)] = 0,
    bit_rate_bps: Annotated[int, Query(ge=1_000, le=1_000_000_000)] = ASSUMED_BPS,
    class_name: Annotated[str, Query(alias="class", max_length=20)] = "default",
) -> dict[str, Any]:
    """Whether the store holds what the classes promise, or when it is full. `add`: with so many more cameras.

    A camera with windows of the week counts for so much of it. A class that somebody has ordered to keep longer counts
    as if it did already."""
    services = services_of(request)
    now_ms = services.now_ms()

    def read(connection: Connection) -> tuple[Forecast, list[Inflow]]:
        more = []
        if add:
            policies = Policies.read(connection)
            require_class(policies, class_name)
            more.append(promise.planned(policies, class_name, add, bit_rate_bps, now_ms))
        return promise.gather(connection, services.settings, now_ms, more)

    found, flows = await services.read_apart(read)
    return page([flow.as_json() for flow in flows]) | {
        "now_ms": now_ms,
        "standing_bytes": found.standing_bytes,
        "inflow_bytes_per_day": found.inflow_bytes_per_day,
        "needed_bytes": found.needed_bytes,
        "needed_at_ms": found.needed_at_ms,
        "capacity_bytes": found.capacity_bytes,
        "full_ms": found.full_ms,
        "days": list(found.days),
        "reason": promise.verdict(found).as_json(),
    }


@router.get("/explain")
async def explain(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    camera: Annotated[str, Query(max_length=40)],
    at: TimeMs | None = None,
) -> dict[str, Any]:
    """Which rule keeps the footage of a camera at a time, and when it goes. `areas`: those that give the footage its
    class, with their documents, and when the camera stood in them.

    Of a camera that its owner records, `recorded_by_owner` says what is attested, its `checked` what the owner's
    recorder had when it was asked by sample, and `nearest` the answer nearest to that time; without footage here
    `segment` is null."""
    services, client = services_of(request), client_of(request)
    grace_ms = services.settings.retention.grace_hours * HOUR_MS

    def read(connection: Connection) -> dict[str, Any]:
        now_ms = services.now_ms()
        footage.require_visible(connection, principal, camera, now_ms, client)
        at_ms = now_ms if at is None else at
        found = retention_rows.segment_at(connection, camera, at_ms)
        policies = Policies.read(connection)
        elsewhere = _elsewhere(connection, policies, camera, at_ms, now_ms)
        if found is None and elsewhere is not None:
            none = {"segment": None, "class": elsewhere["class"], "reason": elsewhere["reason"]}
            return {"camera_id": camera, "at_ms": at_ms} | none | {"recorded_by_owner": elsewhere}
        if found is None:
            shown = format_time_ms(at_ms, local=True)
            raise TiergateError(Kind.NOT_FOUND, "retention.nothing_at", camera=camera, at=shown)
        (verdict,) = policies.plan([found], now_ms)
        gone = retention_rows.deletion_of(connection, found.id)
        span = undated_span(found.aged_from_ms, now_ms) if found.date_unknown else (found.start_ms, found.end_ms)
        held = {h.id for h in holds_on(camera, *span, policies.holds)}
        rows = [row for row in retention_rows.holds(connection) if row.id in held]
        return {
            "camera_id": camera,
            "at_ms": at_ms,
            "segment": found.id,
            "start_ms": found.start_ms,
            "end_ms": found.end_ms,
            "bytes": found.bytes,
            "state": found.state,
            "class_at_record": found.class_name,
            "class": verdict.class_name,
            "areas": [stay.as_json() for stay in _giving(connection, camera, verdict, span[0])],
            "keep": verdict.keep and found.state not in _GONE,
            "keep_until_ms": verdict.keep_until_ms,
            "delete_by_ms": verdict.delete_by_ms,
            "condemned_ms": gone.condemned_ms,
            "delete_from_ms": None if gone.condemned_ms is None else gone.condemned_ms + grace_ms,
            "deleted_ms": gone.deleted_ms,
            "delete_reason": gone.reason,
            "holds": [
                {"id": row.id, "case_no": row.case_no, "owner": row.owner, "review_ms": row.review_ms} for row in rows
            ],
            "reason": _why_gone(found.state, gone) or verdict.reason.as_json(),
            "recorded_by_owner": elsewhere,
        }

    return await services.read(read)


def _giving(connection: Connection, camera: str, verdict: Verdict, start_ms: int) -> list[AreaStay]:
    """Areas of the class that counts, in which the camera stood at any time until the footage may go."""
    until_ms = verdict.keep_until_ms
    return [
        stay
        for stay in retention_rows.area_stays(connection, camera)
        if stay.class_name == verdict.class_name
        and (until_ms is None or stay.from_ms < until_ms)
        and (stay.to_ms is None or stay.to_ms > start_ms)
    ]


#: The plan keeps them as they are: nothing is left of them to be kept.
_GONE = frozenset({"deleting", "deleted", "lost"})


def _why_gone(state: str, gone: Deletion) -> dict[str, Any] | None:
    if state == "lost":
        return Reason("media.segment_lost").as_json()
    if state == "deleted" and gone.deleted_ms is not None:
        return Reason("retention.deleted", {"at": format_time_ms(gone.deleted_ms, local=True)}).as_json()
    return gone.reason if state in _GONE else None


def _elsewhere(
    connection: Connection, policies: Policies, camera: str, at_ms: int, now_ms: int
) -> dict[str, Any] | None:
    """None: it is recorded here."""
    standing = kept_elsewhere(connection, policies, now_ms, [camera])
    if not standing:
        return None
    checked = assessments(connection, standing, now_ms)[camera]
    near = nearest(connection, camera, at_ms, now_ms)
    return standing[0].as_json() | {"checked": checked.as_json(), "nearest": near and near.as_json()}


@router.post("/apply")
async def apply(
    request: Request, principal: Annotated[Principal, policy(role=("system_admin",))], yes: bool = False
) -> dict[str, Any]:
    """How the buckets' own rules differ from the plan; with `yes` they are set. Rules of other hands stay."""
    services = services_of(request)
    plans = await services.read(lambda c: bucket_rules.plans(c, services.settings, services.keys.node_id))
    if not plans:
        return {"buckets": [], "to_do": 0, "applied": False, "reason": Reason("retention.rules_folder").as_json()}
    if yes:
        details = {plan.purpose: [rule.as_json() for rule in plan.rules] for plan in plans}
        await services.write(
            lambda c: audit.append(c, services.now_ms(), principal.actor, "retention.apply", "bucket rules", details)
        )
    work = bucket_rules.apply if yes else bucket_rules.compare
    states = await asyncio.to_thread(work, services.settings, plans)
    to_do = sum(len(lifecycle.to_do(state.differences)) for state in states)
    reason = _how_rules_stand(states, to_do)
    if yes and reason.code != "retention.rules_set":
        await services.write(
            lambda c: audit.append(
                c, services.now_ms(), principal.actor, "retention.apply_left", "bucket rules", _left(states, reason)
            )
        )
    return {
        "buckets": [state.as_json() for state in states],
        "to_do": to_do,
        "applied": yes and reason.code != "retention.rules_unknown",
        "reason": reason.as_json(),
    }


def _how_rules_stand(states: list[bucket_rules.BucketState], to_do: int) -> Reason:
    unknown = [state.bucket for state in states if state.problem is not None]
    if unknown:
        return Reason("retention.rules_unknown", {"buckets": ", ".join(unknown)})
    if to_do:
        return Reason("retention.rules_dry", {"count": to_do})
    refused = sum(one.change == "refused" for state in states for one in state.differences)
    return Reason("retention.rules_left", {"count": refused}) if refused else Reason("retention.rules_set")


def _left(states: list[bucket_rules.BucketState], reason: Reason) -> dict[str, Any]:
    """What the audit log says of an order that was not carried out whole."""
    refused = {s.bucket: [one.rule.id for one in s.differences if one.change == "refused"] for s in states}
    problems = {s.bucket: s.problem.code for s in states if s.problem is not None}
    return {"reason": reason.as_json(), "refused": {b: ids for b, ids in refused.items() if ids}, "problems": problems}


@router.post("/sweep", responses=MAY_QUEUE)
async def sweep(
    request: Request,
    response: Response,
    principal: Annotated[Principal, policy(role=("system_admin", "duty"))],
    dry_run: bool = False,
    confirm: Annotated[int | None, Query(ge=0)] = None,
    time_is: TimeMs | None = None,
) -> dict[str, Any]:
    """The keeper's sweep, now. `confirm`: so many segments may be condemned, expected by the last plan or not; where
    that is more than a fifth of all, full governance asks a second person first, and the keeper's next sweep does it.
    `time_is`: what a person has just read from another clock; where the two agree, a step of this one is explained."""
    services, client = services_of(request), client_of(request)
    if not dry_run:
        if "system_admin" not in principal.roles:
            raise TiergateError(Kind.FORBIDDEN, "access.role_needed", roles="system_admin")
        shown: dict[str, int] | None = None
        if confirm is not None:
            shown = {"due": confirm, "standing": await services.read_apart(retention_rows.standing_count)}

        def record(connection: Connection) -> dict[str, Any] | None:
            if shown is not None and needs_second("retention.sweep", shown, services.settings.node.governance):
                return queued(
                    approvals.ask(connection, services.clock, principal, "retention.sweep", "sweep", shown, "", client)
                )
            details = {"confirm": confirm, "time_is_ms": time_is}
            audit.append(connection, services.now_ms(), principal.actor, "retention.sweep", "sweep", details)
            return None

        waits = await services.write(record)
        if waits is not None:
            response.status_code = 202
            return waits
    report = await asyncio.to_thread(_sweep, services, dry_run, confirm, time_is)
    services.watch.bump()
    return report.as_json()


def _sweep(services: Services, dry_run: bool, confirm: int | None, told_ms: int | None) -> SweepReport:
    settings = services.settings
    catalog, store = Catalog(settings.catalog_url), make_store(settings)
    spools = make_spools(settings, services.clock, services.keys.node_id)
    grace_ms = settings.retention.grace_hours * HOUR_MS
    trusted = settings.retention.clock_source == "trusted"
    sweeper_ = Sweeper(
        catalog,
        store,
        services.clock,
        lambda: clock_evidence.gather(services.clock, store, catalog, trusted),
        grace_ms,
        aside=Aside(store, spools, grace_ms),
    )
    try:
        with alone(settings.paths.run_dir / SWEEP_LOCK, "retention.sweep_running"):
            return sweeper_.sweep(dry_run, confirm, told_ms)
    finally:
        catalog.close()
