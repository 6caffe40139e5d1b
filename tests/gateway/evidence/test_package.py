"""An evidence package through the whole web process: what is in it, who gets one, and what stands written of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, delete, insert, update

from config.errors import TiergateError
from gateway.cli import app as cli
from gateway.evidence import contents, sending, verifier
from gateway.playback.footage import Piece
from gateway.web.routers import exports
from storage import damage
from storage.audit import log
from storage.audit.signed import Signer
from storage.catalog import grants, places, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.grants import GrantRow
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import audit, segment
from storage.catalog.tables import camera as camera_table
from storage.objects import make_store
from storage.objects.base import unavailable
from storage.objects.folder import FolderStore
from tests.gateway.evidence.packages import (
    CONFIG,
    GAP,
    UNITS,
    Judge,
    ask,
    files_of,
    footage_with_a_gap,
    later,
    manifest_of,
    some_id,
)
from tests.gateway.playback.test_damaged import FROM_MS, TO_MS, Place, with_evidence
from tests.gateway.watching import WALL_MS, Rig, rig
from tests.parts.wait import until_async
from tests.storage.footage import CAMERA


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path / "node") as made:
        yield made


async def person_with(node: Rig, conditions: dict[str, Any], *functions: str) -> dict[str, str]:
    """Somebody without a role who was granted `functions` on the camera."""
    headers = await node.sign_in()
    principal = await node.services.principals.of(headers["Authorization"], None)
    assert principal is not None
    value = {"effect": "allow", "resources": {"cameras": [node.camera_id]}, "functions": list(functions),
             "conditions": conditions}  # fmt: skip
    row = GrantRow(some_id(), "user", principal.id, value, node.services.now_ms(), "admin")
    await node.services.write(lambda c: grants.add_grant(c, row))
    return headers


@pytest.mark.fault("S20")
async def test_a_package_of_several_cameras_with_a_gap_is_whole_and_its_segments_are_the_recorded_files(
    node: Rig, tmp_path: Path
) -> None:
    other = await footage_with_a_gap(node)
    await node.services.write(lambda c: c.execute(update(segment).values(time_trust="synced")))
    hold = HoldRow("H", (node.camera_id,), WALL_MS, WALL_MS + 1000, "o", "r", "B-9", None, "3_months", 1, 1, None, None)
    await node.services.write(lambda c: retention_rows.add_hold(c, hold))
    answer = await ask(node, await node.sign_in("duty"), other)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="evidence_{node.camera_id}_and_1_more_20260921T221320_20260921T221334.zip"'
    )
    files = files_of(answer.content)
    shown = (await node.http.get("/api/v1/node")).json()["fingerprint"]
    judge = Judge(tmp_path / "elsewhere", files["verify_evidence.py"])
    status, said = judge.judge(answer.content, "--key", shown)
    assert (status, said["whole"], said["key_compared"]) == (0, True, True)
    manifest = manifest_of(answer.content)
    assert [camera["id"] for camera in manifest["cameras"]] == [node.camera_id, other.camera_id]
    for camera in manifest["cameras"]:
        rows = await node.services.read(partial(rows_of, camera_id=camera["id"]))
        assert [s["id"] for s in camera["segments"]] == [row.id for row in rows]
        for row, listed in zip(rows, camera["segments"], strict=True):
            spooled = node.spool.read(row.camera_id, row.id, 0, row.bytes)
            whole = spooled or stored(node).read(row.object_key, 0, row.bytes)
            assert files[listed["file"]] == whole and len(whole) == row.bytes
            assert b"x264 - core" in whole or row is not rows[0], "the encoder's own SEI is not there any more"
            assert listed["recorded_sha256"] == row.sha256.hex() and "damaged" not in listed
            assert (listed["time_trust"], listed["run"]) == (row.time_trust, row.run_id)
            assert "object_key" not in listed
    assert json.loads(answer.headers["x-tiergate-gaps"]) == [
        {"camera": node.camera_id, "from_ms": GAP.from_ms, "to_ms": GAP.to_ms},
        {"camera": other.camera_id, "from_ms": WALL_MS + 4_000, "to_ms": WALL_MS + 14_000},
    ]
    assert (answer.headers["x-tiergate-damaged"], answer.headers["x-tiergate-not-listed"]) == ("[]", "0")
    gate, yard = manifest["cameras"]
    assert [(gap["cause"], gap["from_ms"], gap["to_ms"]) for gap in gate["gaps"]] == [
        ("network", GAP.from_ms, GAP.to_ms)
    ]
    assert gate["segments"][0]["holds"] == ["H"] and yard["segments"][0]["holds"] == []
    assert {s.get("class") for s in gate["segments"]} == {"default"}
    assert {run["codec"][:4] for run in gate["runs"]} == {"avc1"} and len(gate["runs"]) == 2
    assert (manifest["case_no"], manifest["reason"], manifest["purpose"]) == ("A-7", "fight at the gate", "evidence")
    assert manifest["node"]["id"] == node.services.keys.node_id
    assert b"B-9" not in answer.content, "the case of a hold is nobody's who gets another case's evidence"
    for name in ("README.txt", "README.zh-CN.txt"):
        assert b"verify_evidence.py" in files[name]


def rows_of(connection: Connection, camera_id: str) -> list[SegmentRow]:
    return segments.segments_between(connection, camera_id, "main", WALL_MS, WALL_MS + 14_000)


def stored(node: Rig) -> FolderStore:
    store = make_store(node.services.settings)
    assert isinstance(store, FolderStore)
    return store


@pytest.mark.fault("S20", "S19")
async def test_the_register_and_the_audit_log_name_what_left(node: Rig) -> None:
    other = await footage_with_a_gap(node)
    answer = await ask(node, await node.sign_in("duty"), other)
    manifest = manifest_of(answer.content)

    async def closed() -> bool:
        return all(row.closed_ms is not None for row in await node.register())

    await until_async(closed, 10, "both rows are closed")  # after the last byte
    by_id = {row.id: row for row in await node.register()}
    rows = [by_id[camera["register"]] for camera in manifest["cameras"]]
    assert len(by_id) == 2
    assert [(r.camera_id, r.function, r.purpose, r.case_no, r.result, r.watermark) for r in rows] == [
        (one.camera_id, "export", "evidence", "A-7", "ended", False) for one in (node, other)
    ]
    assert sum(row.bytes for row in rows) == len(answer.content)
    (entry,) = await node.services.read(lambda c: log.tail(c, 5, action=verifier.AUDIT_ACTION))
    assert entry.subject == manifest["package"]
    assert entry.details["cameras"] == [node.camera_id, other.camera_id]
    assert entry.details["registers"] == [row.id for row in rows]


@pytest.mark.fault("S20")
async def test_an_ordinary_player_plays_a_segment(node: Rig, tmp_path: Path) -> None:
    await node.record(CONFIG, UNITS)
    files = files_of((await ask(node, await node.sign_in("duty"))).content)
    (name,) = [name for name in files if name.endswith(".mp4")]
    path = tmp_path / "segment.mp4"
    path.write_bytes(files[name])
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "framemd5", "-"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    assert sum(1 for line in done.stdout.splitlines() if line and not line.startswith("#")) == len(UNITS)


async def test_whole_segments_leave_only_where_their_whole_time_may_be_seen(node: Rig) -> None:
    """A segment is not cut: the time beyond the window is asked for, decided about and registered too."""
    await node.record(CONFIG, UNITS, segment_ms=60_000)
    duty = await node.sign_in("duty")
    manifest = manifest_of((await ask(node, duty, from_s=1, to_s=2)).content)
    assert manifest["cameras"][0]["segments"][0]["start_ms"] == WALL_MS
    (row,) = await node.register()
    assert (row.from_ms, row.to_ms) == (WALL_MS, WALL_MS + 4000)
    limited = {"footage_from_ms": WALL_MS + 1000, "footage_to_ms": WALL_MS + 2000}
    headers = await person_with(node, limited, "export", "hold", "playback")
    answer = await ask(node, headers, from_s=1, to_s=2)
    assert (answer.status_code, answer.json()["code"]) == (403, "access.footage_outside")
    assert len(await node.register()) == 1


@pytest.mark.fault("S20")
async def test_originals_of_every_camera_or_nothing(node: Rig) -> None:
    other = await footage_with_a_gap(node)
    exporter = await person_with(node, {}, "export")
    holder = await person_with(node, {}, "export", "hold")
    operator = await node.sign_in("operator")
    for headers, cameras, status, code in (
        (exporter, (), 403, "access.original"),
        (operator, (), 403, "access.no_function"),
        (holder, (other,), 404, "access.not_found"),  # of the second camera
        ({}, (), 401, "access.not_signed_in"),
    ):
        answer = await ask(node, headers, *cameras)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    # Nor is it told whether there is footage at all.
    assert (await ask(node, exporter, from_s=50, to_s=60)).json()["code"] == "access.original"
    assert await node.register() == []
    assert (await ask(node, holder)).status_code == 200


async def test_what_a_package_cannot_be_is_said(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await footage_with_a_gap(node)
    headers = await node.sign_in("duty")
    refused: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"reason": " x "}, 422, "media.play_reason_short"),
        ({"from_s": 50.0, "to_s": 60.0}, 404, "media.play_nothing"),
        ({"from_s": 4.0, "to_s": 4.0}, 422, "time.range_empty"),
        ({"to_s": 90_000.0}, 413, "time.range_too_long"),
        ({"purpose": "fun"}, 403, "access.purpose_unknown"),
    )
    for more, status, code in refused:
        answer = await ask(node, headers, **more)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    with monkeypatch.context() as patched:
        honest = node.services.looks.decide

        async def decide(*who: Any, **what: Any) -> Any:
            resource, decision = await honest(*who, **what)
            return replace(resource, origin="lower"), decision

        patched.setattr(node.services.looks, "decide", decide)
        assert (await ask(node, headers)).json()["code"] == "media.evidence_own_only"
    many = {"camera": [node.camera_id] * 17, "from": "1", "to": "2"}
    assert (await node.http.get("/api/v1/exports/evidence.zip", params=many, headers=headers)).status_code == 422
    monkeypatch.setattr(contents, "MOST_SEGMENTS", 3)
    answer = await ask(node, headers, other)
    assert (answer.status_code, answer.json()["code"]) == (413, "media.evidence_too_much")
    assert await node.register() == []


def keeper_signs(node: Rig) -> str | None:
    keys = node.services.keys
    return Signer(node.services.catalog, stored(node), keys.node_id, keys.node).write(node.services.now_ms())


async def signed_log(node: Rig) -> None:
    """One entry, and its head in the store."""
    stored(node).ensure()
    await node.services.write(lambda c: log.append(c, 1, "user:x", "camera.add", "gate", {}))
    assert keeper_signs(node) is not None


@pytest.mark.fault("S18")
@pytest.mark.parametrize("kept_by", ["the store", "the catalog alone"])
async def test_over_a_cut_log_there_is_no_package(node: Rig, monkeypatch: pytest.MonkeyPatch, kept_by: str) -> None:
    await node.record(CONFIG, UNITS)
    headers = await node.sign_in("duty")
    await signed_log(node)
    await node.services.write(lambda c: c.execute(delete(audit)))
    if kept_by == "the catalog alone":
        assert keeper_signs(node) is None, "it tells of the cut"
        store_is_away(monkeypatch)
    answer = await ask(node, headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "ops.audit_cut")
    assert await node.register() == []


@pytest.mark.fault("S18")
async def test_a_store_that_is_away_keeps_nobody_from_evidence_that_is_in_the_spool(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.record(CONFIG, UNITS)
    headers = await node.sign_in("duty")
    store_is_away(monkeypatch)
    assert (await ask(node, headers)).status_code == 200


def store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise unavailable("refused")

    monkeypatch.setattr(FolderStore, "list", away)


@pytest.mark.fault("S18")
async def test_a_log_that_is_cut_while_the_package_is_sent_is_not_signed(
    node: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.record(CONFIG, UNITS)
    headers = await node.sign_in("duty")
    await signed_log(node)
    honest = node.playback.footage.read

    async def read(piece: Piece, offset: int, length: int) -> bytes:
        await node.services.write(lambda c: c.execute(delete(audit)))
        return await honest(piece, offset, length)

    monkeypatch.setattr(node.playback.footage, "read", read)
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(node, headers)


async def test_of_many_gaps_the_longest_are_told_and_how_many_are_not(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_MOST_LISTED", 1)
    other = await footage_with_a_gap(node)
    answer = await ask(node, await node.sign_in("duty"), other)
    (longest,) = json.loads(answer.headers["x-tiergate-gaps"])
    assert (longest["camera"], longest["to_ms"] - longest["from_ms"]) == (other.camera_id, 10_000)
    assert answer.headers["x-tiergate-not-listed"] == "1"


async def test_what_is_still_being_recorded_is_waited_for(node: Rig) -> None:
    await node.record(CONFIG, UNITS)
    await node.record(CONFIG, later(UNITS, 10), leave_open=True)
    headers = await node.sign_in("duty")
    answer = await ask(node, headers, to_s=12)
    assert (answer.status_code, answer.json()["code"]) == (409, "media.evidence_not_yet")
    assert "22:13:30" in answer.json()["zh"]
    assert (await ask(node, headers, to_s=10)).status_code == 200
    ahead: dict[str, Any] = {"from": str(node.services.now_ms()), "to": str(node.services.now_ms() + 60_000)}
    assert (await ask(node, headers, **ahead)).json()["code"] == "media.evidence_not_yet"


@pytest.mark.fault("S20", "B30")
async def test_a_segment_that_is_not_what_was_recorded_is_in_the_package_and_named(node: Rig, tmp_path: Path) -> None:
    await node.record(CONFIG, UNITS)
    (id_,) = await node.record(CONFIG, later(UNITS, 10), to_store=True)
    row = await node.services.read(lambda c: segments.segment_of(c, id_))
    assert row is not None
    store = stored(node)
    spoiled = bytearray(store.read(row.object_key, 0, row.bytes))
    spoiled[len(spoiled) // 2] ^= 1
    store.delete(row.object_key)
    path = tmp_path / "spoiled"
    path.write_bytes(spoiled)
    store.put_file(row.object_key, path, hashlib.sha256(spoiled).digest(), len(spoiled))
    headers = await node.sign_in("duty")
    damaged = {"camera": node.camera_id, "from_ms": row.start_ms, "to_ms": row.end_ms}
    for known in ([], [damaged]):  # found while it is read; known from then on
        answer = await ask(node, headers)
        assert json.loads(answer.headers["x-tiergate-damaged"]) == known
        (camera,) = manifest_of(answer.content)["cameras"]
        assert [listed.get("damaged", False) for listed in camera["segments"]] == [False, True]
        assert camera["gaps"] == [], "that it is damaged is said of the segment"
        assert files_of(answer.content)[camera["segments"][1]["file"]] == bytes(spoiled)
        judge = Judge(tmp_path / some_id(), files_of(answer.content)["verify_evidence.py"])
        status, said = judge.judge(answer.content)
        assert (status, said["whole"]) == (0, True)
        assert await node.services.read(lambda c: damage.is_marked(c, id_)), "nobody else is told"


@pytest.mark.fault("S20", "B30")
async def test_a_held_segment_that_rotted_comes_from_its_second_copy(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with_evidence(place, tmp_path)
    place.rot(1)

    def register(connection: Connection) -> None:
        places.seed_regions(connection, "210211001003", "community", "社区", 1)
        values = {"id": CAMERA, "name": "门", "tier": "community", "region": "210211001003", "recorded_by": "self",
                  "enabled": True, "created_ms": 0, "changed_ms": 0}  # fmt: skip
        connection.execute(insert(camera_table).values(**values))

    place.catalog.write(register)
    found = place.catalog.read(lambda c: contents.read(c, [CAMERA], "main", FROM_MS, TO_MS))
    maker = sending.Maker("P", 1, {"id": "n"}, bytes(32), {}, "evidence", "r", None, ["R"])
    record = partial(recorded, place.catalog)
    data = b"".join([part.data async for part in sending.send(place.footage, found, maker, record)])
    place.catalog.close()
    (part,) = manifest_of(data)["cameras"]
    assert len(part["segments"]) == len(place.recorded) and not any("damaged" in one for one in part["segments"])
    row = place.recorded[1].segment
    assert hashlib.sha256(files_of(data)[part["segments"][1]["file"]]).digest() == row.sha256


async def recorded(catalog: Catalog, details: dict[str, Any]) -> tuple[log.Entry, log.Checkpoint]:
    """What the route does for a package, with a key of zeros."""

    def write(connection: Connection) -> tuple[log.Entry, log.Checkpoint]:
        log.append(connection, 1, "user:x", verifier.AUDIT_ACTION, "P", details)
        return log.tail(connection, 1)[0], log.checkpoint(connection, bytes(32), 1)

    return await catalog.awrite(write)


@pytest.mark.fault("S20")
@pytest.mark.parametrize("why", ["revoked", "bytes away"])
async def test_a_package_that_breaks_off_has_no_signature(
    node: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    await node.record(CONFIG, UNITS, segment_ms=1000)
    headers = await node.sign_in("duty")
    footage, reads = node.playback.footage, 0
    honest = footage.read

    async def read(piece: Piece, offset: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 5 and why == "revoked":
            await node.revoke(headers)
            await node.services.looks.review()
        return b"" if reads >= 5 and why == "bytes away" else await honest(piece, offset, length)

    monkeypatch.setattr(footage, "read", read)
    got = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with node.http.stream("GET", "/api/v1/exports/evidence.zip", headers=headers, params={
            "camera": node.camera_id, "from": WALL_MS, "to": WALL_MS + 4000, "reason": "case 4711",
        }) as answer:  # fmt: skip
            async for chunk in answer.aiter_bytes():
                got += chunk
    assert got.startswith(b"PK"), "nothing had been sent yet"
    (tmp_path / "part.zip").write_bytes(got)
    with pytest.raises(verifier.Bad) as caught:
        verifier.verify(str(tmp_path / "part.zip"))
    assert caught.value.code == "cut"
    assert await node.services.read(lambda c: log.tail(c, 5, action=verifier.AUDIT_ACTION)) == []


async def test_a_segment_too_large_to_be_held_is_read_twice_and_must_not_change_in_between(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.record(CONFIG, UNITS)
    footage, camera = node.playback.footage, node.camera_id
    found = await node.services.read(lambda c: contents.read(c, [camera], "main", WALL_MS, WALL_MS + 4000))
    maker = sending.Maker("P", 1, {"id": "n"}, bytes(32), {}, "evidence", "r", None, ["R"])

    record = partial(recorded, node.services.catalog)

    async def made(held_bytes: int) -> bytes:
        return b"".join([part.data async for part in sending.send(footage, found, maker, record, held_bytes)])

    once, twice = files_of(await made(sending.HELD_BYTES)), files_of(await made(10))
    assert [name for name in once if once[name] != twice[name]] == [verifier.AUDIT], "another entry of the log, no more"
    honest, reads = footage.read, 0

    async def read(piece: Piece, offset: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        data = await honest(piece, offset, length)
        return data if reads < 3 else data[:-1] + b"?"

    monkeypatch.setattr(footage, "read", read)
    with pytest.raises(TiergateError) as caught:
        await made(10)
    assert caught.value.reason.code == "media.play_bytes_away"


async def test_the_commands_make_and_judge_a_package_and_show_the_key(
    node: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = await footage_with_a_gap(node)
    headers = await node.sign_in("duty")
    monkeypatch.setenv("TIERGATE_TOKEN", headers["Authorization"].removeprefix("Bearer "))
    target = tmp_path / "package.zip"

    async def command(*words: str) -> tuple[int, str]:
        status = await asyncio.to_thread(cli.run, ["--url", node.base, "--lang", "zh", *words])
        written = capsys.readouterr()
        return status, written.out + written.err

    window = ["--from", str(WALL_MS), "--to", str(WALL_MS + 14_000), "--reason", "fight at the gate", "-o", str(target)]
    status, said = await command("export", "evidence", node.camera_id, other.camera_id, *window)
    assert status == 0 and "缺失的录像" in said and "损坏" not in said, said
    assert (await command("export", "evidence", node.camera_id, *window))[0] != 0, "an older package was overwritten"
    status, said = await command("export", "key")
    shown = verifier.fingerprint(node.services.keys.node_public)
    assert status == 0 and shown in said
    status, said = await command("export", "verify", str(target), "--key", shown)
    assert status == 0 and "完整" in said and "未比对" not in said
    assert (await command("export", "verify", str(target), "--key", "ff" * 32))[0] == 1
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    status, said = await command("export", "verify", str(target))
    assert status == 1 and "内容已被改动" in said
