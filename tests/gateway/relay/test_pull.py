"""Two nodes on loopback: pairing, directory, pull, live fan-out, recorded bytes through the cache, purge."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from config.clock import ManualClock
from config.errors import TiergateError
from gateway.live.wire import HEAD_BYTES, Config, Event, Unit, acknowledge, parse_body, parse_head, watch_request
from gateway.relay import pairing
from gateway.relay.pulls import PullOrder
from storage.catalog import cache, leases, links, peers
from storage.catalog.tables import audit, cache_object, exchange_rule, register
from storage.catalog.tables import lease as lease_table
from tests.gateway.relay.pair import CAMERA, OTHER, SECRET, Node, link_up, node, pair
from tests.parts.wait import until_async
from tiering import server
from tiering.cache import tier_scope_check
from tiering.client import PeerClient
from tiering.lease import LeaseDecision, Person, decide_request, from_document, renew

DUTY = Person("王值班", "街道综治中心")
SECOND = Person("李科长", "街道综治中心")


def order(minutes: int = 30, **more: object) -> PullOrder:
    values: dict[str, object] = {
        "mechanism": "emergency", "case_no": "A-7", "reason": "fire at the gate", "requester": DUTY, "persons": (DUTY,),
        "cameras": (CAMERA,), "minutes": minutes, "actor": "user:duty",
    }  # fmt: skip
    return PullOrder(**{**values, **more})  # type: ignore[arg-type]  # fields by name


async def pull(upper: Node, **more: object) -> str:
    answer = await upper.control.pull(order(**more))  # type: ignore[arg-type]  # as above
    return str(answer["leases"][0])


async def watch(
    upper: Node, lease: str, camera: str = CAMERA, stream: str = "main"
) -> AsyncIterator[Config | Unit | Event]:
    reader, writer = await asyncio.open_unix_connection(upper.settings.paths.run_dir / "live" / "relay.sock")
    try:
        writer.write(watch_request(camera, stream, lease))
        while True:
            try:
                size, kind = parse_head(await reader.readexactly(HEAD_BYTES))
            except asyncio.IncompleteReadError:
                return
            body = await reader.readexactly(size)
            writer.write(acknowledge(size))
            yield parse_body(kind, body)
    finally:
        writer.close()


async def first(messages: AsyncIterator[Config | Unit | Event], kind: type, timeout_s: float = 10.0) -> object:
    async with asyncio.timeout(timeout_s):
        async for message in messages:
            if isinstance(message, kind):
                return message
    raise AssertionError(f"no {kind.__name__} came")


async def ended(messages: AsyncIterator[Config | Unit | Event], timeout_s: float = 10.0) -> str:
    async with asyncio.timeout(timeout_s):
        async for message in messages:
            if isinstance(message, Event) and message.state == "ended":
                return str((message.reason or {}).get("code"))
    raise AssertionError("the stream broke off without a word")


def objects(node_: Node) -> list[str]:
    return [o.key for o in node_.cache_store.list()]


async def test_a_mechanism_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, _):
        with pytest.raises(TiergateError) as caught:
            await pull(upper, mechanism="drill")
        reason = caught.value.reason
        assert (reason.code, reason.params["known"]) == ("tier.mechanism_none", "emergency, supervision")


async def test_pairing_carries_the_directory_up_and_never_a_restricted_camera(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        found = upper.catalog.read(peers.listed)
        assert [c.camera_id for c in found] == [CAMERA, OTHER]
        assert SECRET not in json.dumps([c.details for c in found])
        assert found[0].region_name == "community region"
        above, below = lower.catalog.read(links.all_of), upper.catalog.read(links.all_of)
        assert (above[0].peer_role, below[0].peer_role) == ("upper", "lower")
        assert above[0].public_key == upper.keys.node_public and below[0].public_key == lower.keys.node_public
        with pytest.raises(TiergateError) as again:
            code, _ = await pairing.invite(lower.catalog, lower.service.card, "upper", "user:test", lower.now_ms)
            await upper.control.accept_link(code, "user:duty")
            await upper.control.accept_link(code, "user:duty")
        assert again.value.reason.code == "tier.invite_over"


async def test_only_the_next_tier_can_be_linked(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, lower), node(tmp_path / "city", lower.clock, "city", "2101") as city:
        code, _ = await pairing.invite(lower.catalog, lower.service.card, "upper", "user:test", lower.now_ms)
        with pytest.raises(TiergateError) as refused:
            await city.control.accept_link(code, "user:duty")
        assert refused.value.reason.code == "tier.not_adjacent"


async def test_five_watchers_share_one_upstream_stream_and_one_register_row(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper)
        streams = [watch(upper, lease) for _ in range(5)]
        units = [await first(s, Unit) for s in streams]
        assert all(isinstance(u, Unit) and u.unit.key for u in units)
        assert lower.pictures.opened == [(CAMERA, "main")] and lower.pictures.running == 1
        rows = lower.catalog.read(lambda c: c.execute(select(register)).all())
        assert [(r.person, r.unit, r.lease_id, r.case_no, r.function) for r in rows] == [
            (DUTY.name, DUTY.unit, lease, "A-7", "live")
        ]
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        await until_async(lambda: _value(lower.pictures.running == 0), 10, "the upstream closes when nobody watches")
        await until_async(lambda: _value(_closed(lower)), 10, "the register row is closed")
        assert objects(upper) == []  # live pictures never touch a disk


def _closed(node_: Node) -> bool:
    rows = node_.catalog.read(lambda c: c.execute(select(register)).all())
    return bool(rows) and all(r.closed_ms is not None and r.bytes for r in rows)


async def _value(value: object) -> object:
    return value


@pytest.mark.fault("S14")
async def test_of_two_leases_on_one_camera_the_row_names_the_one_that_is_asked_under(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        segment = lower.record(CAMERA, lower.now_ms - 600_000)
        await pull(upper, minutes=60, case_no="B-1", reason="a fight", requester=SECOND, persons=(SECOND,))
        lease = await pull(upper)
        stream = watch(upper, lease)
        await first(stream, Unit)
        await upper.control.read(lease, segment.id, CAMERA, "main", 0, 1000)
        rows = lower.catalog.read(lambda c: c.execute(select(register)).all())
        assert sorted((r.function, r.lease_id, r.case_no, r.reason, r.person) for r in rows) == [
            (function, lease, "A-7", "fire at the gate", DUTY.name) for function in ("live", "playback")
        ]
        lower.clock.advance(30 * 60 + 1)  # the other one has half an hour left
        assert (await ended(stream, 8)).startswith(("tier.lease_", "access."))


def lying(honest: Callable[..., LeaseDecision], **lies: Any) -> Callable[..., LeaseDecision]:
    """A rule of a lower node that grants something else than it decided."""

    def decide(*asked: Any) -> LeaseDecision:
        decision = honest(*asked)
        assert decision.terms is not None, decision.reason
        return replace(decision, terms=replace(decision.terms, **lies))

    return decide


@pytest.mark.fault("S13")
async def test_a_lower_node_that_answers_with_another_lease_than_was_asked_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, _):
        lies: dict[str, dict[str, Any]] = {
            "max_stream": {"max_stream": "main"}, "range": {"from_ms": 1}, "persons": {"persons": (SECOND,)},
            "approver": {"approver": SECOND}, "confirm_by_ms": {"confirm_by_ms": None},
        }  # fmt: skip
        for field, lie in lies.items():
            with monkeypatch.context() as patch, pytest.raises(TiergateError) as refused:
                patch.setattr(server, "decide_request", lying(decide_request, **lie))
                await pull(upper, max_stream="sub")
            assert (refused.value.reason.code, refused.value.reason.params) == ("tier.lease_differs", {"fields": field})
        assert upper.catalog.read(lambda c: c.execute(select(lease_table)).all()) == []


@pytest.mark.fault("S13")
async def test_a_lower_node_that_renews_another_lease_than_it_granted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        id_ = await pull(upper, max_stream="sub")
        await upper.control.confirm(id_, SECOND, "user:second")
        held = upper.catalog.read(lambda c: leases.get(c, id_, "held"))
        granted = lower.catalog.read(lambda c: leases.get(c, id_, "granted"))
        assert granted is not None
        kept = server.renewed_values(from_document(granted.document), granted.document, granted.signature)
        lies: dict[str, dict[str, Any]] = {
            "max_stream": {"max_stream": "main"}, "from_ms": {"from_ms": 1}, "to_ms": {"to_ms": lower.now_ms + 10**9},
            "persons": {"persons": (SECOND,)}, "expires_ms": {"expires_ms": lower.now_ms + 10**9},
            "id": {"id": "0" * 26},
        }  # fmt: skip
        for field, lie in lies.items():
            with monkeypatch.context() as patch, pytest.raises(TiergateError) as refused:
                patch.setattr(server, "renew", lying(renew, **lie))
                await upper.control.renew(id_, "still burning", 60, "user:duty")
            assert refused.value.reason.code == "tier.lease_differs"
            assert field in refused.value.reason.params["fields"].split(", ")
            lower.catalog.write(lambda c: leases.change(c, id_, "granted", kept))
        assert upper.catalog.read(lambda c: leases.get(c, id_, "held")) == held
        await upper.control.renew(id_, "still burning", 60, "user:duty")
        renewed = upper.catalog.read(lambda c: leases.get(c, id_, "held"))
        assert renewed is not None and renewed.expires_ms == upper.now_ms + 60 * 60_000


@pytest.mark.fault("S16")
async def test_a_renewal_that_comes_after_the_end_gives_no_cache_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, _):
        lease = await pull(upper)
        renew_below = PeerClient.renew

        async def overtaken(client: PeerClient, *asked: Any) -> Any:
            answer = await renew_below(client, *asked)
            await upper.service.pulls.end(lease, "released", "user:second")
            return answer

        monkeypatch.setattr(PeerClient, "renew", overtaken)
        with pytest.raises(TiergateError) as over:
            await upper.control.renew(lease, "still burning", 60, "user:duty")
        assert over.value.reason.code == "tier.lease_ended"
        row = upper.catalog.read(lambda c: leases.get(c, lease, "held"))
        assert row is not None and row.ended_ms == row.cache_until_ms == upper.now_ms
        actions = upper.catalog.read(lambda c: list(c.execute(select(audit.c.action)).scalars()))
        assert "lease.end" in actions and "lease.renew" not in actions


async def test_units_arrive_as_they_left(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper)
        got, stream = [], watch(upper, lease)
        async with asyncio.timeout(10):
            async for message in stream:
                if isinstance(message, Config):
                    assert message.stream == lower.pictures.config
                if isinstance(message, Unit):
                    got.append(message.unit)
                    if len(got) == 25:
                        break
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        from tests.media import access_units

        sent = access_units("h264", lower.pictures.packets)
        assert [(u.dts, u.pts, u.duration, u.wall_ns, u.key, u.data) for u in got] == [
            (u.dts, u.pts, u.duration, u.wall_ns, u.key, u.data) for u in sent
        ]


async def test_a_full_line_gives_sub_and_then_says_no(tmp_path: Path) -> None:
    async with pair(tmp_path, max_main=1, max_sub=1) as (upper, lower):
        lease = await pull(upper, cameras=(CAMERA, OTHER))
        main, sub = watch(upper, lease), watch(upper, lease, OTHER)
        await first(main, Unit)
        config = await first(sub, Config)
        assert isinstance(config, Config) and config.stream.video.width == 160
        assert lower.pictures.opened == [(CAMERA, "main"), (OTHER, "sub")]
        assert await ended(watch(upper, lease, CAMERA, "sub")) == "tier.line_full"
        for stream in (main, sub):
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator


@pytest.mark.fault("S16")
@pytest.mark.parametrize("how", ["expiry", "release", "revoke", "suspend"])
async def test_an_ended_lease_stops_its_running_stream(tmp_path: Path, how: str) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper)
        stream = watch(upper, lease)
        await first(stream, Unit)
        if how == "expiry":
            lower.clock.advance(30 * 60 + 1)
        elif how == "release":
            await upper.control.end(lease, "released", "user:duty")
        elif how == "revoke":
            lower.catalog.write(lambda c: leases.end(c, lease, "granted", lower.now_ms, "revoked", lower.now_ms))
        else:
            link = lower.catalog.read(links.all_of)[0]
            lower.catalog.write(lambda c: links.change(c, link.id, {"suspended_ms": lower.now_ms}))
        code = await ended(stream, 8)
        assert code.startswith(("tier.lease_", "tier.link_suspended", "access."))
        await until_async(lambda: _value(lower.pictures.running == 0), 5, "the lower node stops sending")
        assert await ended(watch(upper, lease)) != ""


async def test_unconfirmed_becomes_sub_and_loses_cache_and_confirmed_does_not(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        segment = lower.record(CAMERA, lower.now_ms - 600_000)
        lease, other = await pull(upper, minutes=90), await pull(upper, minutes=90, cameras=(OTHER,))
        await upper.control.read(lease, segment.id, CAMERA, "main", 0, 1000)
        assert objects(upper)
        reads = lower.footage.reads
        with pytest.raises(TiergateError) as alone:
            await upper.control.confirm(other, DUTY, "user:duty")
        assert alone.value.reason.code == "tier.confirm_second_person"
        await upper.control.confirm(other, SECOND, "user:second")
        stream = watch(upper, lease)
        await first(stream, Unit)
        lower.clock.advance(31 * 60)
        async with asyncio.timeout(8):
            async for message in stream:
                if isinstance(message, Config) and message.stream.video.width == 160:
                    break
        await until_async(lambda: _value(not objects(upper)), 8, "the cache of an unconfirmed lease is gone")
        with pytest.raises(TiergateError) as gone:
            await upper.control.read(lease, segment.id, CAMERA, "main", 0, 1000)
        assert gone.value.reason.code == "tier.unconfirmed"
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator

        await upper.control.confirm(lease, SECOND, "user:second")  # late, and everything is as before
        for _ in range(3):
            await upper.control.read(lease, segment.id, CAMERA, "main", 0, 1000)
        assert lower.footage.reads == reads + 1 and objects(upper)
        assert upper.catalog.read(cache.kept_bytes) > 0
        stores = (upper.store, upper.cache_store)
        assert tier_scope_check(upper.catalog, stores, upper.keys.node_id, upper.now_ms).findings == ()
        confirmed = watch(upper, other, OTHER)
        config = await first(confirmed, Config)
        assert isinstance(config, Config) and config.stream.video.width == 320
        await confirmed.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_recorded_bytes_are_the_same_come_once_and_are_gone_after_cache_until(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        segment = lower.record(CAMERA, lower.now_ms - 600_000)
        assert objects(upper) == []
        lease = await pull(upper, cache_minutes=10)
        index = await upper.control.index(lease, CAMERA, "main", lower.now_ms - 3_600_000, lower.now_ms)
        assert [s.id for s in index.segments] == [segment.id] and index.runs[0].width == 320
        whole = await upper.control.read(lease, segment.id, CAMERA, "main", 0, segment.bytes)
        assert whole == lower.footage_bytes(segment) and len(whole) == index.segments[0].bytes
        reads = lower.footage.reads
        part = await upper.control.read(lease, segment.id, CAMERA, "main", 600_001, 77)
        assert part == whole[600_001:600_078] and lower.footage.reads == reads
        kept = objects(upper)
        assert len(kept) == 2 and all(whole[:64] not in upper.cache_store.read(k) for k in kept)
        rows = lower.catalog.read(lambda c: c.execute(select(register)).all())
        assert [(r.function, r.lease_id, r.person) for r in rows] == [("playback", lease, DUTY.name)]
        stores = (upper.store, upper.cache_store)
        assert tier_scope_check(upper.catalog, stores, upper.keys.node_id, upper.now_ms).findings == ()

        upper.clock.advance(30 * 60 + 10 * 60 + 1)
        report = tier_scope_check(upper.catalog, stores, upper.keys.node_id, upper.now_ms)
        assert {f.code for f in report.findings} == {"tier.scope_overdue"} or not objects(upper)
        await until_async(lambda: _value(not objects(upper)), 10, "the cache is empty")
        assert not list((upper.settings.paths.keys_dir / "leases").iterdir())
        await until_async(lambda: _value(_purged(lower, lease)), 10, "the lower node has the purge statement")
        await until_async(lambda: _value(_acknowledged(upper, lease)), 10, "the upper node knows that it was taken")
        assert tier_scope_check(upper.catalog, stores, upper.keys.node_id, upper.now_ms).findings == ()
        actions = lower.catalog.read(lambda c: list(c.execute(select(audit.c.action)).scalars()))
        assert {"link.add", "lease.grant", "lease.purged"} <= set(actions)


def _purged(node_: Node, lease: str) -> bool:
    row = node_.catalog.read(lambda c: leases.get(c, lease, "granted"))
    return row is not None and row.purged_ms is not None and row.purge_statement is not None


def _acknowledged(node_: Node, lease: str) -> bool:
    row = node_.catalog.read(lambda c: leases.get(c, lease, "held"))
    return row is not None and row.purge_statement is not None and "acknowledged_ms" in row.purge_statement


async def test_purges_that_meet_are_one(tmp_path: Path) -> None:
    """Who ends a pull purges at once, and so does the loop: one entry in the audit log, one statement."""
    async with pair(tmp_path) as (upper, lower):
        segment = lower.record(CAMERA, lower.now_ms - 600_000)
        ended = []
        for _ in range(5):
            lease = await pull(upper)
            await upper.control.read(lease, segment.id, CAMERA, "main", 0, segment.bytes)
            await asyncio.gather(*(upper.control.end(lease, "released", "user:duty") for _ in range(4)))
            ended.append(lease)
        assert objects(upper) == []
        of_purge = select(audit.c.subject).where(audit.c.action == "lease.purge")
        assert sorted(upper.catalog.read(lambda c: list(c.execute(of_purge).scalars()))) == sorted(ended)


@pytest.mark.fault("S16")
async def test_a_node_that_was_down_purges_before_it_serves(tmp_path: Path) -> None:
    clock = ManualClock()
    async with node(tmp_path / "upper", clock, "street", "210102001") as upper:
        async with node(tmp_path / "lower", clock, "community", "210102001001") as lower:
            await link_up(upper, lower)
            segment = lower.record(CAMERA, lower.now_ms - 60_000)
            lease = await pull(upper)
            await upper.control.read(lease, segment.id, CAMERA, "main", 0, 100)
            assert objects(upper)
    clock.advance(4 * 86_400)
    async with node(tmp_path / "upper", clock, "street", "210102001") as again:
        assert objects(again) == []
        assert again.catalog.read(lambda c: list(c.execute(select(cache_object.c.purged_ms)).scalars())) == [
            again.now_ms
        ]


async def test_the_quota_passes_through_and_keeps_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        node(tmp_path / "upper", clock, "street", "210102001", cache_max_bytes=1000) as upper,
        node(tmp_path / "lower", clock, "community", "210102001001") as lower,
    ):
        await link_up(upper, lower)
        segment = lower.record(CAMERA, lower.now_ms - 60_000)
        lease = await pull(upper)
        data = await upper.control.read(lease, segment.id, CAMERA, "main", 10, 50)
        assert data == lower.footage_bytes(segment)[10:60] and objects(upper) == []


@pytest.mark.fault("S15")
async def test_what_is_not_in_the_lease_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        old = lower.record(CAMERA, lower.now_ms - 5 * 3_600_000)
        foreign = lower.record(OTHER, lower.now_ms - 60_000)
        lease = await pull(upper)
        assert await ended(watch(upper, lease, OTHER)) == "tier.camera_not_in_lease"
        for row, code in ((old, "tier.range_not_in_lease"), (foreign, "tier.camera_not_in_lease")):
            with pytest.raises(TiergateError) as refused:
                await upper.control.read(
                    lease, row.id, CAMERA, "main", 0, 10
                )  # what we say of it is not believed below
            assert refused.value.reason.code == code
        with pytest.raises(TiergateError) as secret:
            await pull(upper, cameras=(SECRET,))
        assert secret.value.reason.code == "tier.no_lower_camera"
        with pytest.raises(TiergateError) as bare:
            await pull(upper, case_no=" ")
        assert bare.value.reason.code == "tier.case_and_reason"
        with pytest.raises(TiergateError) as unapproved:
            await pull(upper, mechanism="supervision")
        assert unapproved.value.reason.code == "tier.approver_needed"


@pytest.mark.fault("S14")
async def test_an_altered_row_is_no_lease(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper)
        row = lower.catalog.read(lambda c: leases.get(c, lease, "granted"))
        assert row is not None
        forged = row.document.replace(CAMERA, OTHER)
        lower.catalog.write(lambda c: leases.change(c, lease, "granted", {"document": forged}))
        assert await ended(watch(upper, lease)) == "tier.lease_signature"


@pytest.mark.fault("S14")
async def test_unsigned_forged_and_replayed_requests_are_refused(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        import secrets

        from gateway.relay.adapters import KeySigner
        from tiering.signing import sign_request

        target = "/tier/v1/directory"
        signer = KeySigner(upper.keys)

        def headers(now_ms: int | None = None, receiver: str | None = None, path: str = target) -> dict[str, str]:
            to = receiver or lower.keys.node_id
            return sign_request(signer, to, "GET", path, b"", now_ms or lower.now_ms, secrets.token_bytes(16))

        good, stranger = headers(), KeySigner(lower.keys)
        strange = sign_request(stranger, lower.keys.node_id, "GET", target, b"", lower.now_ms, secrets.token_bytes(16))
        cases = [
            ({}, "tier.unsigned"),
            (good, None),
            (good, "tier.replayed"),
            (headers(lower.now_ms - 31_000), "tier.clock_skew"),
            (headers(receiver=upper.keys.node_id), "tier.signature_bad"),
            (headers(path="/tier/v1/leases"), "tier.signature_bad"),
            (strange, "tier.peer_unknown"),
            ({**strange, "tiergate-node": upper.keys.node_id}, "tier.signature_bad"),
        ]
        async with httpx.AsyncClient(trust_env=False) as http:
            for sent, code in cases:
                answer = await http.get(lower.service.url + target, headers=sent)
                assert (answer.status_code, answer.json().get("code")) == ((200, None) if code is None else (401, code))


async def test_a_lower_node_that_is_away_is_said_and_comes_back(tmp_path: Path) -> None:
    from tests.parts.relay import TcpRelay

    async with pair(tmp_path) as (upper, lower):
        port = lower.service.url.rpartition(":")[2]
        with contextlib.ExitStack() as stack:
            between = stack.enter_context(TcpRelay(int(port)))
            link = upper.catalog.read(links.all_of)[0]
            url = f"http://127.0.0.1:{between.port}"
            upper.catalog.write(lambda c: links.change(c, link.id, {"url": url}))
            lease = await pull(upper)
            stream = watch(upper, lease)
            await first(stream, Unit)
            between.reset()
            event = await first(stream, Event)
            assert isinstance(event, Event) and event.state == "offline"
            await first(stream, Unit)
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_without_an_exchange_rule_nothing_is_even_asked_for(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, _lower):
        link = (await upper.catalog.aread(lambda c: links.all_of(c, "lower")))[0]
        await upper.catalog.awrite(
            lambda c: c.execute(update(exchange_rule).where(exchange_rule.c.peer == link.id).values(mode="one_way_out"))
        )
        with pytest.raises(TiergateError) as caught:
            await upper.control.pull(order())
        assert caught.value.reason.code == "tier.exchange_none"


async def test_half_a_block_that_a_killed_relay_left_goes_at_the_next_start(tmp_path: Path) -> None:
    """No listing shows it, so no purge would find it."""
    async with node(tmp_path / "n", ManualClock(), "street", "210102001") as one:
        left = one.cache_store.root / ".incoming" / "half"
        left.write_bytes(b"sealed bytes of a lower tier")
        assert objects(one) == []
        one.service.ensure_cache()
        assert not left.exists()
