"""A node whose catalog is gone, with keys and store in place: nothing starts until one remedy or the other is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from config.clock import SystemClock, wall_ms
from config.load import load
from config.reasons import Reason, text
from config.units import DAY_MS
from gateway.access.keys import load_keys
from storage import journal
from storage.catalog import migrate, retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import HoldRow
from storage.objects import make_store
from tests.parts.node import QUICK, Node
from tests.parts.postgres import Postgres
from tests.parts.wait import until

CAMERA = "21010000011320000001"
PASSPHRASE = "correct horse battery\n"
MISSING = Reason("ops.catalog_missing")


def holds_of(node: Node) -> list[object]:
    """As the journal in the store knows them."""
    settings = load(node.config, {})
    return [row["id"] for row in journal.read(make_store(settings), load_keys(settings).node_id).policy["holds"]]


def hold(node: Node) -> None:
    """In the catalog and in the journal, as the running node does it within a minute."""
    settings = load(node.config, {})
    row = HoldRow("H", (CAMERA,), 1, DAY_MS, "o", "r", "case", None, "permanent", 1, DAY_MS, None, None)
    store = make_store(settings)
    store.ensure()
    catalog = Catalog(settings.catalog_url)
    catalog.write(lambda c: retention_rows.add_hold(c, row))
    journal.write(catalog, store, load_keys(settings).node_id, wall_ms(SystemClock()))
    catalog.close()


def lose_catalog(node: Node) -> None:
    url = load(node.config, {}).catalog_url
    path = migrate.sqlite_path(url)
    if path is None:
        migrate.put_aside(url, "lost")
    else:
        for file in path.parent.glob("catalog.db*"):
            file.unlink()


def rebuild(node: Node, _backup: Path) -> None:
    node.cli("store", "rebuild")


def restore(node: Node, backup: Path) -> None:
    node.cli("restore", str(backup), "--replace", stdin=PASSPHRASE)


@pytest.mark.parametrize(
    ("database", "empty", "remedy"),
    [("sqlite", False, rebuild), ("sqlite", True, restore), ("postgresql", True, rebuild)],
)
def test_a_lost_catalog_is_never_begun_anew_in_silence(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, empty: bool, remedy: Callable[[Node, Path], None]
) -> None:
    server: Postgres | None = request.getfixturevalue("postgres") if database == "postgresql" else None
    url = server.new_database() if server is not None else None
    with Node(tmp_path / "node", settings=QUICK, catalog_url=url) as node:
        node.init()
        hold(node)
        backup = tmp_path / "backup"
        node.cli("backup", str(backup), stdin=PASSPHRASE)
        lose_catalog(node)
        settings = load(node.config, {})
        if empty:  # as an older version's `serve` left it
            migrate.migrate(settings.catalog_url)
        for command in (["serve"], ["upgrade"], ["upgrade", "--dry-run"], ["alarm", "list"], ["store", "check"]):
            done = node.run(*command, plain=True)
            assert done.returncode == 3, (command, done.stderr)
            assert text(MISSING, "zh") in done.stderr or text(MISSING, "en") in done.stderr, command
        keeper = [sys.executable, "-m", "gateway.processes.keeper", "--config", str(node.config)]
        done = subprocess.run(keeper, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
        assert done.returncode == 3 and MISSING.code in done.stderr
        path = migrate.sqlite_path(settings.catalog_url)
        assert path is None or path.exists() == empty
        assert holds_of(node) == ["H"]
        remedy(node, backup)
        assert migrate.whose(settings.catalog_url) == load_keys(settings).node_id
        node.launch()
        until(node.ready, 60, "the node is back")
        node.stop()
        catalog = Catalog(settings.catalog_url)
        assert [row.id for row in catalog.read(retention_rows.holds)] == ["H"]
        catalog.close()
        assert holds_of(node) == ["H"]


def test_a_node_rebuilt_without_a_backup_gets_its_first_administrator_once(tmp_path: Path) -> None:
    password = "a password of 25 letters\n"
    add = ("user", "add-first", "li", "--name", "李", "--password-stdin")

    def refused(status: int) -> str:
        return str(node.cli(*add, stdin=password, expect=status)["error"]["code"])

    with Node(tmp_path / "node", settings=QUICK) as node:
        node.init()
        assert refused(1) == "cli.administrator_there"
        hold(node)
        lose_catalog(node)
        assert refused(3) == "ops.catalog_missing"
        done = node.run("store", "rebuild")
        assert done.returncode == 0 and "user add-first" in done.stderr
        keys = load(node.config, {}).paths.keys_dir
        if os.geteuid() == 0:
            os.chown(keys, 65534, -1)
            assert refused(3) == "cli.not_node_user"
            os.chown(keys, 0, -1)
        made = node.cli(*add, stdin=password)
        assert refused(1) == "cli.administrator_there"
        node.launch()
        until(node.ready, 60, "the node is back")
        node.cli("login", "li", "--password-stdin", stdin=password)
        (entry,) = node.cli("audit", "tail", "--action", "user.add_first")["items"]
        assert (entry["actor"][:3], entry["subject"]) == ("os:", made["id"])
        node.cli("user", "add", "wang", "--name", "王", "--role", "duty", "--password-stdin", stdin=password)
