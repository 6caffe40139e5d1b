"""The mission's sentence, one test per clause, on real parts: two nodes, four cameras, a browser.

*An ONVIF/RTSP ingest layer registers cameras per tier, a segmenter writes streams to MinIO with 1-month default and
3-month key-area retention, and a permissioned distribution layer lets upper tiers pull lower-tier streams on demand
with temporary caching rather than bulk aggregation; used by command-room operators, upper tiers calling emergency
pull, departments with scoped tokens, admins with a retention CLI.*
"""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.units import DAY_MS, parse_time_ms
from tests.parts.demo import Demo
from tests.parts.node import CommandFailed
from tests.parts.wait import until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Community and street, storing in an S3 server (MinIO where it is built)."""
    with Demo(tmp_path_factory.mktemp("demo"), minio=True) as running:
        yield running


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def decodes(data: bytes | Path) -> int:
    """Pictures in an MP4, by ffprobe; fails on any decoding error."""
    if isinstance(data, Path):
        data = data.read_bytes()
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", "pipe:0", "-map", "0:v", "-f", "null",
         "-stats_period", "100", "-progress", "pipe:1", "-"],
        input=data, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr[-500:]
    frames = [line.split(b"=")[1] for line in done.stdout.splitlines() if line.startswith(b"frame=")]
    return int(frames[-1])


def first_footage(demo: Demo, camera: str) -> dict[str, Any]:
    return until(lambda: demo.community.footage(camera), 60, f"footage of {camera}")[0]


# --- an ONVIF/RTSP ingest layer registers cameras per tier ---


def test_an_onvif_and_rtsp_ingest_layer_registers_cameras_per_tier(demo: Demo) -> None:
    cameras = {c["name"]: c for c in demo.community.get("/cameras")["items"]}
    assert set(cameras) == {"北门", "市场街 H.265", "大桥", "学校路 ONVIF"}
    for camera in cameras.values():
        assert len(camera["id"]) == 20 and camera["tier"] == "community" and camera["region"] == "210211001003"
        assert set(camera["streams"]) == {"main", "sub"}
    school = demo.community.get(f"/cameras/{demo.cameras['school']}")
    assert school["ptz"] is True

    def all_online() -> bool:
        found = demo.community.get("/cameras")["items"]
        return all(c["streams"]["main"]["state"] == "online" for c in found)

    until(all_online, 60, "all four cameras online")


# --- a segmenter writes streams to MinIO ---


def test_a_segmenter_writes_streams_to_minio(demo: Demo) -> None:
    assert demo.store is not None
    client, bucket = demo.store.client(), "community-video"

    def stored() -> list[Any]:
        return [o for o in client.list_objects(bucket, recursive=True) if str(o.object_name).endswith(".mp4")]

    objects = until(lambda: len(found := stored()) >= 4 and found, 120, "segments in the bucket")
    for item in objects[:4]:
        answer = client.get_object(bucket, str(item.object_name))
        try:
            data = answer.read()
        finally:
            answer.close()
            answer.release_conn()
        assert decodes(data) > 0


def test_sound_is_recorded_only_where_it_was_switched_on(demo: Demo) -> None:
    for name, audio in (("bridge", True), ("gate", False)):
        camera = demo.cameras[name]
        first_footage(demo, camera)
        main = demo.community.get(f"/cameras/{camera}")["streams"]["main"]
        assert (main["audio_codec"] is not None) is audio


# --- with 1-month default and 3-month key-area retention ---


def test_with_one_month_default_and_three_month_key_area_retention(demo: Demo) -> None:
    for name, class_, least_days in (("gate", "default", 30), ("school", "key", 90)):
        camera = demo.cameras[name]
        at_ms = first_footage(demo, camera)["from_ms"] + 500
        answer = demo.community.cli("retention", "explain", f"{camera}@{at_ms}")
        assert answer["class"] == class_
        kept_ms = answer["keep_until_ms"] - at_ms
        assert least_days * DAY_MS <= kept_ms <= (least_days + 3) * DAY_MS


# --- a permissioned distribution layer … departments with scoped tokens ---


def as_token(demo: Demo, method: str, path: str, **query: Any) -> httpx.Response:
    with demo.community.client(demo.token) as client:
        return client.request(method, f"/api/v1{path}", params=query)


def test_departments_with_scoped_tokens_see_exactly_their_share(demo: Demo) -> None:
    gate, school = demo.cameras["gate"], demo.cameras["school"]
    span = first_footage(demo, gate)
    assert [c["id"] for c in as_token(demo, "GET", "/cameras").json()["items"]] == [gate]
    assert as_token(demo, "GET", f"/cameras/{gate}/snapshot.jpg").content[:2] == b"\xff\xd8"
    assert as_token(demo, "GET", f"/cameras/{school}").status_code == 404
    assert as_token(demo, "GET", f"/cameras/{school}/snapshot.jpg").status_code == 404
    window = {"from": span["from_ms"], "to": span["from_ms"] + 5_000, "reason": "核查事件"}
    refused = as_token(demo, "GET", f"/cameras/{gate}/clip.mp4", **window)  # export was not granted
    assert refused.status_code == 403 and refused.json()["code"]
    with httpx.Client(base_url=demo.community.url) as nobody:
        assert nobody.get(f"/api/v1/cameras/{gate}").status_code == 401


def test_revoking_a_token_stops_its_picture_within_seconds(demo: Demo) -> None:
    gate = demo.cameras["gate"]
    department = demo.community.get("/departments")["items"][0]["id"]
    issued = demo.community.cli(
        "token",
        "issue",
        department,
        "--label",
        "短期",
        "--camera",
        gate,
        "--function",
        "live",
        "--expires",
        "1h",
        "--yes",
    )
    with (
        demo.community.client(issued["token"]) as client,
        client.stream("GET", f"/api/v1/cameras/{gate}/live.mp4", params={"stream": "sub"}, timeout=20) as answer,
    ):
        assert answer.status_code == 200
        chunks = answer.iter_bytes()
        assert len(next(chunks)) > 0
        demo.community.cli("token", "revoke", issued["jti"])
        revoked = time.monotonic()
        for _ in chunks:
            assert time.monotonic() - revoked < 6, "the picture went on after the revocation"
    with demo.community.client(issued["token"]) as client:
        assert client.get("/api/v1/cameras").status_code == 401


# --- used by command-room operators ---


def test_command_room_operators_watch_live_and_recorded(demo: Demo) -> None:
    gate = demo.cameras["gate"]
    span = until(
        lambda: next((s for s in demo.community.footage(gate) if s["to_ms"] - s["from_ms"] > 8_000), None),
        60,
        "8 s of footage",
    )
    with demo.community.client() as client:
        with client.stream("GET", f"/api/v1/cameras/{gate}/live.mp4", params={"stream": "main"}) as answer:
            live = io.BytesIO()
            for chunk in answer.iter_bytes():
                live.write(chunk)
                if live.tell() > 1_000_000:
                    break
        assert live.getvalue()[4:8] == b"ftyp"
        window = {"from": span["from_ms"] + 1_000, "to": span["from_ms"] + 6_000}
        playlist = client.get(f"/api/v1/cameras/{gate}/playback.m3u8", params=window)
        assert playlist.status_code == 200 and "#EXT-X-MAP" in playlist.text
        clip = client.get(f"/api/v1/cameras/{gate}/clip.mp4", params=window | {"reason": "事件核查 演示"})
        assert clip.status_code == 200
    pictures = decodes(clip.content)
    assert 100 <= pictures <= 200  # 5 s at 25 pictures a second, cut at key frames 2 s apart


def test_every_look_stands_in_the_register(demo: Demo) -> None:
    gate = demo.cameras["gate"]
    before = now_ms()
    with demo.community.client() as client:
        client.get(f"/api/v1/cameras/{gate}/snapshot.jpg").raise_for_status()
    entries = demo.community.get("/register", camera=gate, **{"from": before - 1_000})["items"]
    assert any(e["function"] == "snapshot" and e["person"] == "管理员" and e["closed_ms"] for e in entries)
    assert demo.community.cli("audit", "verify")["ok"] is True


# --- lets upper tiers pull lower-tier streams on demand, with temporary caching rather than bulk aggregation ---


def street_lower_cameras(demo: Demo) -> dict[str, dict[str, Any]]:
    return {c["id"]: c for c in demo.street.get("/cameras", scope="lower")["items"]}


def tier_scope(demo: Demo) -> dict[str, Any]:
    answer: dict[str, Any] = demo.street.cli("store", "check", "--tier-scope")
    return answer


def test_before_a_pull_the_upper_tier_knows_the_cameras_and_has_no_byte(demo: Demo) -> None:
    until(lambda: set(street_lower_cameras(demo)) == set(demo.cameras.values()), 60, "the directory reaches the street")
    gate = demo.cameras["gate"]
    with demo.street.client() as client:
        refused = client.get(f"/api/v1/cameras/{gate}/snapshot.jpg")
    assert refused.status_code == 403 and refused.json()["code"]
    report = tier_scope(demo)
    assert report["lower_objects"] == 0 and report["violations"] == []


def test_upper_tiers_calling_emergency_pull_watch_live_and_recorded_and_it_ends(demo: Demo) -> None:
    until(lambda: len(street_lower_cameras(demo)) == 4, 60, "the directory reaches the street")
    gate = demo.cameras["gate"]
    span = until(
        lambda: next((s for s in demo.community.footage(gate) if s["to_ms"] - s["from_ms"] > 8_000), None),
        60,
        "8 s of footage",
    )
    pulled = demo.street.cli(
        "pull", "emergency", gate, "--case", "DL-2026-1124", "--reason", "查找走失老人", "--minutes", "10",
        "--from", str(span["from_ms"]), "--to", str(span["to_ms"]),
    )["items"]  # fmt: skip
    assert [lease["state"] for lease in pulled] == ["active"]
    lease = pulled[0]["id"]

    with demo.street.client() as client:
        with client.stream("GET", f"/api/v1/cameras/{gate}/live.mp4", params={"stream": "main"}) as answer:
            assert answer.status_code == 200
            live = io.BytesIO()
            for chunk in answer.iter_bytes():
                live.write(chunk)
                if live.tell() > 300_000:
                    break
        window = {"from": span["from_ms"] + 1_000, "to": span["from_ms"] + 5_000}
        playlist = client.get(f"/api/v1/cameras/{gate}/playback.m3u8", params=window)
        assert playlist.status_code == 200
        paths = [line for line in playlist.text.splitlines() if line and not line.startswith("#")]
        maps = [line.split('"')[1] for line in playlist.text.splitlines() if line.startswith("#EXT-X-MAP")]
        pieces = [client.get(str(httpx.URL(str(playlist.url)).join(p))).content for p in [maps[0], *paths]]
    assert decodes(b"".join(pieces)) > 25

    banner = demo.community.get("/leases", side="granted", active=True)["items"]
    assert [b["case_no"] for b in banner] == ["DL-2026-1124"] and banner[0]["persons"]
    for node in (demo.community, demo.street):
        looks = node.get("/register", camera=gate)["items"]
        assert any(look["lease"] == lease and look["case"] == "DL-2026-1124" for look in looks), node.name
    cached = tier_scope(demo)
    assert cached["lower_objects"] > 0 and cached["violations"] == []

    demo.street.cli("pull", "stop", lease)
    until(lambda: tier_scope(demo)["lower_objects"] == 0, 60, "the cache is purged")
    statement = until(
        lambda: next(
            (x["purge_statement"] for x in demo.community.get("/leases", side="granted")["items"] if x["id"] == lease),
            None,
        ),
        60,
        "the purge statement reaches the lower node",
    )
    assert statement["objects"] > 0 and statement["remaining"] == 0 and statement["key_destroyed"] is True
    with demo.street.client() as client:
        assert client.get(f"/api/v1/cameras/{gate}/snapshot.jpg").status_code == 403


# --- admins with a retention CLI ---


def test_admins_with_a_retention_cli(demo: Demo) -> None:
    gate = demo.cameras["gate"]
    span = first_footage(demo, gate)
    classes = {c["name"]: c for c in demo.community.cli("retention", "show")["classes"]}
    assert (classes["default"]["months"], classes["key"]["months"]) == (1, 3)
    assert demo.community.cli("retention", "plan")["total"]["remove_segments"] == 0
    far = parse_time_ms("2027-06-01T00:00:00+08:00")
    assert demo.community.cli("retention", "plan", "--at", str(far))["total"]["remove_segments"] > 0
    with pytest.raises(CommandFailed) as refused:
        demo.community.cli("retention", "set", "key", "--months", "4")
    problem = json.loads(refused.value.err)["error"]
    assert problem["code"] == "retention.above_ceiling" and problem["en"] and problem["zh"]
    hold = demo.community.cli(
        "hold",
        "add",
        gate,
        "--from",
        str(span["from_ms"]),
        "--to",
        str(span["from_ms"] + 60_000),
        "--case",
        "2026-7",
        "--reason",
        "证据保全",
    )
    explained = demo.community.cli("retention", "explain", f"{gate}@{span['from_ms'] + 500}")
    assert explained["reason"]["code"] == "retention.held"
    assert demo.community.cli("retention", "sweep", "--dry-run")["condemned"] == 0
    demo.community.cli("hold", "release", hold["id"], "--reason", "结案")
