"""``/alarms``: what the keeper holds to be wrong on this node, for the people who can do something about it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection

from gateway.access import resources
from gateway.ops import alarms
from gateway.ops.alarms import Alarm, Alarms
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import page
from storage.catalog import facts
from tiering.access import Function, Principal, decide

router = APIRouter(prefix="/api/v1/alarms", tags=["node"])

ALL, SOME = "system_admin", "duty"
#: What takes room or time from footage: the duty officer must know of it at night. Accounts, keys, links and other
#: people's envelopes are the administrators'.
PRESSURE = frozenset({"disks", "store", "backlog", "sweep", "tombstones", "promise", "reach", "overkept"})


def readable(standing: Collection[Alarm], principal: Principal, seen: Collection[str]) -> list[Alarm]:
    """Those that a person's roles may read; about a camera only when it is among `seen`, their catalogue."""
    if principal.kind != "user":
        return []
    everything, some, about = ALL in principal.roles, SOME in principal.roles, {None, *seen}
    return [
        alarm
        for alarm in standing
        if (everything or (some and alarm.check in PRESSURE)) and alarm.reason["params"].get("camera") in about
    ]


def standing(connection: Connection) -> list[Alarm]:
    """The worst first, as the keeper last left them."""
    return Alarms.from_json(facts.get(connection, alarms.FACT)).standing


@router.get("")
async def list_alarms(request: Request, principal: Annotated[Principal, policy(role=(ALL, SOME))]) -> dict[str, Any]:
    """The worst first: all for the administrator, those about room, store and deletion for the duty officer."""
    services = services_of(request)
    now_ms = services.now_ms()

    def read(connection: Connection) -> list[Alarm]:
        found = resources.load(connection, None, now_ms)
        seen = {i for i, r in found.items() if decide(principal, Function.CATALOG, r, now_ms).visible}
        return readable(standing(connection), principal, seen)

    found = await services.read(read)
    return page([_as_json(alarm) for alarm in found], None)


def _as_json(alarm: Alarm) -> dict[str, Any]:
    said = {"check": alarm.check, "level": alarm.told, "since_ms": alarm.since_ms}
    return said | {"reason": alarm.reason, "next": alarm.next}
