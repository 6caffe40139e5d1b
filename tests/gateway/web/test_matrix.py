"""Every route × everybody (FAULTS S1): made from the routes themselves; a route that is not in the table fails.

The tables and what must come of a cell are in `tests.gateway.web.matrix`; mutants of the checks in `test_mutants`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
import pytest_asyncio

from config.errors import TiergateError
from gateway.rtsp.connection import Connection
from gateway.rtsp.connection import declared as rtsp_methods
from gateway.web.policy import Declared, declared
from tests.gateway.web import matrix
from tests.gateway.web.crowd import crowd_in, path_cells, running_cells
from tests.gateway.web.matrix import IN, OF_A_CAMERA, Caller, Crowd, ask, ask_cell, cells, expected
from tests.gateway.web.routes_table import ROUTES, RTSP
from tests.gateway.web.rtsp_cells import method_cells, running_rtsp_cells
from tests.gateway.web.site import site_in
from tiering.access import Function


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # an async generator
    async with crowd_in(tmp_path_factory.mktemp("matrix")) as made:
        yield made


@pytest.mark.fault("S1")
def test_every_route_is_in_the_table_as_it_declares_itself(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        assert cells(site) == ROUTES


@pytest.mark.fault("S1", "S25")
@pytest.mark.asyncio(loop_scope="module")
async def test_every_route_for_everybody(crowd: Crowd, counted: Callable[[object], None]) -> None:
    bad: list[str] = []
    asked: Counter[str] = Counter()
    for cell, demanded in ROUTES.items():
        for caller in crowd.callers:
            if caller.only_cameras and demanded not in OF_A_CAMERA:
                continue
            wanted = expected(caller, cell, demanded)
            if cell in matrix.ENDS and wanted == IN:
                continue  # it would end what everybody after it needs; below, with a sign-in of its own
            answer = await ask_cell(crowd, cell, caller)
            asked["in" if wanted == IN else str(wanted[0])] += 1
            if matrix.wrong(answer, wanted, demanded):
                bad.append(f"{cell} ({demanded}) for {caller.name}: {answer.status} {answer.code}, not {wanted}")
    counted(f"{asked.total()} cells {dict(asked)}, {len(bad)} wrong, callers {len(crowd.callers)}")
    assert not bad, "\n".join(bad)
    assert asked.total() >= 2_000 and min(asked[k] for k in ("in", "401", "403", "404")) >= 100


@pytest.mark.fault("S1")
def test_every_method_of_rtsp_is_in_the_table_as_it_declares_itself() -> None:
    said = {
        method: matrix.word(Declared("", frozenset(), policy))
        for method, (policy, _) in rtsp_methods(Connection).items()
    }
    assert said == RTSP


@pytest.mark.fault("S1")
@pytest.mark.asyncio(loop_scope="module")
async def test_every_method_of_rtsp_for_everybody(crowd: Crowd, counted: Callable[[object], None]) -> None:
    bad, asked = await method_cells(crowd)
    counted(f"{asked} RTSP cells, {len(bad)} wrong")
    assert not bad, "\n".join(bad)
    assert asked >= 200


@pytest.mark.asyncio(loop_scope="module")
async def test_the_right_one_is_given_pictures(crowd: Crowd) -> None:
    """Not to be refused is worth nothing when nobody is served."""
    for cell, status in (
        ("GET /api/v1/cameras/{camera_id}/live.mp4", 200),
        ("WS /api/v1/cameras/{camera_id}/live.ws", 101),
    ):
        for name in ("the right one", "operator", "named", "everything"):
            assert (await ask_cell(crowd, cell, crowd.caller(name))).status == status, (cell, name)


@pytest.mark.fault("S3")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_path_is_of_one_camera_and_address_and_ends_with_the_right(crowd: Crowd) -> None:
    assert await path_cells(crowd) == []


@pytest.mark.fault("S2")
@pytest.mark.asyncio(loop_scope="module")
async def test_the_secret_of_a_path_is_no_credential_at_any_route(
    crowd: Crowd, counted: Callable[[object], None]
) -> None:
    services, now_ms = crowd.site.services, crowd.site.now_ms()
    who = await services.principals.of_credential(crowd.caller("everything").bearer or "")
    secret, _ = await services.media_sessions.open(
        who, Function.PLAYBACK, crowd.cameras["mine"], from_ms=now_ms - 5 * 60_000, to_ms=now_ms, client="127.0.0.1"
    )
    holder = Caller("the secret of a path", secret, "bad")
    own = await ask(crowd.site, "GET", f"/m/{secret}/index.m3u8")
    assert (own.status, own.code.partition(".")[0]) == (404, "media")  # it is a good one: nothing was recorded
    bad, asked = [], 0
    for cell, demanded in ROUTES.items():
        wanted = expected(holder, cell, demanded)
        answer = await ask_cell(crowd, cell, holder)
        asked += 1
        if matrix.wrong(answer, wanted, demanded):
            bad.append(f"{cell} ({demanded}): {answer.status} {answer.code}, not {wanted}")
    async with crowd.site.client() as client:
        client.cookies.set("tiergate_session", secret)
        assert (await client.get("/api/v1/cameras")).status_code == 401
        assert (await client.post("/api/v1/session", json={"token": secret})).status_code == 401
    await services.media_sessions.end(secret)
    counted(f"{asked} routes asked with the secret of a path, {len(bad)} wrong")
    assert not bad, "\n".join(bad)


@pytest.mark.fault("S16")
@pytest.mark.asyncio(loop_scope="module")
async def test_running_pictures_end_when_the_right_does(crowd: Crowd) -> None:
    assert await running_cells(crowd) == []
    assert await running_rtsp_cells(crowd) == []


@pytest.mark.fault("S1")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_method_that_no_route_declares_is_refused_to_everybody(crowd: Crowd) -> None:
    routes = [
        (route.methods or {"GET"}, re.sub(r"\{[^}]+\}", "[^/]+", route.path)) for route in declared(crowd.site.app)
    ]
    refused = 0
    for path in {route.path for route in declared(crowd.site.app)}:
        real = path.replace("{camera_id}", crowd.cameras["mine"])
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
            if any(method in methods and re.fullmatch(pattern, real) for methods, pattern in routes):
                continue
            answer = await ask(crowd.site, method, real, crowd.caller("everything").bearer)
            refused += 1
            assert answer.status in (404, 405), (method, path, answer)
    assert refused >= 400


@pytest.mark.asyncio(loop_scope="module")
async def test_who_signs_out_is_out(crowd: Crowd) -> None:
    async with await crowd.site.sign_in("operator") as client:
        assert (await client.delete("/api/v1/session")).status_code == 204
        assert (await client.get("/api/v1/cameras")).status_code == 401


@pytest.mark.fault("S1")
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_camera_and_a_foreign_one_look_alike(crowd: Crowd) -> None:
    for name in ("other camera", "stranger"):
        async with crowd.site.client(crowd.caller(name).bearer) as client:
            foreign = await client.get(f"/api/v1/cameras/{crowd.cameras['mine']}")
            unknown = await client.get(f"/api/v1/cameras/{crowd.cameras['unknown']}")
            assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
            assert foreign.headers.keys() == unknown.headers.keys()


@pytest.mark.fault("S8")
@pytest.mark.asyncio(loop_scope="module")
async def test_traversal_in_path_parameters_opens_nothing(crowd: Crowd) -> None:
    mine = crowd.cameras["mine"]
    async with crowd.site.client(crowd.caller("the right one").bearer) as client:
        escapes = ("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", f"{mine}%00", f"{mine}%2f..%2f{mine}", "%ff")
        for bad in (*escapes, "'; DROP TABLE camera;--"):
            for tail in ("", "/timeline", "/snapshot.jpg", "/playback.m3u8", "/live.mp4"):
                answer = await client.get(f"/api/v1/cameras/{bad}{tail}")
                assert 400 <= answer.status_code < 500, (bad, tail, answer.status_code)


#: What leads upward or elsewhere, in the spellings that servers have fallen for.
_UP = (
    "..", "../", "..\\", "%2e%2e", "%2e%2e/", "..%2f", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "..%252f", "..;/",
    "....//", "..%c0%af", "%c0%ae%c0%ae/", "..%ef%bc%8f", "%u002e%u002e/", ".%00./", "/",
)  # fmt: skip
_AT = ("etc/passwd", "etc%2fpasswd", "keys/node.key", "catalog/catalog.db", "tiergate.toml", "proc/self/environ")
_CANARY = "C4nary of the key folder"


def _payloads(canary: Path) -> list[str]:
    ups = [up * deep + at for up in _UP for at in _AT for deep in (1, 3)]
    return [*ups, str(canary), f"/{canary}", f"file://{canary}", "%00", "%ff", "."]


def _with(cell: str, name: str, payload: str, camera: str) -> str:
    values = {"camera_id": camera, "ordinal": "0", "name:path": "index.html", name: payload}
    path = cell.partition(" ")[2]
    return re.sub(r"\{([^}]+)\}", lambda m: values.get(m[1], "01K0000000000000000000000Z"), path)


@pytest.mark.fault("S8")
@pytest.mark.asyncio(loop_scope="module")
async def test_no_spelling_of_a_way_upward_opens_a_file_at_any_path_parameter(
    crowd: Crowd, counted: Callable[[object], None]
) -> None:
    canary = crowd.site.settings.paths.data / "keys" / "canary"
    canary.write_text(_CANARY)
    payloads = _payloads(canary)
    places = [(cell, name) for cell in ROUTES if cell.startswith("GET ") for name in re.findall(r"\{([^}]+)\}", cell)]
    statuses: Counter[int | None] = Counter()
    bearer = crowd.caller("everything").bearer
    for cell, name in places:
        for payload in payloads:
            path = _with(cell, name, payload, crowd.cameras["mine"])
            for said in (path, unquote(path, errors="replace")):  # as it came, and as a proxy may hand it on
                answer = await ask(crowd.site, "GET", said, bearer)
                statuses[answer.status] += 1
                assert answer.status is not None and 400 <= answer.status < 500, (cell, payload, answer)
                assert _CANARY not in answer.text
    counted(f"{len(payloads)} payloads × {len(places)} path parameters: {dict(statuses)}")
    assert len(set(payloads)) >= 200 and len(places) >= 15


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_is_not_opened_with_a_revoked_token(crowd: Crowd) -> None:
    async with crowd.site.client() as nobody:
        for name in ("revoked", "expired", "widened"):
            answer = await nobody.post("/api/v1/session", json={"token": crowd.caller(name).bearer})
            assert answer.status_code == 401, name
    with pytest.raises(TiergateError):
        await crowd.site.services.principals.of_credential(crowd.caller("revoked").bearer or "")


@pytest.mark.fault("S1")
def test_a_route_without_a_policy_does_not_start(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:

        @site.app.get("/api/v1/open")
        async def leak() -> str:
            return "secrets"

        with pytest.raises(LookupError, match="/api/v1/open"):
            declared(site.app)
