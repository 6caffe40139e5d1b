"""``/events``: server-sent events that name what changed, so that the page asks again. Facts are not in them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, select

from config.errors import Kind, TiergateError
from gateway.access import resources
from gateway.ops import job_state
from gateway.web.policy import policy
from gateway.web.routers.alarms import readable, standing
from gateway.web.services import Services, services_of
from storage.approval_rules import may_read
from storage.catalog import approvals, cameras, facts, volume_state
from storage.catalog.tables import lease, link, peer_camera
from tiering.access import Function, Principal, decide

router = APIRouter(prefix="/api/v1", tags=["events"])
HEARTBEAT_S = 15.0
LEAST_PAUSE_S = 1.0  #: a busy catalog moves all the time

#: Streams that one person or token may have open in this process, all their windows together, and that all may.
MOST_OF_ONE, MOST = 40, 1000

Snapshot = Mapping[tuple[str, str], Any]


class Listeners:
    """Who listens here. However many streams a caller has open, a move of the catalog costs one look for all of them:
    the look is taken in the thread in which rights are read again while pictures run."""

    def __init__(self) -> None:
        self.open = Counter[str]()  #: caller -> streams
        self._looks: dict[str, dict[str, tuple[int, asyncio.Future[Snapshot]]]] = {}  #: caller -> session -> newest

    def require_place(self, caller: str) -> None:
        """Raises web.too_many_listening."""
        if self.open[caller] >= MOST_OF_ONE or self.open.total() >= MOST:
            raise TiergateError(Kind.RATE_LIMITED, "web.too_many_listening", limit=MOST_OF_ONE)

    @contextlib.contextmanager
    def listening(self, caller: str) -> Iterator[None]:
        self.open[caller] += 1
        try:
            yield
        finally:
            self.open[caller] -= 1
            if not self.open[caller]:
                del self.open[caller]
                self._looks.pop(caller, None)

    async def look(self, services: Services, principal: Principal, stamp: int) -> Snapshot:
        """What the caller may know, read once for each `stamp`. Raises UNAUTHENTICATED when the caller's right to
        listen is over."""
        of_caller = self._looks.setdefault(_caller(principal), {})
        session = json.dumps(principal.as_json(), sort_keys=True)
        at, look = of_caller.get(session, (-1, None))
        if look is None or at < stamp or (look.done() and look.exception() is not None):
            look = asyncio.ensure_future(services.read(lambda c: _fresh(services, c, principal)))
            of_caller[session] = (stamp, look)
        return await asyncio.shield(look)


def _listeners(services: Services) -> Listeners:
    found: Listeners = services.parts.setdefault("events", Listeners())
    return found


@router.get("/events")
async def events(request: Request, principal: Annotated[Principal, policy(signed_in=True)]) -> StreamingResponse:
    services = services_of(request)
    listeners, stamp = _listeners(services), services.watch.stamp
    listeners.require_place(_caller(principal))
    first = await listeners.look(services, principal, stamp)
    return StreamingResponse(_stream(services, principal, stamp, first), media_type="text/event-stream")


def _caller(principal: Principal) -> str:
    return f"{principal.kind}:{principal.id}"  # signing in once more gives no more of them


async def _stream(services: Services, principal: Principal, stamp: int, before: Snapshot) -> AsyncIterator[str]:
    with _listeners(services).listening(_caller(principal)):
        async for line in _lines(services, principal, stamp, before):
            yield line


async def _lines(services: Services, principal: Principal, stamp: int, before: Snapshot) -> AsyncIterator[str]:
    yield "retry: 3000\n\n"
    while True:
        moved = await services.watch.wait(stamp, HEARTBEAT_S)
        if moved == stamp:
            yield ": still here\n\n"
            continue
        stamp = moved
        try:
            now = await _listeners(services).look(services, principal, stamp)
        except TiergateError:
            yield 'event: message\ndata: {"topic":"session"}\n\n'
            return
        for topic, id_ in changes(before, now):
            yield f"event: {topic}\ndata: {json.dumps({'topic': topic, 'id': id_})}\n\n"
        before = now
        await asyncio.sleep(LEAST_PAUSE_S)


def _fresh(services: Services, connection: Connection, principal: Principal) -> Snapshot:
    """Raises UNAUTHENTICATED when the caller's right to listen is over."""
    again = services.principals.again(connection, principal.as_json(), services.now_ms())
    return snapshot(services, connection, again)


def changes(before: Snapshot, now: Snapshot) -> list[tuple[str, str]]:
    return sorted(k for k in {*before, *now} if before.get(k) != now.get(k))


def snapshot(services: Services, connection: Connection, principal: Principal) -> Snapshot:
    """What the caller may know, reduced to what makes a difference on the page."""
    now_ms = services.now_ms()
    found = resources.load(connection, None, now_ms)
    seen = {i: r for i, r in found.items() if decide(principal, Function.CATALOG, r, now_ms).visible}
    state: dict[tuple[str, str], Any] = {}
    status, health = cameras.status_rows(connection), cameras.health_rows(connection)
    for id_, camera in cameras.cameras(connection).items():
        if id_ in seen:
            streams = [(s, r.state, r.cause, r.since_ms) for s, r in sorted(status.get(id_, {}).items())]
            state["camera", id_] = (camera.changed_ms, camera.enabled, streams)
            if id_ in health:
                state["health", id_] = (health[id_].verdict, health[id_].since_ms)
    for row in connection.execute(select(peer_camera).where(peer_camera.c.removed_ms.is_(None))):
        if row.camera_id in seen:
            state["camera", row.camera_id] = (row.name, row.state, json.dumps(row.details, sort_keys=True))
    if principal.kind == "user":
        for row in connection.execute(select(lease).where(lease.c.expires_ms > now_ms - 60_000)):
            state["lease", row.id] = (row.side, row.expires_ms, row.confirmed_ms, row.ended_ms)
    if principal.kind == "user" and principal.wall is None:
        uploads = facts.get(connection, job_state.UPLOADS) or {}
        state["node", "uploads"] = (uploads.get("behind"), uploads.get("away_since_ms"))
        for name, trouble in volume_state.read(connection).items():
            state["node", name] = trouble and trouble["code"]
        for asked in approvals.pending(connection):
            if may_read(asked, principal.kind, principal.id, principal.roles):
                state["approval", asked.id] = asked.state
        told = readable(standing(connection), principal, seen)
        state["alarm", "standing"] = [(alarm.check, alarm.reason["code"], alarm.told, alarm.since_ms) for alarm in told]
        for row in connection.execute(select(link)):
            state["link", row.id] = (row.suspended_ms, row.removed_ms)
    return state
