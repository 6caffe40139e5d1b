"""How much one caller may ask (FAULTS S23), and how many pictures one may have open at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from config.clock import ManualClock
from config.errors import Kind, TiergateError
from config.settings import Web
from gateway.buckets import Buckets
from gateway.web.limits import BURST_S, RateLimits
from gateway.web.routers import events
from storage.catalog import cameras, grants, places
from storage.catalog.grants import TokenRow
from tests.gateway.live.serving import shifted
from tests.gateway.live.test_whep import Peer
from tests.gateway.watching import WALL_MS, Rig, rig
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in
from tests.media import access_units, encode_h264, stream_config
from tests.parts.wait import until_async
from tiering.grants import Function, Principal

S = 1_000_000_000


# --- the arithmetic --------------------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Buckets(per_s=4, burst_s=2.5, most=10)
    assert [buckets.take("a", 0) for _ in range(10)] == [0] * 10
    assert buckets.take("a", 0) == S // 4
    assert buckets.take("a", S // 4 - 1) == 1
    assert buckets.take("a", S // 4) == 0 and buckets.take("a", S // 4) > 0
    assert buckets.take("b", S // 4) == 0
    assert [buckets.take("a", 100 * S) for _ in range(11)].count(0) == 10


@pytest.mark.fault("S23")
@settings(max_examples=200)
@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, S // 2)), max_size=120),
)
def test_it_is_the_bucket_that_one_would_draw(per_s: int, burst: int, asked: list[tuple[str, int]]) -> None:
    """Against tokens counted as fractions: the same answers, and whoever waits as long as told is let through."""
    cost_ns = round(S / per_s)
    buckets = Buckets(per_s, burst * cost_ns / S, most=10)
    tokens, seen, now_ns = dict.fromkeys("abc", Fraction(burst)), dict.fromkeys("abc", 0), 0
    for caller, wait_ns in asked:
        now_ns += wait_ns
        tokens[caller] = min(Fraction(burst), tokens[caller] + Fraction(now_ns - seen[caller], cost_ns))
        seen[caller] = now_ns
        told_ns = buckets.take(caller, now_ns)
        assert (told_ns == 0) == (tokens[caller] >= 1)
        if told_ns == 0:
            tokens[caller] -= 1
        else:
            assert tokens[caller] + Fraction(told_ns, cost_ns) == 1


@pytest.mark.fault("S23")
@settings(max_examples=60)
@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 30), st.integers(0, S)), max_size=200))
def test_no_crowd_of_callers_grows_it(most: int, asked: list[tuple[int, int]]) -> None:
    buckets, now_ns = Buckets(1, 1, most), 0
    for caller, wait_ns in asked:
        now_ns += wait_ns
        buckets.take(caller, now_ns)
        assert len(buckets) <= most


def test_who_was_quiet_longest_is_forgotten_and_who_still_asks_is_not() -> None:
    buckets = Buckets(1, 1, most=3)
    for caller in "abc":
        assert buckets.take(caller, 0) == 0
    assert buckets.take("a", 1) > 0  # refused, and still remembered for it
    assert buckets.take("d", 2) == 0
    assert buckets.take("a", 3) > 0 and buckets.take("b", 4) == 0


# --- who is one caller -----------------------------------------------------------------------------------------------


def _principal(kind: Any, id_: str, session: str | None = None) -> Principal:
    return Principal(kind, id_, id_, id_, "x", session=session)


def test_a_second_sign_in_and_a_second_address_of_a_household_give_no_second_bucket() -> None:
    made = RateLimits(Web(requests_per_s=1, media_requests_per_s=1, anonymous_requests_per_s=1), ManualClock())
    burst = round(BURST_S)

    def passed(*asked: Callable[[], None]) -> int:
        count = 0
        for ask in asked * burst:
            with contextlib.suppress(TiergateError):
                ask()
                count += 1
        return count

    one, again = _principal("user", "u1", "aa"), _principal("user", "u1", "bb")
    assert passed(lambda: made.request(one, "10.0.0.1"), lambda: made.request(again, "10.0.0.2")) == burst
    assert passed(lambda: made.request(_principal("token", "u1"), "10.0.0.1")) == burst
    assert passed(lambda: made.piece(one, "10.0.0.1")) == burst  # pieces are counted apart
    assert passed(lambda: made.request(None, "fd00::1"), lambda: made.request(None, "fd00::2:1")) == burst
    assert passed(lambda: made.request(None, "fd00:0:0:1::1")) == burst
    assert passed(lambda: made.request(None, "10.0.0.1"), lambda: made.piece(None, "::ffff:10.0.0.1")) == burst
    assert passed(lambda: made.request(None, "local")) == burst
    assert made.refused == {"request": burst, "media": 0, "anonymous": 2 * burst}
    with pytest.raises(TiergateError) as refused:
        made.request(one, "10.0.0.1")
    assert refused.value.kind is Kind.RATE_LIMITED and refused.value.reason.params == {"seconds": 1}


# --- the web app -----------------------------------------------------------------------------------------------------


def _few(tmp_path: Path) -> contextlib.AbstractContextManager[Site]:
    return site_in(tmp_path, web={"requests_per_s": 2, "media_requests_per_s": 3, "anonymous_requests_per_s": 1})


async def _until_refused(client: httpx.AsyncClient, path: str, most: int = 100) -> tuple[int, httpx.Response]:
    for count in range(most):
        answer = await client.get(path)
        if answer.status_code == 429:
            return count, answer
    raise AssertionError(f"{most} requests of {path} were answered")


@pytest.mark.fault("S23")
async def test_a_caller_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    with _few(tmp_path) as site:
        site.user("li", ALL_ROLES)
        site.user("wang", ALL_ROLES)
        async with await site.sign_in("li") as li, await site.sign_in("wang") as wang:
            count, answer = await _until_refused(li, "/api/v1/cameras")
            assert count == 2 * BURST_S
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert (problem["code"], problem["params"]) == ("web.too_many_requests", {"seconds": 1})
            assert "1 s" in problem["en"] and "1 秒" in problem["zh"]
            assert (await wang.get("/api/v1/cameras")).status_code == 200
            site.clock.advance(1)
            assert [(await li.get("/api/v1/cameras")).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.fault("S23")
async def test_strangers_share_the_bucket_of_their_address_and_bad_credentials_buy_no_other(tmp_path: Path) -> None:
    with _few(tmp_path) as site:
        site.user("li", ALL_ROLES)
        async with await site.sign_in("li") as li, site.client(address="10.0.0.9") as nobody:
            statuses = Counter[int]()
            for number in range(40):
                headers = {"Authorization": f"Bearer tgs_guess{number}"}
                statuses[(await nobody.get("/api/v1/cameras", headers=headers)).status_code] += 1
            assert statuses == {401: BURST_S, 429: 40 - BURST_S}
            assert (await nobody.get("/api/v1/node")).status_code == 429
            # Whoever is known, and whoever watches over the node, is not held up by them.
            behind = {"Authorization": li.headers["authorization"]}
            assert (await nobody.get("/api/v1/cameras", headers=behind)).status_code == 200
            assert [(await nobody.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
            metrics = (await li.get("/metrics")).text
    assert "# TYPE tiergate_requests_refused_total counter" in metrics
    assert 'tiergate_requests_refused_total{of="anonymous"} 21.0' in metrics
    assert 'tiergate_requests_refused_total{of="request"} 0.0' in metrics


async def test_pieces_of_a_session_path_have_a_bucket_of_their_own(tmp_path: Path) -> None:
    with _few(tmp_path) as site:
        site.user("li", ("operator", "system_admin"))
        async with await site.sign_in("li") as li:
            id_, now_ms = await add_camera(li, 1), site.now_ms()
            who = await site.services.principals.of(li.headers["authorization"], None)
            assert who is not None
            secret, _ = await site.services.media_sessions.open(
                who, Function.PLAYBACK, id_, from_ms=now_ms - 60_000, to_ms=now_ms
            )
            piece = f"/m/{secret}/index.m3u8?speed=none"
            assert (await li.get(piece)).json()["code"] == "media.play_speed"
            count, answer = await _until_refused(li, piece)
            assert count == 3 * BURST_S - 1 and answer.json()["code"] == "web.too_many_requests"
            assert (await li.get("/api/v1/cameras")).status_code == 200
            async with site.client() as nobody:
                count, _ = await _until_refused(nobody, "/m/unknownunknownunknown12/index.m3u8")
                assert count <= BURST_S


async def test_a_token_and_a_grant_say_how_many_pictures_before_they_are_given(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.user("li", ALL_ROLES)
        async with await site.sign_in("li") as li:
            id_ = await add_camera(li, 1)
            assert (await li.patch(f"/api/v1/cameras/{id_}", json={"sharing": "departments"})).status_code == 200
            department = (await li.post("/api/v1/departments", json={"name": "教育局"})).json()["id"]
            token = {"department_id": department, "label": "x", "cameras": [id_], "functions": ["live"]}
            said = (await li.post("/api/v1/tokens/preview", json=token | {"max_streams": 1})).json()
            assert "At most 1 picture at once." in said["plain"]["en"] and "最多 1 路" in said["plain"]["zh"]
            issued = (await li.post("/api/v1/tokens", json=token | {"max_streams": 4})).json()
            assert issued["grant"]["conditions"] == {"max_streams": 4} and "4 路" in issued["plain"]["zh"]
            grant = {
                "subject_kind": "department",
                "subject": department,
                "functions": ["live"],
                "resources": {"cameras": [id_]},
            }
            made = await li.post("/api/v1/grants", json=grant | {"conditions": {"max_streams": 2}})
            assert (made.status_code, made.json()["conditions"]) == (201, {"max_streams": 2})
            for bad in (0, -1, "2", 1.5, True):
                assert (await li.post("/api/v1/tokens", json=token | {"max_streams": bad})).status_code == 422, bad
                refused = await li.post("/api/v1/grants", json=grant | {"conditions": {"max_streams": bad}})
                assert (refused.status_code, refused.json()["code"]) == (422, "access.grant_malformed"), bad


# --- pictures at once, on a real server ------------------------------------------------------------------------------

PACKETS = encode_h264(2.0, gop=25)
CONFIG = stream_config("h264", PACKETS)
UNITS = access_units("h264", PACKETS)
MOST = 5


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        made.camera.config(CONFIG)
        yield made


async def _token(node: Rig, most: int) -> dict[str, str]:
    """Headers of a department that may have so many pictures of the camera at once."""
    now_ms = node.services.now_ms() // 1000 * 1000
    value = {
        "effect": "allow",
        "resources": {"cameras": [node.camera_id]},
        "functions": ["live", "playback", "catalog"],
        "conditions": {"max_streams": most},
    }
    row = TokenRow("01K00000000000000000000001", "dep", "教育局", "x", value, now_ms, now_ms + 3_600_000, "admin")

    def write(connection: Any) -> None:
        places.add_department(connection, "dep", "教育局", "210102", now_ms)
        cameras.change_camera(connection, node.camera_id, {"sharing": "departments"}, now_ms)
        grants.add_token(connection, row)

    await node.services.write(write)
    return {"Authorization": f"Bearer {node.services.tokens.sign(row)}"}


@pytest.mark.fault("S23")
@pytest.mark.real
async def test_so_many_pictures_of_every_kind_are_opened_at_once_and_no_more(
    node: Rig, counted: Callable[[object], None]
) -> None:
    """Sockets, endless files, calls and recordings all asked for in the same moment under one token."""
    headers = await _token(node, MOST)
    await node.record(CONFIG, UNITS)
    http = httpx.AsyncClient(base_url=node.base, timeout=30, limits=httpx.Limits(max_connections=50))
    peers = [Peer() for _ in range(2)]
    offers = [await peer.offer() for peer in peers]
    closers: list[Callable[[], Any]] = []
    refusals: list[dict[str, Any]] = []

    def refused(answer: httpx.Response) -> str:
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5"), answer.text
        refusals.append(answer.json())
        return "refused"

    async def socket() -> str:
        opened = await connect(node.ws(), additional_headers=headers)
        first = json.loads(await opened.recv())
        if first.get("state") == "refused":
            refusals.append(first["reason"])
            await opened.close()
            return "refused"
        closers.append(opened.close)
        return "socket"

    async def endless() -> str:
        request = http.build_request("GET", node.path + "/live.mp4", headers=headers)
        answer = await http.send(request, stream=True)
        if answer.status_code != 200:
            await answer.aread()
            return refused(answer)
        closers.append(answer.aclose)
        return "endless"

    async def call(offer: str) -> str:
        answer = await http.post(node.path + "/whep", content=offer, headers=headers)
        if answer.status_code != 201:
            return refused(answer)
        where = answer.headers["location"]
        closers.append(lambda: http.delete(where, headers=headers))
        return "call"

    async def recording() -> str:
        window = {"from": str(WALL_MS), "to": str(WALL_MS + 2000)}
        answer = await http.get(node.path + "/playback.m3u8", params=window, headers=headers)
        if answer.status_code != 200:
            return refused(answer)
        path = answer.headers["x-tiergate-session"]
        closers.append(lambda: http.delete(path))
        return "recording"

    async def open_rows() -> list[Any]:
        return [row for row in await node.register() if row.closed_ms is None]

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(http)
        for peer in peers:
            stack.push_async_callback(peer.close)
        await stack.enter_async_context(node.camera.playing(UNITS, lambda turn: shifted(UNITS, turn * 180_000), 0.04))
        everybody = [*(socket() for _ in range(2)), *(endless() for _ in range(2)), *map(call, offers)]
        everybody += [recording() for _ in range(4)]
        answers = Counter(await asyncio.gather(*everybody))
        asked = sum(answers.values())
        assert answers["refused"] == asked - MOST and len(closers) == MOST, answers
        assert {one["code"] for one in refusals} == {"access.too_many_open"} and len(refusals) == asked - MOST
        assert len(await open_rows()) == MOST
        # None of those that run is cut for it, and one that is closed makes room for one.
        node.services.watch.bump()
        await node.services.looks.review()
        assert len(node.services.looks.running) == MOST
        await closers.pop()()

        async def room() -> bool:
            return len(await open_rows()) == MOST - 1

        await until_async(room, 10, "the closed picture has left its place")
        assert await endless() == "endless" and await endless() == "refused"
        assert len(await open_rows()) == MOST
        for close in closers:
            await close()

        async def over() -> bool:
            return not await open_rows()

        await until_async(over, 10, "every picture is over")
    counted(f"{asked} pictures asked for at once under a token of {MOST}: {dict(answers)}")


# --- listening --------------------------------------------------------------------------------------------------------


@pytest.mark.fault("S23")
async def test_many_windows_of_one_caller_cost_one_look_at_a_move_of_the_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks are taken where rights are read again while pictures run: a revocation would wait behind them."""
    taken = Counter[str]()
    look = events.snapshot

    def counting(services: Any, connection: Any, principal: Principal) -> events.Snapshot:
        taken[principal.id] += 1
        return look(services, connection, principal)

    monkeypatch.setattr(events, "snapshot", counting)
    with site_in(tmp_path) as site:
        site.user("anna", ALL_ROLES)
        site.user("bert", ALL_ROLES)
        async with await site.sign_in("anna") as client:
            anna = await site.services.principals.of_credential(client.headers["authorization"].split()[1])
        async with await site.sign_in("bert") as client:
            bert = await site.services.principals.of_credential(client.headers["authorization"].split()[1])
        told = Counter[str]()

        async def listen(who: Principal) -> None:
            async for line in events._stream(site.services, who, site.services.watch.stamp, {}):
                told[who.id] += "event: " in line

        tasks = [asyncio.create_task(listen(who)) for who in (anna, bert) for _ in range(30)]
        try:
            listeners = events._listeners(site.services)

            async def all_listen() -> bool:
                return listeners.open.total() == 60

            async def all_told() -> bool:
                return min(told[anna.id], told[bert.id]) >= 30

            await until_async(all_listen, 10, "all listen")
            site.services.watch.bump()
            await until_async(all_told, 30, "each window is told")
            assert taken == {anna.id: 1, bert.id: 1}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert listeners.open.total() == 0 and not listeners._looks


@pytest.mark.fault("S23")
async def test_who_listens_too_often_is_refused_and_nobody_else(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.user("anna", ALL_ROLES)
        async with await site.sign_in("anna") as client:
            anna = await site.services.principals.of_credential(client.headers["authorization"].split()[1])
            listeners = events._listeners(site.services)
            with contextlib.ExitStack() as windows:
                for _ in range(events.MOST_OF_ONE):
                    windows.enter_context(listeners.listening(f"{anna.kind}:{anna.id}"))
                refused = await client.get("/api/v1/events")
                assert refused.status_code == 429 and refused.json()["code"] == "web.too_many_listening"
                listeners.require_place("user:another")
            listeners.require_place(f"{anna.kind}:{anna.id}")
