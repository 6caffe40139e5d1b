"""The drill: a machine dies, and another becomes the node from backup and store. Whole nodes and a camera, also on
PostgreSQL, and with a catalog that is locked."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.units import DAY_MS
from storage.keys import parse_segment_key
from tests.parts.node import QUICK, Node
from tests.parts.postgres import Postgres
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real


def objects(store: Path) -> set[str]:
    """Keys of the segments in a folder store."""
    keys = {str(path.relative_to(store)) for path in store.rglob("*.mp4")}
    return {key for key in keys if parse_segment_key(key) is not None}


def stored_rows(node: Node) -> dict[str, str]:
    """Object key → state, past the node's own code."""
    database = node.folder / "data" / "catalog" / "catalog.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        return dict(connection.execute("SELECT object_key, state FROM segment"))


def plays(node: Node, camera: str, from_ms: int) -> bool:
    """A second and a half of footage, as a clip."""
    with node.client() as client:
        window: dict[str, str | int] = {"from": from_ms, "to": from_ms + 1_500, "reason": "恢复演练回放"}
        answer = client.get(f"/api/v1/cameras/{camera}/clip.mp4", params=window)
    return answer.status_code == 200 and len(answer.content) > 10_000


@pytest.mark.fault("B31")
def test_a_machine_that_died_comes_back_on_another_from_backup_and_store(
    tmp_path: Path, rtsp_server: RtspServer
) -> None:
    store, passphrase, file = tmp_path / "store", tmp_path / "passphrase", tmp_path / "node.backup"
    passphrase.write_text("correct horse battery staple\n")
    secret = ("--passphrase-file", str(passphrase))
    old = Node(tmp_path / "old", settings=QUICK | {"store": {"folder": str(store)}}).init()
    with old:
        old.start()
        camera = old.add_camera(rtsp_server.url("tiny"))
        old.cli("camera", "set", camera, "--sharing", "departments")
        department = old.cli("department", "add", "城管执法队")["id"]
        token = old.cli(
            "token", "issue", department, "--label", "演练", "--camera", camera, "--function", "playback",
            "--function", "catalog", "--expires", "30d", "--yes",
        )["token"]  # fmt: skip
        until(lambda: len(objects(store)) >= 2, 60, "footage in the store")
        span = old.footage(camera)[0]
        hold = old.cli(
            "hold", "add", camera, "--from", str(span["from_ms"]), "--to", str(span["from_ms"] + 2_000),
            "--case", "A-1", "--reason", "立案", "--class", "1_year", "--review", "30d",
        )["id"]  # fmt: skip
        made = old.cli("backup", str(file), *secret)
        assert old.cli("backup", "--verify", str(file), *secret)["audit_seq"] == made["audit_seq"]
        at_backup = objects(store)
        until(lambda: len(objects(store)) >= len(at_backup) + 2, 60, "footage after the backup")
        node_id = old.get("/node")["node_id"]
        old.kill()
    there = objects(store)
    shutil.rmtree(old.folder)

    new = Node(tmp_path / "new", port=old.port, relay_port=old.relay_port)
    new.folder.mkdir()
    new.password = old.password
    done = new.cli("restore", str(file), "--data", str(new.folder / "data"), *secret)
    assert done["store"]["adopted"] >= len(there - at_backup) and done["store"]["unreadable"] == 0
    assert new.cli("restore", str(file), *secret, expect=1)["error"]["code"] == "backup.node_there"
    with new:
        rows = stored_rows(new)
        assert {rows.get(key) for key in there} == {"stored"}
        new.start()
        assert new.get("/node")["node_id"] == node_id
        for key in sorted(there):
            name = parse_segment_key(key)
            assert name is not None
            assert plays(new, camera, name.start_ms + 100), key
        assert [one["id"] for one in new.cli("hold", "list")["items"]] == [hold]
        answer = new.cli("retention", "explain", f"{camera}@{span['from_ms'] + 500}")
        assert answer["keep_until_ms"] - span["from_ms"] > 28 * DAY_MS
        with new.client(token) as client:
            assert [c["id"] for c in client.get("/api/v1/cameras").json()["items"]] == [camera]
        assert new.cli("audit", "verify")["ok"]
        actions = [entry["action"] for entry in new.cli("audit", "tail", "-n", "200")["items"]]
        assert "node.restore" in actions and "node.init" in actions
        until(lambda: objects(store) - there, 60, "the new machine records the camera")
        assert new.cli("restore", str(file), "--replace", *secret, expect=1)["error"]["code"] == "process.lock_held"


def test_a_whole_node_on_postgresql_records_plays_and_is_backed_up(
    tmp_path: Path, postgres: Postgres, rtsp_server: RtspServer
) -> None:
    url = postgres.new_database()
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    with Node(tmp_path / "node", settings=QUICK, catalog_url=url).init() as node:
        assert node.cli("upgrade")["steps"] == []
        node.start()
        camera = node.add_camera(rtsp_server.url("tiny"))  # noticed by the recorder: NOTIFY
        store = node.folder / "data" / "objects"
        until(lambda: len(objects(store)) >= 2, 60, "footage in the store")
        span = node.footage(camera)[0]
        assert plays(node, camera, span["from_ms"] + 200)
        assert postgres.query(url, "SELECT count(*) > 1 FROM segment") == [(True,)]
        assert node.cli("audit", "verify")["ok"]
        made = node.cli("backup", str(tmp_path / "node.backup"), "--passphrase-file", str(passphrase))
        assert made["segments"] >= 2
        assert not list((node.folder / "data" / "catalog").glob("*"))
        assert "Traceback" not in node.log.read_text()
    text = node.log.read_text() + "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert postgres.password not in text


@pytest.mark.fault("B32")
@pytest.mark.parametrize("segments", [3, pytest.param(10, marks=pytest.mark.torture, id="40 s")])
def test_a_catalog_that_is_locked_while_recording_loses_nothing(
    tmp_path: Path, rtsp_server: RtspServer, record_property: Callable[[str, object], None], segments: int
) -> None:
    """A foreign process holds SQLite's write lock: longer than anybody's time-out, over several segments."""
    with Node(tmp_path / "node", settings=QUICK).init() as node:
        node.start()
        camera = node.add_camera(rtsp_server.url("tiny"))
        until(lambda: len(stored_rows(node)) >= 1, 60, "the first segment")
        spool, data = node.folder / "data" / "spool", node.folder / "data"
        foreign = sqlite3.connect(data / "catalog" / "catalog.db", isolation_level=None, timeout=10)
        foreign.execute("BEGIN IMMEDIATE")

        def sealed() -> set[str]:
            return {path.stem for path in spool.rglob("*.mp4")}

        before, known = sealed(), len(stored_rows(node))
        made: set[str] = until(
            lambda: len(found := sealed() - before) >= segments and found, 120, "segments go to the spool"
        )
        assert len(stored_rows(node)) == known  # the lock holds: not one row came
        with node.client() as client:
            assert client.get("/api/v1/cameras").status_code == 200
            answer = client.post("/api/v1/departments", json={"name": "执法队"})
            assert (answer.status_code, answer.json()["code"]) == (503, "web.unavailable")
            assert "Traceback" not in answer.text and "sqlite" not in answer.text.lower()
        foreign.execute("ROLLBACK")
        foreign.close()

        def rows() -> dict[str, str]:
            return {key.rpartition("-")[2].removesuffix(".mp4"): state for key, state in stored_rows(node).items()}

        until(lambda: made <= set(rows()), 30, "the rows arrive")
        until(lambda: {rows()[id_] for id_ in made} == {"stored"}, 60, "and the store takes them")
        spans = node.get(f"/cameras/{camera}/timeline", **_window(node, camera))["spans"]
        kinds = [span["kind"] for span in spans if span["kind"] not in ("none", "open")]
        record_property("sealed while locked", len(made))
        first = next(n for n, kind in enumerate(kinds) if kind == "footage")
        assert set(kinds[first:]) == {"footage"}, spans


def _window(node: Node, camera: str) -> dict[str, Any]:
    spans = node.footage(camera)
    return {"from": spans[0]["from_ms"], "to": spans[-1]["to_ms"]}
