"""Every route × everybody (FAULTS S1): made from the routes themselves; a route that is not in the table below fails.

Who adds a route adds one line: the word is what the route demands, and the cells follow from the word.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.live.service import make_live
from gateway.playback.service import make_playback
from gateway.web.policy import Declared, declared
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in

#: What each route demands, written down a second time on purpose.
ROUTES: dict[str, str] = {
    "GET /api/v1/session": "public",
    "POST /api/v1/session": "public",
    "DELETE /api/v1/session": "signed_in",
    "POST /api/v1/session/password": "users",
    "GET /api/v1/node": "public",
    "GET /api/v1/regions": "signed_in",
    "POST /api/v1/regions": "roles",
    "POST /api/v1/regions/import": "roles",
    "GET /api/v1/departments": "roles",
    "POST /api/v1/departments": "roles",
    "PATCH /api/v1/departments/{department_id}": "roles",
    "DELETE /api/v1/departments/{department_id}": "roles",
    "GET /api/v1/areas": "roles",
    "POST /api/v1/areas": "roles",
    "PATCH /api/v1/areas/{area_id}": "roles",
    "DELETE /api/v1/areas/{area_id}": "roles",
    "POST /api/v1/cameras/probe": "roles",
    "POST /api/v1/cameras/discover": "roles",
    "POST /api/v1/cameras": "roles",
    "GET /api/v1/cameras": "signed_in",
    "GET /api/v1/cameras/{camera_id}": "camera",
    "PATCH /api/v1/cameras/{camera_id}": "manage",
    "DELETE /api/v1/cameras/{camera_id}": "manage",
    "POST /api/v1/cameras/{camera_id}/ptz": "ptz",
    "GET /api/v1/cameras/{camera_id}/timeline": "camera",
    "GET /api/v1/users": "roles",
    "POST /api/v1/users": "roles",
    "PATCH /api/v1/users/{user_id}": "roles",
    "GET /api/v1/grants": "roles",
    "POST /api/v1/grants": "roles",
    "DELETE /api/v1/grants/{grant_id}": "roles",
    "GET /api/v1/tokens": "roles",
    "POST /api/v1/tokens/preview": "roles",
    "POST /api/v1/tokens": "roles",
    "POST /api/v1/tokens/{jti}/revoke": "roles",
    "GET /api/v1/audit": "roles",
    "GET /api/v1/audit/verify": "roles",
    "GET /api/v1/audit/checkpoint": "roles",
    "GET /api/v1/register": "roles",
    "GET /api/v1/events": "signed_in",
    "GET /api/v1/retention": "users",
    "PUT /api/v1/retention/{class_name}": "roles",
    "GET /api/v1/retention/plan": "users",
    "GET /api/v1/retention/explain": "users",
    "GET /api/v1/retention/forecast": "roles",
    "POST /api/v1/retention/sweep": "roles",
    "GET /api/v1/holds": "users",
    "POST /api/v1/holds": "users",
    "POST /api/v1/holds/{hold_id}/release": "users",
    "GET /api/v1/approvals": "users",
    "POST /api/v1/approvals/{approval_id}": "users",
    "GET /api/v1/reports/coverage": "users",
    "GET /healthz": "public",
    "GET /readyz": "public",
    "GET /metrics": "public",
    "WS /api/v1/cameras/{camera_id}/live.ws": "live",
    "GET /api/v1/cameras/{camera_id}/live.mp4": "live",
    "POST /api/v1/cameras/{camera_id}/whep": "live",
    "DELETE /api/v1/cameras/{camera_id}/whep/{session}": "signed_in",
    "GET /api/v1/cameras/{camera_id}/playback.m3u8": "playback",
    "GET /api/v1/cameras/{camera_id}/clip.mp4": "export",
    "GET /api/v1/cameras/{camera_id}/snapshot.jpg": "snapshot",
    "GET /m/{session}/index.m3u8": "path",
    "GET /m/{session}/init/{segment_id}.mp4": "path",
    "GET /m/{session}/seg/{segment_id}/{ordinal}.m4s": "path",
    "GET /m/{session}/key/{segment_id}/{ordinal}.m4s": "path",
    "DELETE /m/{session}": "path",
    "GET /api/v1/links": "users",
    "POST /api/v1/links/invite": "roles",
    "POST /api/v1/links/accept": "roles",
    "GET /api/v1/links/{link_id}": "users",
    "PATCH /api/v1/links/{link_id}": "roles",
    "DELETE /api/v1/links/{link_id}": "roles",
    "GET /api/v1/pulls": "users",
    "POST /api/v1/pulls": "roles",
    "GET /api/v1/pulls/{lease_id}": "users",
    "POST /api/v1/pulls/{lease_id}/renew": "roles",
    "DELETE /api/v1/pulls/{lease_id}": "roles",
    "GET /api/v1/leases": "users",
    "GET /api/v1/leases/{lease_id}": "users",
    "POST /api/v1/leases/{lease_id}/confirm": "roles",
    "POST /api/v1/leases/{lease_id}/revoke": "roles",
    "GET /api/v1/leases/{lease_id}/timeline": "users",
    "GET /api/v1/incidents": "users",
    "POST /api/v1/incidents": "roles",
    "GET /api/v1/incidents/{incident_id}": "users",
    "PATCH /api/v1/incidents/{incident_id}": "roles",
    "GET /": "public",
    "GET /favicon.ico": "public",
    "GET /page/{name:path}": "public",
}


def word(route: Declared) -> str:
    policy = route.policy
    if policy.function is not None:
        return policy.function.value
    for name, said in (("public", policy.public), ("path", policy.path_session), ("camera", policy.camera)):
        if said:
            return name
    return "roles" if policy.roles else "users" if policy.users_only else "signed_in"


def cells(site: Site) -> dict[str, str]:
    found: dict[str, str] = {}
    for route in declared(site.app):
        for method in sorted(route.methods) or ["WS"]:
            found[f"{method} {route.path}"] = word(route)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Site, dict[str, str | None], str]]:
    """A site, credentials by who holds them, and the camera that one department was given."""
    with site_in(tmp_path_factory.mktemp("matrix")) as site:
        live = make_live(site.settings, site.catalog)
        site.services.parts["live"] = live
        site.services.parts["footage"] = make_playback(site.settings, site.clock, site.catalog, "n", live.hub)
        site.user("admin", ALL_ROLES)
        site.user("stranger")
        people: dict[str, str | None] = {"nobody": None, "nonsense": "tgs_nonsense", "torn": "a.b.c"}
        async with await site.sign_in("admin") as admin:
            people["admin"] = admin.headers["authorization"].split()[1]
            mine = await add_camera(admin, 1, sharing="departments")
            other = await add_camera(admin, 2, sharing="departments")
            unit = (await admin.post("/api/v1/departments", json={"name": "教育局"})).json()["id"]

            async def token(camera: str, *functions: str, expires: str = "8h") -> dict[str, Any]:
                body = {"department_id": unit, "label": "x", "cameras": [camera], "expires": expires}
                return dict((await admin.post("/api/v1/tokens", json=body | {"functions": functions})).json())

            people["expired"] = (await token(mine, "live", expires="2m"))["token"]
            site.clock.advance(121)
            revoked = await token(mine, "live")
            await admin.post(f"/api/v1/tokens/{revoked['jti']}/revoke")
            people["revoked"] = revoked["token"]
            people["other department"] = (await token(other, "live", "playback", "snapshot", "export", "ptz"))["token"]
            people["status only"] = (await token(mine, "status"))["token"]
            everything = ("live", "playback", "snapshot", "export", "ptz", "status", "catalog")
            people["the right one"] = (await token(mine, *everything))["token"]
            async with site.client() as passing:
                answer = await passing.post("/api/v1/session", json={"token": people["revoked"]})
                assert answer.status_code == 401
        async with await site.sign_in("stranger") as stranger:
            people["stranger"] = stranger.headers["authorization"].split()[1]
        yield site, people, mine
        await live.hub.close()


async def ask(site: Site, cell: str, bearer: str | None, camera: str) -> int | None:
    """The status with which the answer begins; 101 for an accepted WebSocket, None when nothing began in a while."""
    method, path = cell.split(" ", 1)
    values = {"camera_id": camera, "name:path": "index.html", "ordinal": "0", "segment_id": "01K" + "0" * 23}
    path = re.sub(r"\{([^}]+)\}", lambda m: values.get(m[1], "01K0000000000000000000000Z"), path)
    headers = [(b"host", b"node.test"), (b"content-type", b"application/json")]
    if bearer is not None:
        headers.append((b"authorization", b"Bearer " + bearer.encode()))
    scope: dict[str, Any] = {
        "type": "websocket" if method == "WS" else "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "ws" if method == "WS" else "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("node.test", 80),
        "extensions": {"websocket.http.response": {}},
        "subprotocols": [],
    }
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            await asyncio.Event().wait()
        given = True
        return {"type": "websocket.connect"} if method == "WS" else {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        status = {"websocket.accept": 101, "websocket.close": 403}.get(message["type"], message.get("status"))
        if status is not None and not first.done():
            first.set_result(status)

    task = asyncio.create_task(site.app(scope, receive, send))
    ends: set[asyncio.Future[Any]] = {task, first}
    await asyncio.wait(ends, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if first.done():
        return first.result()
    first.cancel()
    return None


def may(status: int | None) -> bool:
    return status not in (401, 403, 500)


def judge(who: str, demanded: str, status: int | None) -> bool:
    """Whether `status` is right for `who` at a route that demands that."""
    if demanded == "public":
        return may(status) or (status == 401)  # signing in with nothing is refused as such
    if demanded == "path":
        return status == 404  # 128 bits that nobody has
    if who in ("nobody", "nonsense", "torn", "expired", "revoked"):
        return status == 401
    is_person = who in ("admin", "stranger")
    if demanded == "signed_in":
        return may(status)
    if demanded in ("roles", "users"):
        if not is_person:
            return status == 403
        if who == "stranger":
            return status == 403 if demanded == "roles" else status not in (401, 500)
        return status not in (401, 500)  # a rule of the route may still refuse what was asked
    if who in ("other department", "stranger"):
        return status == 404
    if demanded == "camera":
        return status not in (401, 404, 500)
    if who == "admin":
        return may(status)
    if who == "status only" or demanded == "manage":
        return status == 403
    return may(status)


def test_every_route_is_in_the_table_as_it_declares_itself(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        assert cells(site) == ROUTES


@pytest.mark.asyncio(loop_scope="module")
async def test_every_route_for_everybody(crowd: tuple[Site, dict[str, str | None], str]) -> None:
    site, people, mine = crowd
    wrong: list[str] = []
    for cell, demanded in cells(site).items():
        for who, bearer in people.items():
            destroys = cell.startswith("DELETE") and who == "admin" and demanded in ("manage", "signed_in")
            if destroys or (cell == "DELETE /api/v1/session"):
                continue
            status = await ask(site, cell, bearer, mine)
            if not judge(who, demanded, status):
                wrong.append(f"{cell} ({demanded}) for {who}: {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_camera_and_a_foreign_one_look_alike(crowd: tuple[Site, dict[str, str | None], str]) -> None:
    site, people, mine = crowd
    for bearer in (people["other department"], people["stranger"]):
        async with site.client(bearer) as client:
            foreign = await client.get(f"/api/v1/cameras/{mine}")
            unknown = await client.get("/api/v1/cameras/21021100011326999999")
            assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
            assert foreign.headers.keys() == unknown.headers.keys()


@pytest.mark.asyncio(loop_scope="module")
async def test_traversal_in_path_parameters_opens_nothing(crowd: tuple[Site, dict[str, str | None], str]) -> None:
    site, people, mine = crowd
    async with site.client(people["the right one"]) as client:
        escapes = ("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", f"{mine}%00", f"{mine}%2f..%2f{mine}", "%ff")
        for bad in (*escapes, "'; DROP TABLE camera;--"):
            for tail in ("", "/timeline", "/snapshot.jpg", "/playback.m3u8", "/live.mp4"):
                answer = await client.get(f"/api/v1/cameras/{bad}{tail}")
                assert 400 <= answer.status_code < 500, (bad, tail, answer.status_code)


def test_a_route_without_a_policy_does_not_start(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:

        @site.app.get("/api/v1/open")
        async def leak() -> str:
            return "secrets"

        with pytest.raises(LookupError, match="/api/v1/open"):
            declared(site.app)
