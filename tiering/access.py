"""Who may do what with which camera: grants, narrowing, leases as grants, and `decide`. (pure)

Belongs here: the one place that says yes (DESIGN §6, FAULTS S1). Does not belong here: where grants come from
(`gateway.access.principals`), the register (`gateway.access.looks`), rules under which a lease is given.

Default deny; an explicit deny wins; no function implies another; what is not in the caller's catalogue looks exactly
like what does not exist. Shapes and their JSON are in `tiering.grants`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from config.reasons import Reason
from config.units import format_time_ms
from config.weekly import week_end_ms
from tiering.grants import (
    MEDIA,
    ON_WALLS,
    PURPOSES,
    ROLES,
    STREAMS,
    CameraResource,
    Conditions,
    Facts,
    Function,
    Grant,
    Grants,
    LeaseFact,
    Posting,
    Principal,
    Resources,
    Stream,
    Wall,
    about,
    least,
    lower_stream,
    narrow,
)

__all__ = [
    "MEDIA",
    "ON_WALLS",
    "ROLES",
    "CameraResource",
    "Conditions",
    "Decision",
    "Facts",
    "Function",
    "Grant",
    "LeaseFact",
    "Posting",
    "Principal",
    "Resources",
    "Stream",
    "Wall",
    "allowed_ranges",
    "decide",
    "functions",
    "lease_as_grant",
    "marks_export",
    "narrow",
    "narrowed",
    "role_functions",
    "watermarked",
]

#: What remains of a lease that nobody confirmed in time: a small picture under a red banner (DESIGN §6 Tiers).
_UNCONFIRMED = frozenset({Function.LIVE, Function.STATUS, Function.CATALOG})
#: Facts about a lower tier's camera that lie in the directory without any lease; never a picture.
_DIRECTORY = frozenset({Function.STATUS, Function.CATALOG})
_STEERING = frozenset({Function.PTZ, Function.TALK})
#: Functions that may be about footage; `snapshot` and `hold` are only when a range is named.
_RECORDED = frozenset({Function.PLAYBACK, Function.EXPORT, Function.SNAPSHOT, Function.HOLD})
_NOTHING_MORE = Facts()
_ALLOWED = {function: Reason("access.allowed", {"function": function}) for function in Function}


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. `visible` is False exactly when the camera must look as if it did not exist (404 instead of 403)."""

    allow: bool
    visible: bool
    reason: Reason
    max_stream: Stream = "sub"  #: the best stream the caller may have; meaningful when allowed
    until_ms: int | None = None  #: not later than this the answer may become no; None: no end is known
    lease_id: str | None = None  #: the lease it rests on, when the camera is a lower tier's or the caller is a node
    #: Ids of the grants whose `max_streams` the picture uses up; empty: unlimited ones allow it by themselves.
    counted_under: tuple[str, ...] = ()

    @property
    def too_many(self) -> bool:
        """Refused for the number of pictures alone: when one is closed, the answer may be yes."""
        return self.reason.code == "access.too_many_open"


_HIDDEN = Decision(False, False, Reason("access.not_found"))


def role_functions(roles: Iterable[str]) -> frozenset[Function]:
    """Everything the shipped templates of `roles` contain, whatever their conditions."""
    return frozenset(f for role in roles for grant in ROLES.get(role, ()) for f in grant.functions)


def lease_as_grant(lease: LeaseFact, now_ms: int) -> Grant | None:
    """The grant that a lease is at `now_ms`; None when it is over."""
    if lease.ended_ms is not None or now_ms >= lease.expires_ms:
        return None
    names, max_stream, until_ms = lease.functions, lease.max_stream, lease.expires_ms
    if lease.confirm_by_ms is not None and lease.confirmed_ms is None:
        if now_ms >= lease.confirm_by_ms:
            names, max_stream = names & _UNCONFIRMED, "sub"
        else:
            until_ms = min(until_ms, lease.confirm_by_ms)
    recorded = names & {Function.PLAYBACK, Function.EXPORT}
    if recorded and lease.from_ms is None and lease.to_ms is None:
        names = names - recorded  # a lease without a range is for live pictures only
    return Grant(
        id=f"lease:{lease.id}",
        source="lease",
        resources=Resources(cameras=lease.cameras),
        functions=names,
        conditions=Conditions(
            valid_to_ms=until_ms, footage_from_ms=lease.from_ms, footage_to_ms=lease.to_ms, max_stream=max_stream
        ),
    )


def decide(
    principal: Principal, function: Function, resource: CameraResource | None, now_ms: int, facts: Facts = _NOTHING_MORE
) -> Decision:
    """May `principal` use `function` on `resource` now, as `facts` describe the request? Unknown means no.

    At a shared wall: what the wall's account and the person on duty both may, of looking alone; with nobody on duty,
    nothing at all.
    """
    wall = principal.wall
    if wall is None:
        return _as_person(principal, function, resource, now_ms, facts)
    shared = _decide(_shared_account(principal, wall), function, resource, now_ms, facts)
    if not shared.visible:
        return _HIDDEN
    if wall.until_ms is None or now_ms >= wall.until_ms:
        return _no(Reason("access.nobody_on_duty"))
    lacks = Reason("access.wall_lacks", {"function": function, "wall": wall.name})
    both = _both(_as_person(principal, function, resource, now_ms, facts), shared, lacks)
    if both.visible and function not in ON_WALLS:
        return _no(Reason("access.wall_function", {"function": function}))
    return replace(both, until_ms=least(both.until_ms, wall.until_ms)) if both.allow else both


def _as_person(
    principal: Principal, function: Function, resource: CameraResource | None, now_ms: int, facts: Facts
) -> Decision:
    """Who is posted may what both the home unit and the posted one may. Roles and personal grants are of the home."""
    home, there = _decide(principal, function, resource, now_ms, facts), _posted(principal, now_ms)
    if there is None or not home.visible:
        return home
    lacks = Reason("access.posting_lacks", {"function": function, "unit": there.unit})
    return _both(home, _decide(there, function, resource, now_ms, facts), lacks)


def _both(one: Decision, other: Decision, lacks: Reason) -> Decision:
    """Both at once. `lacks` says that `other` alone refuses."""
    if not other.visible:
        return _HIDDEN
    if not one.allow:
        return one
    if not other.allow:
        return other if other.too_many else replace(other, reason=lacks)
    max_stream = lower_stream(one.max_stream, other.max_stream)
    counted = tuple(sorted({*one.counted_under, *other.counted_under}))
    until_ms = least(one.until_ms, other.until_ms)
    return replace(one, max_stream=max_stream, until_ms=until_ms, counted_under=counted)


def _decide(
    principal: Principal, function: Function, resource: CameraResource | None, now_ms: int, facts: Facts
) -> Decision:
    if resource is None or _over(principal, now_ms):
        return _HIDDEN
    grants = _effective(principal, resource, now_ms, facts)
    if not _visible(grants, now_ms):
        return _HIDDEN
    first = _judge(principal, grants, function, resource, now_ms, facts)
    if not first.allow:
        return first
    for needed in _needs(function, facts):
        second = _judge(principal, grants, needed, resource, now_ms, facts)
        if not second.allow:
            return replace(second, reason=Reason("access.needs_other", {"function": function, "needed": needed}))
        until_ms = least(first.until_ms, second.until_ms)
        first = replace(first, max_stream=lower_stream(first.max_stream, second.max_stream), until_ms=until_ms)
    if facts.original and function is Function.EXPORT:
        evidence = _evidence(principal, grants, resource, now_ms, facts)
        if not evidence.allow:
            return evidence
        first = replace(first, until_ms=least(first.until_ms, evidence.until_ms))
    if facts.unmarked and watermarked(principal, resource.origin) and not principal.unmarked:
        return _no(Reason("access.stream_unmarked"))
    if facts.open_looks is None or not first.counted_under:
        return first
    # One more picture: what allowed it must do so without the grants under which no more may be open.
    full = [g for g in grants if g.id in first.counted_under and _is_full(g, facts.open_looks)]
    left = _judge(principal, [g for g in grants if g not in full], function, resource, now_ms, facts)
    if left.allow:
        return replace(left, until_ms=least(left.until_ms, first.until_ms))
    most = max(g.conditions.max_streams or 0 for g in full)
    return _no(Reason("access.too_many_open", {"most": most}))


def functions(
    principal: Principal, resource: CameraResource, now_ms: int, facts: Facts = _NOTHING_MORE
) -> frozenset[Function]:
    """What the caller may do with the camera now, some time range and `sub` being assumed: what a page offers."""
    return frozenset(f for f in Function if decide(principal, f, resource, now_ms, facts).allow)


def allowed_ranges(
    principal: Principal, function: Function, resource: CameraResource, now_ms: int, facts: Facts
) -> list[tuple[int, int]]:
    """The parts of `facts`' footage range that `function` may touch, ascending and disjoint."""
    if _over(principal, now_ms) or facts.from_ms is None or facts.to_ms is None:
        return []
    wall, there = principal.wall, _posted(principal, now_ms)
    if wall is not None and (wall.until_ms is None or now_ms >= wall.until_ms or function not in ON_WALLS):
        return []
    ranges = _ranges(_effective(principal, resource, now_ms, facts), function, now_ms, facts)
    for other in (there, None if wall is None else _shared_account(principal, wall)):
        if other is not None:
            theirs = _ranges(_effective(other, resource, now_ms, facts), function, now_ms, facts)
            both = ((max(a, c), min(b, d)) for a, b in ranges for c, d in theirs)
            ranges = [(low, high) for low, high in both if low < high]
    return ranges


def watermarked(principal: Principal, origin: str = "own") -> bool:
    """Whether pictures carry the viewer's name: by token, on shared walls, and across tiers (DESIGN §7)."""
    return principal.kind == "token" or principal.wall is not None or origin == "lower"


def marks_export(principal: Principal, resource: CameraResource, now_ms: int, facts: Facts) -> bool:
    """Whether an export carries the caller's name when the request says nothing of it: every one does (DESIGN §7) but
    evidence of this node's own cameras, taken by a person who may make it."""
    if watermarked(principal, resource.origin) or facts.purpose != "evidence":
        return True
    return not decide(principal, Function.EXPORT, resource, now_ms, replace(facts, original=True)).allow


def narrowed(principal: Principal, by: Grant) -> Principal:
    """Whoever acts for `principal` within `by`: never more than either. What is denied to them stays denied."""
    held = (*principal.grants, *_of_roles(principal))
    grants = Grants(grant if grant.effect == "deny" else narrow(grant, by) for grant in held)
    expires_ms = least(principal.expires_ms, by.conditions.valid_to_ms)
    return replace(principal, roles=frozenset(), grants=grants, expires_ms=expires_ms)


def widens_own(principal: Principal, subject_kind: str, subject: str) -> bool:
    """Whether what `subject` is allowed, `principal` is allowed by it: as that user, in that role, of that unit. What
    `subject` is denied, `principal` is denied: that it is not denied any more widens them too.

    Who gives rights has none to see pictures (REQUIREMENTS §3.4: no grant exceeds its grantor's own); what such a
    person may give is what others are to see.
    """
    if subject_kind == "user":
        return subject == principal.id
    if subject_kind == "role":
        return subject in principal.roles
    return subject == principal.department_id


# --- which grants count ----------------------------------------------------------------------------------------------


def _posted(principal: Principal, now_ms: int) -> Principal | None:
    """Anybody of the unit that `principal` is posted to now: its grants, no role."""
    posting = principal.posting
    if posting is None or now_ms >= posting.until_ms:
        return None
    return replace(
        principal, unit=posting.unit, department_id=posting.department_id, roles=frozenset(), grants=posting.grants,
        posting=None,
    )  # fmt: skip


def _shared_account(principal: Principal, wall: Wall) -> Principal:
    """The wall's own rights, asked for in the name of who is on duty: a lease names persons, not screens."""
    return replace(
        principal, department_id=wall.department_id, roles=wall.roles, grants=wall.grants, posting=None, wall=None
    )


def _over(principal: Principal, now_ms: int) -> bool:
    return principal.expires_ms is not None and now_ms >= principal.expires_ms


def _effective(principal: Principal, resource: CameraResource, now_ms: int, facts: Facts) -> list[Grant]:
    """All grants that cover `resource`, those of roles and leases included."""
    return [grant for grant in _speaking(principal, resource, now_ms, facts) if grant.covers(resource)]


def _speaking(principal: Principal, resource: CameraResource, now_ms: int, facts: Facts) -> list[Grant]:
    if principal.kind == "node":
        granted = [lease for lease in resource.leases if lease.side == "granted" and lease.node == principal.id]
        asked = [lease for lease in granted if lease.id == facts.lease_id]
        return _lease_grants(asked, now_ms, None) if resource.origin == "own" else []
    if principal.kind == "token":
        shared = resource.sharing != "none" and resource.origin == "own"
        return [g for g in about(principal.grants, resource) if shared or g.effect == "deny"]
    if resource.origin == "own":
        held = [*about(principal.grants, resource), *_of_roles(principal)]
        return held if _shared(principal, resource) else [g for g in held if g.effect == "deny" or not _of_unit(g)]
    allowed = role_functions(principal.roles)
    named = [lease for lease in resource.leases if lease.side == "held" and lease.names(principal)]
    directory = Grant("directory", "role", Resources(cameras=frozenset({resource.id})), allowed & _DIRECTORY)
    denies = [g for g in about(principal.grants, resource) if g.effect == "deny"]
    return [*denies, directory, *_lease_grants(named, now_ms, allowed)]


def _of_roles(principal: Principal) -> list[Grant]:
    return [grant for role in sorted(principal.roles) for grant in ROLES.get(role, ())]


def _of_unit(grant: Grant) -> bool:
    return grant.source == "department"


def _shared(principal: Principal, resource: CameraResource) -> bool:
    """A department's grant reaches another department's camera only if that camera is shared at all."""
    if resource.sharing != "none":
        return True
    return resource.department_id is not None and resource.department_id == principal.department_id


def _lease_grants(leases: Iterable[LeaseFact], now_ms: int, within: frozenset[Function] | None) -> list[Grant]:
    grants = (lease_as_grant(lease, now_ms) for lease in leases)
    return [g if within is None else replace(g, functions=g.functions & within) for g in grants if g is not None]


def _visible(grants: list[Grant], now_ms: int) -> bool:
    """Whether any function is allowed that nothing denies outright."""
    hidden: set[Function] = set()
    for grant in grants:
        if grant.effect == "deny" and grant.conditions.is_plain() and grant.conditions.holds_at(now_ms):
            hidden |= grant.functions
    for grant in grants:
        if grant.effect == "allow" and not grant.functions <= hidden and grant.conditions.holds_at(now_ms):
            return True
    return False


def _evidence(
    principal: Principal, grants: list[Grant], resource: CameraResource, now_ms: int, facts: Facts
) -> Decision:
    """May the caller make evidence of this footage? A person who may hold it: who answers for that it stays may also
    have it as it is. A token answers for nothing; a lease cannot carry `hold`, so of a lower tier's camera the
    person's role speaks."""
    refused = _no(Reason("access.original"))
    if principal.kind != "user":
        return refused
    if resource.origin == "lower":
        held = role_functions(principal.roles) & {Function.HOLD}
        grants = [*grants, Grant("evidence", "role", Resources(cameras=frozenset({resource.id})), held)]
    judged = _judge(principal, grants, Function.HOLD, resource, now_ms, facts)
    return judged if judged.allow else refused


# --- one function ----------------------------------------------------------------------------------------------------


def _needs(function: Function, facts: Facts) -> tuple[Function, ...]:
    """Functions that must be allowed as well: nobody steers blind; a still of the past is playback."""
    if function in _STEERING:
        return (Function.LIVE,)
    if facts.from_ms is not None and function is Function.SNAPSHOT:
        return (Function.PLAYBACK,)
    return ()


def _about_footage(function: Function, facts: Facts) -> bool:
    return facts.from_ms is not None and facts.to_ms is not None and function in _RECORDED


def _judge(
    principal: Principal, grants: list[Grant], function: Function, resource: CameraResource, now_ms: int, facts: Facts
) -> Decision:
    if function in MEDIA and facts.purpose not in PURPOSES:
        return _no(Reason("access.purpose_unknown", {"purpose": facts.purpose[:40], "known": ", ".join(PURPOSES)}))
    relevant = [g for g in grants if function in g.functions]
    denies = [g for g in relevant if g.effect == "deny"]
    allows = [g for g in relevant if g.effect == "allow" and g.conditions.holds_at(now_ms)]
    if denies and any(_applies(g, function, now_ms, facts) is None for g in denies):
        return _no(Reason("access.denied", {"function": function}))
    if not allows:
        return _no(_why_none(principal, function, resource, now_ms))
    objections = [_applies(g, function, now_ms, facts) for g in allows]
    fitting = [g for g, objection in zip(allows, objections, strict=True) if objection is None]
    if not fitting:
        return _no(next(objection for objection in objections if objection is not None))
    if _about_footage(function, facts):
        parts = [_clip(g.conditions, now_ms, facts) for g in fitting]
        if _merged([part for part in parts if part is not None]) != [(facts.from_ms, facts.to_ms)]:
            return _no(_why_outside(fitting))
        fitting = [g for g, part in zip(fitting, parts, strict=True) if part is not None]
    max_stream: Stream = "main" if any(g.conditions.max_stream == "main" for g in fitting) else "sub"
    ends = [g.conditions.until_ms(now_ms) for g in fitting]
    until_ms = None if None in ends else max(e for e in ends if e is not None)
    for deny in denies:
        begins_ms = deny.conditions.valid_from_ms
        if begins_ms is not None and begins_ms > now_ms:
            until_ms = least(until_ms, begins_ms)
    lease = next((g.id.removeprefix("lease:") for g in fitting if g.source == "lease"), None)
    until_ms = least(until_ms, principal.expires_ms)
    counted = _counted_under(fitting, function, now_ms, facts)
    return Decision(True, True, _ALLOWED[function], max_stream, until_ms, lease, counted)


def _no(reason: Reason) -> Decision:
    """Refused, of a camera that the caller knows of."""
    return Decision(False, True, reason)


def _is_full(grant: Grant, open_looks: Mapping[str, int]) -> bool:
    return grant.conditions.max_streams is not None and open_looks.get(grant.id, 0) >= grant.conditions.max_streams


def _counted_under(fitting: list[Grant], function: Function, now_ms: int, facts: Facts) -> tuple[str, ...]:
    limited = {g.id for g in fitting if g.conditions.max_streams is not None}
    if not limited or function not in STREAMS:
        return ()
    free = [g for g in fitting if g.conditions.max_streams is None]
    if _about_footage(function, facts):
        enough = _ranges(free, function, now_ms, facts) == [(facts.from_ms, facts.to_ms)]
    else:
        enough = bool(free)
    return () if enough else tuple(sorted(limited))


def _applies(grant: Grant, function: Function, now_ms: int, facts: Facts) -> Reason | None:
    """None when `grant` speaks about this request; else the condition that it does not meet. Footage is judged apart
    for an allow; a deny with a footage window speaks when the windows touch."""
    conditions = grant.conditions
    if not conditions.holds_at(now_ms):
        return Reason("access.no_function", {"function": function})
    if conditions.weekly is not None and week_end_ms(conditions.weekly, now_ms) is None:
        return Reason("access.outside_week", {"function": function})
    if not conditions.admits_client(facts.client):
        return Reason("access.network")
    if grant.effect == "deny":
        about = _about_footage(function, facts)
        if conditions.has_footage_limit() and about and _clip(conditions, now_ms, facts) is None:
            return Reason("access.footage_outside", {"from": "", "to": ""})
        if conditions.has_footage_limit() and not about:
            return Reason("access.footage_outside", {"from": "", "to": ""})
        return None
    if function in MEDIA:
        if conditions.purposes is not None and facts.purpose not in conditions.purposes:
            return Reason("access.purpose", {"purpose": facts.purpose})
        if facts.stream == "main" and conditions.max_stream == "sub":
            return Reason("access.sub_only")
    return None


def _why_none(principal: Principal, function: Function, resource: CameraResource, now_ms: int) -> Reason:
    if resource.origin == "own" or principal.kind != "user":
        return Reason("access.no_function", {"function": function})
    running = [lease for lease in resource.leases if lease.side == "held" and lease_as_grant(lease, now_ms) is not None]
    if not running:
        return Reason("access.lease_needed")
    if not any(lease.names(principal) for lease in running):
        return Reason("access.lease_not_yours", {"lease": running[0].id})
    if function not in role_functions(principal.roles):
        return Reason("access.role_lacks", {"function": function})
    return Reason("access.lease_lacks", {"function": function, "lease": running[0].id})


def _why_outside(fitting: list[Grant]) -> Reason:
    conditions = fitting[0].conditions
    if conditions.look_back_ms is not None:
        return Reason("access.look_back", {"minutes": conditions.look_back_ms // 60_000})
    from_ms, to_ms = conditions.footage_from_ms, conditions.footage_to_ms
    return Reason(
        "access.footage_outside",
        {
            "from": "…" if from_ms is None else format_time_ms(from_ms, local=True),
            "to": "…" if to_ms is None else format_time_ms(to_ms, local=True),
        },
    )


# --- footage windows -------------------------------------------------------------------------------------------------


def _clip(conditions: Conditions, now_ms: int, facts: Facts) -> tuple[int, int] | None:
    """The part of the asked range inside `conditions`; a rolling look-back counts from the moment of asking."""
    if facts.from_ms is None or facts.to_ms is None:
        return None
    low, high = facts.from_ms, facts.to_ms
    if conditions.footage_from_ms is not None:
        low = max(low, conditions.footage_from_ms)
    if conditions.footage_to_ms is not None:
        high = min(high, conditions.footage_to_ms)
    if conditions.look_back_ms is not None:
        asked_ms = now_ms if facts.opened_ms is None else facts.opened_ms
        low = max(low, asked_ms - conditions.look_back_ms)
    return (low, high) if low < high or (low == high and facts.from_ms == facts.to_ms) else None


def _ranges(grants: list[Grant], function: Function, now_ms: int, facts: Facts) -> list[tuple[int, int]]:
    allowed: list[tuple[int, int]] = []
    denied: list[tuple[int, int]] = []
    for grant in grants:
        if function not in grant.functions or _applies(grant, function, now_ms, facts) is not None:
            continue
        part = _clip(grant.conditions, now_ms, facts)
        if part is not None:
            (allowed if grant.effect == "allow" else denied).append(part)
    merged = _merged(allowed)
    for cut_low, cut_high in denied:
        merged = [
            (low, high)
            for start, end in merged
            for low, high in ((start, min(end, cut_low)), (max(start, cut_high), end))
            if low < high
        ]
    return merged


def _merged(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
