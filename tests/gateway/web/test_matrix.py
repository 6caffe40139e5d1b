"""Every route × everybody (FAULTS S1): made from the routes themselves; a route that is not in the table fails.

The tables and what must come of a cell are in `tests.gateway.web.matrix`; mutants of the checks in `test_mutants`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio

from config.errors import TiergateError
from gateway.web.policy import declared
from tests.gateway.web import matrix
from tests.gateway.web.crowd import crowd_in, path_cells, running_cells
from tests.gateway.web.matrix import IN, OF_A_CAMERA, ROUTES, Crowd, ask, ask_cell, cells, expected
from tests.gateway.web.site import site_in


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # an async generator
    async with crowd_in(tmp_path_factory.mktemp("matrix")) as made:
        yield made


def test_every_route_is_in_the_table_as_it_declares_itself(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        assert cells(site) == ROUTES


@pytest.mark.asyncio(loop_scope="module")
async def test_every_route_for_everybody(crowd: Crowd, counted: Callable[[object], None]) -> None:
    bad: list[str] = []
    asked: Counter[str] = Counter()
    for cell, demanded in ROUTES.items():
        for caller in crowd.callers:
            if caller.only_cameras and demanded not in OF_A_CAMERA:
                continue
            wanted = expected(caller, cell, demanded)
            if cell == "DELETE /api/v1/session" and wanted == IN:
                continue  # it would end what everybody after it needs; below, with a sign-in of its own
            answer = await ask_cell(crowd, cell, caller)
            asked["in" if wanted == IN else str(wanted[0])] += 1
            if matrix.wrong(answer, wanted, demanded):
                bad.append(f"{cell} ({demanded}) for {caller.name}: {answer.status} {answer.code}, not {wanted}")
    counted(f"{asked.total()} cells {dict(asked)}, {len(bad)} wrong, callers {len(crowd.callers)}")
    assert not bad, "\n".join(bad)
    assert asked.total() >= 2_000 and min(asked[k] for k in ("in", "401", "403", "404")) >= 100


@pytest.mark.asyncio(loop_scope="module")
async def test_the_right_one_is_given_pictures(crowd: Crowd) -> None:
    """Not to be refused is worth nothing when nobody is served."""
    for cell, status in (
        ("GET /api/v1/cameras/{camera_id}/live.mp4", 200),
        ("WS /api/v1/cameras/{camera_id}/live.ws", 101),
    ):
        for name in ("the right one", "operator", "named", "everything"):
            assert (await ask_cell(crowd, cell, crowd.caller(name))).status == status, (cell, name)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_path_is_of_one_camera_and_address_and_ends_with_the_right(crowd: Crowd) -> None:
    assert await path_cells(crowd) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_running_pictures_end_when_the_right_does(crowd: Crowd) -> None:
    assert await running_cells(crowd) == []


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


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_camera_and_a_foreign_one_look_alike(crowd: Crowd) -> None:
    for name in ("other camera", "stranger"):
        async with crowd.site.client(crowd.caller(name).bearer) as client:
            foreign = await client.get(f"/api/v1/cameras/{crowd.cameras['mine']}")
            unknown = await client.get(f"/api/v1/cameras/{crowd.cameras['unknown']}")
            assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
            assert foreign.headers.keys() == unknown.headers.keys()


@pytest.mark.asyncio(loop_scope="module")
async def test_traversal_in_path_parameters_opens_nothing(crowd: Crowd) -> None:
    mine = crowd.cameras["mine"]
    async with crowd.site.client(crowd.caller("the right one").bearer) as client:
        escapes = ("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", f"{mine}%00", f"{mine}%2f..%2f{mine}", "%ff")
        for bad in (*escapes, "'; DROP TABLE camera;--"):
            for tail in ("", "/timeline", "/snapshot.jpg", "/playback.m3u8", "/live.mp4"):
                answer = await client.get(f"/api/v1/cameras/{bad}{tail}")
                assert 400 <= answer.status_code < 500, (bad, tail, answer.status_code)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_is_not_opened_with_a_revoked_token(crowd: Crowd) -> None:
    async with crowd.site.client() as nobody:
        for name in ("revoked", "expired", "widened"):
            answer = await nobody.post("/api/v1/session", json={"token": crowd.caller(name).bearer})
            assert answer.status_code == 401, name
    with pytest.raises(TiergateError):
        await crowd.site.services.principals.of_credential(crowd.caller("revoked").bearer or "")


def test_a_route_without_a_policy_does_not_start(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:

        @site.app.get("/api/v1/open")
        async def leak() -> str:
            return "secrets"

        with pytest.raises(LookupError, match="/api/v1/open"):
            declared(site.app)
