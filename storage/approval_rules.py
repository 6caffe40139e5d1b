"""Who must agree to what: acts that wait for a second person, who that may be, until when, what both read. (pure)

Under `governance = "full"` an act of `ACTIONS` is asked for by one named user and given by another; under ``small``
nobody is asked, and delay and audited notice stand in for them (DESIGN §6). Another act joins by a row here and a
performer in `gateway.access.approvals`.

Belongs here: the rules. Does not belong here: rows (`storage.catalog.approvals`), the moves between states
(`storage.approvals`), carrying an act out (`gateway.access.approvals`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from config.reasons import Reason
from config.units import HOUR_MS, format_time_ms

Governance = Literal["small", "full"]
#: pending → given → used, all in the transaction of the giving; pending → refused, expired; given → refused when the
#: act is not possible any more.
State = Literal["pending", "given", "refused", "expired", "used"]
STATES: tuple[State, ...] = ("pending", "given", "refused", "expired", "used")

WAIT_MS = 24 * HOUR_MS
#: Asked for on a Friday evening, a hold still stands on Monday morning.
HOLD_WAIT_MS = 72 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Approval:
    """One request and what became of it."""

    id: str
    action: str
    subject: str  #: class or hold that it is about
    params: Mapping[str, Any]  #: all that the act takes: what is shown is what is done
    reason: str  #: the requester's words
    requester_id: str
    requester: str  #: login
    requester_name: str
    client: str  #: address of the requester: grants may be bound to a network
    requested_ms: int
    expires_ms: int
    state: State = "pending"
    decided_by: str | None = None  #: as the audit log names it
    decided_name: str | None = None
    decided_ms: int | None = None
    words: str = ""  #: of the decision
    outcome: Mapping[str, Any] | None = None  #: Reason.as_json of how it ended


@dataclass(frozen=True, slots=True)
class Action:
    """One kind of act that two persons answer for."""

    needed: Callable[[Mapping[str, Any]], bool]  #: under full governance, by its parameters
    givers: frozenset[str]  #: roles, any of which may decide; the role that asks is not enough by itself
    wait_ms: int  #: how long a request waits
    shown: Callable[[Mapping[str, Any]], Reason]
    provisional: bool = False  #: done at once and undone unless it is given: where waiting would lose what it is for


def shorter_or_above(params: Mapping[str, Any]) -> bool:
    """A change of a class that can cost evidence, or that keeps people's pictures longer than the law's rule."""
    ceiling = params["ceiling"]
    return params["months"] < params["from_months"] or (ceiling is not None and params["months"] > ceiling)


def much_of_all(params: Mapping[str, Any]) -> bool:
    """An answer to the guard that lets more than a fifth of all footage go (FAULTS section 5)."""
    return bool(params["due"] * 5 > params["standing"])


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _show_class(params: Mapping[str, Any]) -> Reason:
    named = {name: params[name] for name in ("class", "months", "from_months")}
    if params["ceiling"] is not None and params["months"] > params["ceiling"]:
        more = {"ceiling": params["ceiling"], "legal_basis": params["legal_basis"]}
        return Reason("approval.of_above", named | more)
    return Reason("approval.of_shorter", named)


def _range(params: Mapping[str, Any]) -> dict[str, Any]:
    from_to = {name: format_time_ms(params[f"{name}_ms"], local=True) for name in ("from", "to")}
    return {"case_no": params["case_no"], "count": len(params["cameras"])} | from_to


def _show_hold(params: Mapping[str, Any]) -> Reason:
    return Reason("approval.of_hold_add", _range(params) | {"class": params["class"]})


def _show_release(params: Mapping[str, Any]) -> Reason:
    return Reason("approval.of_hold_release", _range(params))


def _show_sweep(params: Mapping[str, Any]) -> Reason:
    return Reason("approval.of_sweep", {"due": params["due"], "standing": params["standing"]})


_ADMINISTRATORS = frozenset({"system_admin", "security_admin"})
_CUSTODIANS = frozenset({"duty", "security_admin"})

ACTIONS: dict[str, Action] = {
    "retention.set": Action(shorter_or_above, _ADMINISTRATORS, WAIT_MS, _show_class),
    "retention.sweep": Action(much_of_all, _ADMINISTRATORS, WAIT_MS, _show_sweep),
    "hold.add": Action(_always, _CUSTODIANS, HOLD_WAIT_MS, _show_hold, provisional=True),
    "hold.release": Action(_always, _CUSTODIANS, WAIT_MS, _show_release),
}


def needs_second(action: str, params: Mapping[str, Any], governance: Governance) -> bool:
    return governance != "small" and ACTIONS[action].needed(params)


def needed_reason(action: str) -> Reason:
    return Reason("approval.needed", {"roles": " / ".join(sorted(ACTIONS[action].givers))})


def shown(approval: Approval) -> Reason:
    """What is asked for, from the same parameters with which it is done."""
    return ACTIONS[approval.action].shown(approval.params)


def state_at(approval: Approval, now_ms: int) -> State:
    """A request whose time is over is so at once; the keeper writes it down when the clock is trusted."""
    late = approval.state == "pending" and now_ms >= approval.expires_ms
    return "expired" if late else approval.state


def over(approval: Approval, now_ms: int) -> Reason | None:
    """None while it can be decided; else why nobody can."""
    state = state_at(approval, now_ms)
    if state == "pending":
        return None
    if state == "expired":
        return Reason(
            "approval.expired", {"approval": approval.id, "until": format_time_ms(approval.expires_ms, local=True)}
        )
    return Reason("approval.decided", {"approval": approval.id, "state": state})


def may_not_decide(approval: Approval, kind: str, id_: str, roles: Collection[str]) -> Reason | None:
    """None when this caller is the second person, whether they give or refuse; else why not. Only people are: a
    department's token, or another node, names nobody who could be asked why."""
    if kind != "user":
        return Reason("access.users_only")
    if id_ == approval.requester_id:
        return Reason("approval.own")
    givers = ACTIONS[approval.action].givers
    if givers.isdisjoint(roles):
        return Reason("access.role_needed", {"roles": " / ".join(sorted(givers))})
    return None


def may_read(approval: Approval, kind: str, id_: str, roles: Collection[str]) -> bool:
    """The requester, who may decide, and who reads the audit log."""
    if kind != "user":
        return False
    return id_ == approval.requester_id or not (ACTIONS[approval.action].givers | {"audit_admin"}).isdisjoint(roles)
