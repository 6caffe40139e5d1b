"""RTSP through the whole web process: what a client is given, what it is refused, and how a stream ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from gateway.ops.rotation import rotate_sealing
from gateway.rtsp import connection
from gateway.rtsp.connection import Connection, Limits, declared
from gateway.web.policy import Policy
from storage.catalog import cameras, grants, people, stream_passwords
from storage.catalog.tables import audit, credential
from storage.catalog.tables import stream_password as table
from tests.gateway.live.serving import shifted
from tests.gateway.rtsp.talk import (
    CONFIG,
    OVER_TCP,
    UNITS,
    Client,
    Served,
    again,
    login_of,
    served,
    shared_token,
    stream_password,
)
from tests.gateway.watching import Rig
from tests.media import access_units, encode_h265, stream_config
from tests.parts.wait import until_async


async def closed_row(node: Rig, number: int = 0) -> Any:
    async def closed() -> Any:
        rows = await node.register()
        return len(rows) > number and rows[number].closed_ms is not None and rows[number]

    return await until_async(closed, 8, "the register row is closed")


async def test_a_stream_is_entered_before_its_first_byte_and_closed_with_what_was_sent(rtsp: Served) -> None:
    made = await stream_password(rtsp.node)
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        session = await client.play(rtsp.url(), login_of(made))
        [row] = await rtsp.node.register()
        assert (row.closed_ms, row.function, row.stream, client.frames) == (None, "live", "main", [])
        assert row.principal["stream_password"] == made["id"]
        assert row.principal["kind"] == "user" and row.person == made["owner_name"]
        await client.media(200)
        assert (rtsp.server.connections, rtsp.server.streams) == (1, 1)
        assert (await client.ask("GET_PARAMETER", rtsp.url(), Session=session)).status == 200
        assert (await client.ask("TEARDOWN", rtsp.url(), Session=session)).status == 200
    row = await closed_row(rtsp.node)
    packets = [data for channel, data in client.frames if channel == 0]
    ends = [one[4:8] != other[4:8] for one, other in itertools.pairwise(packets)]
    assert [bool(packet[1] & 0x80) for packet in packets[:-1]] == ends, "the marker ends each picture"
    sent = sum(4 + len(data) for _, data in client.frames)
    assert (row.result, row.bytes >= sent > 0) == ("ended", True)


async def test_a_token_owner_reads_with_unmarked_basis_alone_and_is_named_in_the_register(rtsp: Served) -> None:
    jti, _ = await shared_token(rtsp.node)
    security = await rtsp.node.sign_in("security_admin")
    body = {"owner_kind": "token", "owner": jti, "label": "VMS", "cameras": [rtsp.node.camera_id]}
    refused = await rtsp.node.http.post("/api/v1/stream-passwords", json=body, headers=security)
    assert (refused.status_code, refused.json()["code"]) == (422, "access.stream_unmarked_basis")
    made = await stream_password(rtsp.node, jti, owner_kind="token", unmarked_basis="agreement 2026-14")
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        await client.play(rtsp.url(), login_of(made))
        await client.media(20)
    [row] = await rtsp.node.register()
    assert (row.unit.startswith("教育局"), row.person) == (True, "school gate")
    assert (row.principal["id"], row.principal["stream_password"]) == (jti, made["id"])

    # A row that lost its basis, however that came about, gives nothing more, and what runs ends.
    await rtsp.node.services.write(lambda c: c.execute(table.update().values(unmarked_basis="")))
    await client.until_closed()
    assert (await closed_row(rtsp.node)).result == "revoked"
    other = await rtsp.client()
    answer = await other.signed("DESCRIBE", rtsp.url(), login_of(made))
    assert (answer.status, answer.code) == (403, "access.stream_unmarked")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_both_digests_open_a_stream(rtsp: Served, algorithm: str) -> None:
    login = login_of(await stream_password(rtsp.node))
    client = await rtsp.client()
    challenged = await client.ask("DESCRIBE", rtsp.url())
    assert challenged.status == 401 and challenged.code == "access.not_signed_in"
    assert [c.partition("algorithm=")[2].split(",")[0] for c in challenged.challenges] == ["SHA-256", "MD5"]
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        answer = await client.ask("DESCRIBE", rtsp.url(), login, algorithm)
    assert answer.status == 200 and answer.headers["content-base"] == rtsp.url() + "/"
    assert answer.body.startswith(b"v=0\r\n") and b"H264/90000" in answer.body


async def test_an_answer_opens_nothing_a_second_time_nor_elsewhere(rtsp: Served) -> None:
    login = login_of(await stream_password(rtsp.node))
    client, other = await rtsp.client(), await rtsp.client()
    await client.ask("DESCRIBE", rtsp.url())
    await other.ask("DESCRIBE", rtsp.url())
    overheard = client.authorization("DESCRIBE", rtsp.url(), *login, "SHA-256")
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        assert (await client.ask("DESCRIBE", rtsp.url(), Authorization=overheard)).status == 200
        for where, url in ((client, rtsp.url()), (other, rtsp.url())):
            answer = await where.ask("DESCRIBE", url, Authorization=overheard)
            assert answer.status == 401 and all("stale=TRUE" in c for c in answer.challenges)
        assert (await other.ask("DESCRIBE", rtsp.url(), login, "SHA-256")).status == 200, "the fresh nonce serves"
    elsewhere = client.authorization("DESCRIBE", rtsp.url(), *login, "SHA-256")
    assert (await client.ask("DESCRIBE", rtsp.url(stream="sub"), Authorization=elsewhere)).status == 401
    method = client.authorization("OPTIONS", rtsp.url(), *login, "SHA-256")
    assert (await client.ask("DESCRIBE", rtsp.url(), Authorization=method)).status == 401


async def test_no_other_secret_opens_a_stream_and_a_stream_password_opens_nothing_else(rtsp: Served) -> None:
    jti, text = await shared_token(rtsp.node)
    made = await stream_password(rtsp.node, jti, owner_kind="token", unmarked_basis="agreement")
    person = (await rtsp.node.sign_in("operator"))["Authorization"].removeprefix("Bearer ")
    client = await rtsp.client()
    for user, password in ((jti, text), (made["username"], text), (made["username"], person), ("x", made["password"])):
        answer = await client.signed("DESCRIBE", rtsp.url(), (user, password[:1000]))
        assert (answer.status, answer.code) == (401, "access.bad_login"), user
    assert (await client.ask("DESCRIBE", rtsp.url(), Authorization=f"Bearer {text}")).status == 401
    http = rtsp.node.http
    for secret in (made["password"], f"{made['username']}:{made['password']}"):
        headers = {"Authorization": f"Bearer {secret}"}
        assert (await http.get("/api/v1/cameras", headers=headers)).status_code == 401
        assert (await http.post("/api/v1/session", json={"token": secret})).status_code == 401
        body = {"login": made["username"], "password": secret}
        assert (await http.post("/api/v1/session", json=body)).status_code == 401


@pytest.mark.fault("S22")
async def test_guessing_is_throttled_and_written_down_and_running_streams_go_on(rtsp: Served) -> None:
    made = await stream_password(rtsp.node)
    watcher, guesser = await rtsp.client(), await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        await watcher.play(rtsp.url(), login_of(made))
        codes = [
            (await guesser.signed("DESCRIBE", rtsp.url(), (made["username"], f"guess {n}"))).code for n in range(12)
        ]
        assert codes == ["access.bad_login"] * 10 + ["access.too_many_tries"] * 2
        right = await guesser.signed("DESCRIBE", rtsp.url(), login_of(made))
        assert (right.status, right.code) == (503, "access.too_many_tries")
        assert int(right.headers["retry-after"]) > 0
        await watcher.media(100)
    query = select(audit.c.subject).where(audit.c.action == "stream_password.refuse")
    noted = await rtsp.node.services.read(lambda c: list(c.execute(query).scalars()))
    assert noted == [made["username"]] * 10
    signing_in = await rtsp.node.http.post("/api/v1/session", json={"login": "x", "password": "y"})
    assert signing_in.status_code == 401, "people's sign-in is not shut by it"


Taking = Callable[[Rig, dict[str, Any]], Awaitable[None]]


async def _revoke_password(node: Rig, made: dict[str, Any]) -> None:
    security = await node.sign_in("security_admin")
    answer = await node.http.post(f"/api/v1/stream-passwords/{made['id']}/revoke", headers=security)
    assert answer.json()["state"] == "revoked"


async def _expire_password(node: Rig, made: dict[str, Any]) -> None:
    past = table.update().where(table.c.id == made["id"]).values(expires_ms=node.services.now_ms() - 1)
    await node.services.write(lambda c: c.execute(past))


async def _revoke_token(node: Rig, made: dict[str, Any]) -> None:
    await node.services.write(lambda c: grants.revoke_token(c, made["owner"], "admin", node.services.now_ms()))


async def _disable_owner(node: Rig, made: dict[str, Any]) -> None:
    await node.services.write(lambda c: people.change_user(c, made["owner"], {"disabled_ms": node.services.now_ms()}))


async def _take_role(node: Rig, made: dict[str, Any]) -> None:
    await node.services.write(lambda c: people.change_user(c, made["owner"], {"roles": ["audit_admin"]}))


async def _unshare(node: Rig, made: dict[str, Any]) -> None:
    await node.services.write(
        lambda c: cameras.change_camera(c, node.camera_id, {"sharing": "none"}, node.services.now_ms())
    )


async def _other_cameras(node: Rig, made: dict[str, Any]) -> None:
    await node.services.write(lambda c: c.execute(table.update().values(cameras=["21021100011326999999"])))


@pytest.mark.fault("S16")
@pytest.mark.parametrize(
    ("owner", "take", "result"),
    [
        ("user", _revoke_password, "revoked"),
        ("user", _expire_password, "revoked"),
        ("token", _revoke_token, "revoked"),
        ("user", _disable_owner, "revoked"),
        ("user", _take_role, "revoked"),
        ("token", _unshare, "revoked"),
        ("user", _other_cameras, "revoked"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("_"),
)
async def test_a_running_stream_ends_when_the_right_does_and_none_begins_again(
    rtsp: Served, owner: str, take: Taking, result: str
) -> None:
    if owner == "token":
        jti, _ = await shared_token(rtsp.node)
        made = await stream_password(rtsp.node, jti, owner_kind="token", unmarked_basis="agreement")
    else:
        made = await stream_password(rtsp.node)
    kept = await stream_password(rtsp.node)
    client, other = await rtsp.client(), await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.02):
        await client.play(rtsp.url(), login_of(made))
        if take not in (_other_cameras, _unshare):
            await other.play(rtsp.url(), login_of(kept))
        await client.media(20)
        await take(rtsp.node, made)
        rest = await client.until_closed()
        row = await closed_row(rtsp.node)
        assert row.result == result
        assert b"access.revoked" in rest[-60:], "RTCP says goodbye, and why"
        if take not in (_other_cameras, _unshare):
            await other.media(100)
        late = await rtsp.client()
        answer = await late.signed("DESCRIBE", rtsp.url(), login_of(made))
        assert answer.status in (401, 403, 404) and answer.body
    assert len([r for r in await rtsp.node.register() if r.principal["stream_password"] == made["id"]]) == 1


async def test_pictures_are_counted_together_whichever_way_they_leave(rtsp: Served) -> None:
    jti, text = await shared_token(rtsp.node, max_streams=2)
    made = await stream_password(rtsp.node, jti, owner_kind="token", unmarked_basis="agreement")
    first, second = await rtsp.client(), await rtsp.client()
    headers = {"Authorization": f"Bearer {text}"}
    async with rtsp.node.camera.playing(UNITS, again, 0.02):
        async with rtsp.node.http.stream("GET", rtsp.node.path + "/live.mp4", headers=headers) as http:
            assert http.status_code == 200
            await first.play(rtsp.url(), login_of(made))
            await second.signed("DESCRIBE", rtsp.url(), login_of(made))
            setup = await second.signed("SETUP", rtsp.url(), login_of(made), Transport=OVER_TCP)
            answer = await second.signed("PLAY", rtsp.url(), login_of(made), Session=setup.session)
            assert (answer.status, answer.code) == (453, "access.too_many_open")
        await closed_row(rtsp.node)
        answer = await second.signed("PLAY", rtsp.url(), login_of(made), Session=setup.session)
        assert answer.status == 200


async def test_a_password_reaches_its_cameras_streams_and_networks_alone(rtsp: Served) -> None:
    small = await stream_password(rtsp.node, max_stream="sub")
    elsewhere = await stream_password(rtsp.node, networks=["10.9.0.0/16"])
    other = "21021100011326999999"
    for made, url, wanted in (
        (small, rtsp.url(), (403, "access.sub_only")),
        (elsewhere, rtsp.url(), (403, "access.network")),
        (small, rtsp.url(other), (404, "access.not_found")),
        (small, rtsp.url().replace("/main", "/third"), (404, "access.not_found")),
        (small, f"rtsp://127.0.0.1:{rtsp.port}/", (404, "access.not_found")),
    ):
        client = await rtsp.client()
        answer = await client.signed("DESCRIBE", url, login_of(made))
        assert (answer.status, answer.code) == wanted, url
    assert await rtsp.node.register() == []


async def test_udp_is_refused_so_that_clients_come_back_over_this_connection(rtsp: Served) -> None:
    login = login_of(await stream_password(rtsp.node))
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        await client.signed("DESCRIBE", rtsp.url(), login)
        for offer in ("RTP/AVP;unicast;client_port=5000-5001", "RTP/AVP/UDP;unicast", "RTP/SAVP;unicast", ""):
            answer = await client.signed("SETUP", rtsp.url() + "/trackID=1", login, Transport=offer)
            assert answer.status == 461, offer
        both = f"RTP/AVP;unicast;client_port=5000-5001,{OVER_TCP}"
        answer = await client.signed("SETUP", rtsp.url() + "/trackID=1", login, Transport=both)
    assert answer.status == 200 and "interleaved=0-1" in answer.headers["transport"]


async def test_a_session_is_of_one_stream_and_of_one_password(rtsp: Served) -> None:
    mine, theirs = [login_of(await stream_password(rtsp.node)) for _ in range(2)]
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        await client.signed("DESCRIBE", rtsp.url(), mine)
        setup = await client.signed("SETUP", rtsp.url() + "/trackID=1", mine, Transport=OVER_TCP)
        for method, url, login, session, status in (
            ("PLAY", rtsp.url(), mine, "0" * 32, 454),
            ("PLAY", rtsp.url(), mine, "", 454),
            ("PLAY", rtsp.url(), theirs, setup.session, 459),
            ("PLAY", rtsp.url(stream="sub"), mine, setup.session, 459),
            ("SETUP", rtsp.url(stream="sub"), mine, setup.session, 459),
            ("SETUP", rtsp.url() + "/trackID=1", theirs, setup.session, 459),
            ("SETUP", rtsp.url() + "/trackID=2", mine, setup.session, 404),
        ):
            answer = await client.signed(method, url, login, Session=session, Transport=OVER_TCP)
            assert answer.status == status, (method, url)
        for method in ("TEARDOWN", "GET_PARAMETER", "SET_PARAMETER"):
            assert (await client.ask(method, rtsp.url(), Session="1" * 32)).status == 454
        for method, status in (("RECORD", 501), ("ANNOUNCE", 501), ("PAUSE", 501), ("OPTIONS", 200)):
            answer = await client.ask(method, rtsp.url())
            assert (answer.status, answer.headers["public"]) == (status, rtsp.server.public)
        assert (await client.ask("OPTIONS", "*", Require="x-magic")).status == 551
        assert (await client.signed("PLAY", rtsp.url(), mine, Session=setup.session)).status == 200
        assert (await client.signed("PLAY", rtsp.url(), mine, Session=setup.session)).status == 200, "once more is fine"
        assert len(await rtsp.node.register()) == 1


async def test_a_slow_client_skips_to_key_pictures_and_holds_up_nobody(rtsp: Served) -> None:
    login = login_of(await stream_password(rtsp.node))
    slow, quick = await rtsp.client(), await rtsp.client()
    jumps = rtsp.node.live.hub.counters
    async with rtsp.node.camera.playing(UNITS, again, 0.0005):
        await slow.play(rtsp.url(), login)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads
        await quick.play(rtsp.url(), login)

        async def jumped() -> bool:
            await quick.media(500)
            return jumps.jumps > 0

        await until_async(jumped, 30, "the slow one is dropped forward", every_s=0)
        waiting = [c._writer.transport.get_write_buffer_size() for c in rtsp.server._connections]
        assert max(waiting) < 1024 * 1024
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
        await slow.media(500)


async def test_whoever_falls_silent_is_hung_up_on(node: Rig) -> None:
    login = login_of(await stream_password(node))
    limits = Limits(sign_in_s=0.5, request_s=0.5, session_s=0.6)
    async with served(node, limits) as rtsp, node.camera.playing(UNITS, again, 0.02):
        stranger, half = await rtsp.client(), await rtsp.client()
        half.writer.write(b"OPTIONS rtsp://x/ RTSP/1.0\r\nCSe")
        await stranger.until_closed()
        await half.until_closed()
        watcher, alive = await rtsp.client(), await rtsp.client()
        await watcher.play(rtsp.url(), login)
        session = await alive.play(rtsp.url(), login)
        hung_up = asyncio.create_task(watcher.until_closed())
        while not hung_up.done():
            alive.writer.write(b"$\x01\x00\x04abcd")  # RTCP counts as a sign of life
            await alive.media(5)
        assert (await alive.ask("GET_PARAMETER", rtsp.url(), Session=session)).status == 200
        assert len([row for row in await node.register() if row.closed_ms is None]) == 1


async def test_a_camera_that_changes_its_coding_ends_the_session_and_one_that_goes_away_does_not(rtsp: Served) -> None:
    login = login_of(await stream_password(rtsp.node))
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.02):
        await client.play(rtsp.url(), login)
        await client.media(20)
    rtsp.node.camera.event("offline", {"code": "camera.timeout", "params": {}})
    rtsp.node.camera.config(CONFIG, epoch=1)  # it is back
    rtsp.node.camera.push(*shifted(UNITS, 9_000_000, epoch=1)[:10])
    await client.media(10)
    hevc = encode_h265(0.4)
    rtsp.node.camera.config(stream_config("h265", hevc), epoch=2)
    rtsp.node.camera.push(*access_units("h265", hevc, epoch=2))
    assert b"media.rtsp_changed" in await client.until_closed()
    answer = await (await rtsp.client()).signed("DESCRIBE", rtsp.url(), login)
    assert b"H265/90000" in answer.body


async def test_a_camera_without_a_picture_says_why(rtsp: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PICTURE_S", 0.5)
    await rtsp.node.camera.stop()
    client = await rtsp.client()
    answer = await client.signed("DESCRIBE", rtsp.url(), login_of(await stream_password(rtsp.node)))
    assert (answer.status, answer.code) == (503, "media.live_recorder_away")


async def test_more_strangers_from_one_address_than_a_recorder_needs_are_not_heard(rtsp: Served) -> None:
    login = login_of(await stream_password(rtsp.node))
    waiting = [await rtsp.client() for _ in range(40)]
    closed = await asyncio.gather(*(_is_turned_away(client) for client in waiting))
    assert sum(closed) == 8 and rtsp.server.counters.turned_away == 8
    async with rtsp.node.camera.playing(UNITS, again, 0.02):
        known = next(client for client, gone in zip(waiting, closed, strict=True) if not gone)
        await known.play(rtsp.url(), login)
        assert (await (await rtsp.client()).ask("OPTIONS", "*")).status == 200


async def _is_turned_away(client: Client) -> bool:
    try:
        return (await client.ask("OPTIONS", "*")).status != 200
    except (OSError, EOFError):
        return True


async def test_what_is_stored_is_sealed_and_no_password(rtsp: Served) -> None:
    made = await stream_password(rtsp.node)
    row = await rtsp.node.services.read(lambda c: stream_passwords.by_id(c, [made["id"]])[made["id"]])
    assert made["password"] not in repr(row)
    sealed = await rtsp.node.services.read(lambda c: c.execute(select(credential.c.sealed)).scalar_one())
    assert made["password"].encode() not in sealed
    security = await rtsp.node.sign_in("security_admin")
    listed = await rtsp.node.http.get("/api/v1/stream-passwords", headers=security)
    noted = await rtsp.node.services.read(lambda c: repr(list(c.execute(select(audit)))))
    assert made["password"] not in listed.text and made["password"] not in noted


async def test_a_stream_password_works_on_when_the_sealing_key_is_exchanged(rtsp: Served) -> None:
    made = await stream_password(rtsp.node)
    query = select(credential.c.key_id, credential.c.sealed)
    before = await rtsp.node.services.read(lambda c: tuple(c.execute(query).one()))
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.02):
        await client.play(rtsp.url(), login_of(made))
        done = await asyncio.to_thread(rotate_sealing, rtsp.node.services.settings, "os:test")
        assert (done.rows, done.unreadable) == (1, 0)
        after = await rtsp.node.services.read(lambda c: tuple(c.execute(query).one()))
        assert after[0] == done.key and not {*before} & {*after}
        await client.media(50)
        assert (await (await rtsp.client()).signed("DESCRIBE", rtsp.url(), login_of(made))).status == 200


@pytest.mark.fault("S1")
def test_a_method_without_a_policy_does_not_start() -> None:
    class Leaking(Connection):
        async def on_record(self, request: Any) -> bytes:
            return b"secrets"

    with pytest.raises(LookupError, match="RECORD"):
        declared(Leaking)
    assert all(isinstance(policy, Policy) for policy, _ in declared(Connection).values())
