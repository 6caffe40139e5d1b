"""The sealing key is exchanged beside the node: killed anywhere, every account opens, and nothing old is left."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.clock import SystemClock
from config.errors import TiergateError
from config.load import load, toml
from config.redact import Secret
from config.settings import Settings
from gateway.access import token_keys
from gateway.access.ids import fresh_id
from gateway.access.keys import ensure_keys, load_keys
from gateway.access.secrets import Secrets
from gateway.cli import app
from gateway.ops import rotation
from gateway.ops.backup_work import back_up, restore_node
from gateway.ops.locks import KEYS_LOCK, alone, together
from gateway.ops.rotation import rotate_sealing, rotate_token
from storage import sealed_file
from storage.audit import log as audit
from storage.catalog import cameras, places
from storage.catalog.cameras import CredentialRow, NewCamera
from storage.catalog.engine import Catalog
from storage.objects import make_store
from tests.gateway.knife import Killed, Knife
from tests.parts.catalog import new_catalog
from tests.parts.postgres import Postgres

ACCOUNTS = 1_000
REGION = "210211001003"
CANARY = "plain-canary"  #: in every password
OLD_NONCE = b"oldnonce"  #: begins everything that the first key sealed
CLOCK = SystemClock()
PASSPHRASE = Secret("correct horse battery")


class Node:
    """Files of a node whose cameras have accounts; `account` seals as a running web process does."""

    def __init__(self, folder: Path, catalog_url: str | None = None) -> None:
        self.folder, self.config = folder, folder / "tiergate.toml"
        if not self.config.exists():
            folder.mkdir(parents=True, exist_ok=True)
        tables: dict[str, dict[str, object]] = {
            "paths": {"data": str(folder / "data")},
            "store": {"folder": str(folder / "store")},
            "node": {"name": "测试社区", "region": REGION, "tier": "community"},
        }
        if catalog_url is not None:
            tables["catalog"] = {"url": catalog_url}
        self.config.write_text(toml(tables))
        self.settings: Settings = load(self.config, {})
        (folder / "data" / "catalog").mkdir(parents=True, exist_ok=True)
        ensure_keys(self.settings)
        new_catalog(self.settings.catalog_url)
        self.catalog = Catalog(self.settings.catalog_url)
        self.process = Secrets(load_keys(self.settings))  #: of a process that runs through all of it

    def account(self, id_: str, password: str) -> None:
        def write(c: Any) -> None:
            cameras.put_credential(c, self.process.seal(c, CLOCK, id_, "root", Secret(password)))

        self.catalog.write(write)

    def rows(self) -> dict[str, CredentialRow]:
        return {row.id: row for row in self.catalog.read(lambda c: cameras.sealed_with_others(c, ""))}

    def passwords(self, opener: Secrets) -> dict[str, str]:
        return {id_: opener.open(row).reveal() for id_, row in self.rows().items()}

    def stands(self, expected: dict[str, str]) -> None:
        """Every account opens, for a process that runs and for one that starts."""
        assert self.passwords(self.process) == expected
        assert self.passwords(Secrets(load_keys(self.settings))) == expected

    def is_new(self) -> None:
        """Nothing but the key in force is there, and nothing that another key sealed."""
        keys = load_keys(self.settings)
        assert {row.key_id for row in self.rows().values()} == {keys.sealing_id}
        names = {path.name for path in self.settings.paths.keys_dir.iterdir()}
        assert {name for name in names if name.startswith("sealing")} - {"sealing.next.new"} == {"sealing.key"}
        files = {path: path.read_bytes() for path in self.settings.paths.catalog_dir.iterdir()}
        assert [path.name for path, data in files.items() if OLD_NONCE in data or CANARY.encode() in data] == []

    def close(self) -> None:
        self.catalog.close()


def with_old_nonces(patch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    real = secrets.token_bytes
    patch.setattr(secrets, "token_bytes", lambda n: OLD_NONCE + next(numbers).to_bytes(4) if n == 12 else real(n))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """(a node with 1 000 cameras, each with an account of its own; the passwords by account)."""
    node = Node(tmp_path_factory.mktemp("template") / "node")
    expected: dict[str, str] = {}

    def fill(c: Any) -> None:
        places.seed_regions(c, REGION, "community", "测试社区", 1)
        for number in range(ACCOUNTS):
            id_ = fresh_id(CLOCK)
            # A long one that gets shorter leaves bytes of itself in free space, unless they are overwritten.
            expected[id_] = f"{CANARY}-{number:04}" + "." * (300 if number == 0 else 0)
            row = node.process.seal(c, CLOCK, id_, "root", Secret(expected[id_]))
            cameras.put_credential(c, row)
            url = f"rtsp://10.0.{number // 250}.{number % 250 + 1}/main"
            new = NewCamera(f"口岸 {number}", REGION, (("main", url, None),), credential_id=id_)
            cameras.create_camera(c, new, "community", 32, 1)

    with pytest.MonkeyPatch.context() as patch:
        with_old_nonces(patch)
        node.catalog.write(fill)
    node.catalog.checkpoint()
    node.close()
    return node.folder, expected


@pytest.fixture
def make(template: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Callable[[], tuple[Node, dict[str, str]]]]:
    """A fresh copy of the template's node, and what its accounts should say."""
    made: list[Node] = []

    def fresh() -> tuple[Node, dict[str, str]]:
        for old in made:
            old.close()
            shutil.rmtree(old.folder, ignore_errors=True)
        folder = tmp_path / f"node-{len(made)}"
        shutil.copytree(template[0], folder)
        made.append(Node(folder))
        return made[-1], dict(template[1])

    yield fresh
    for node in made:
        node.close()


@pytest.mark.fault("S5")
def test_killed_at_every_step_the_next_run_finishes_and_every_account_opens_at_every_moment(
    make: Callable[[], tuple[Node, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH_ROWS", 250)
    node, expected = make()
    with Knife(None) as whole:
        done = rotate_sealing(node.settings, "os:test")
    assert (done.rows, done.resumed, done.unreadable) == (ACCOUNTS, False, 0)
    node.stands(expected)
    node.is_new()
    assert whole.places > 3 * ACCOUNTS // rotation.BATCH_ROWS
    resumed = 0
    for place in range(1, whole.places + 1):
        node, expected = make()
        first = load_keys(node.settings).sealing_id
        with Knife(place) as knife:
            rotate_sealing(node.settings, "os:test")
        assert knife.places >= place
        node.stands(expected)
        changed = min(expected)
        expected[changed] = f"{CANARY}-changed"
        node.account(changed, expected[changed])  # a person gives a camera a new password meanwhile
        expected[added := fresh_id(CLOCK)] = f"{CANARY}-added"
        node.account(added, expected[added])
        node.stands(expected)
        runs = []
        with Knife(whole.places // 2):  # the next run may be killed as well
            runs.append(rotate_sealing(node.settings, "os:test"))
        node.stands(expected)
        runs.append(done := rotate_sealing(node.settings, "os:test"))
        resumed += any(run.resumed for run in runs)
        node.stands(expected)
        node.is_new()
        assert load_keys(node.settings).sealing_id == done.key != first
        entries = node.catalog.read(audit.entries)
        begun, ended = (
            {entry.subject for entry in entries if entry.action == action}
            for action in ("secrets.rotate", "secrets.rotated")
        )
        assert begun == ended and done.key in ended
        assert audit.verify(entries) is None
    assert resumed > whole.places // 2, "most of the places lie inside an exchange"


@pytest.mark.fault("S5")
def test_accounts_given_while_the_key_is_exchanged_are_not_left_behind(
    make: Callable[[], tuple[Node, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that loaded the old key gives accounts between every two transactions of the exchange."""
    node, expected = make()
    monkeypatch.setattr(rotation, "BATCH_ROWS", 50)
    begun, over = threading.Event(), threading.Event()

    def give() -> None:
        for number in itertools.count():
            id_ = fresh_id(CLOCK)
            expected[id_] = f"{CANARY}-more-{number}"
            node.account(id_, expected[id_])
            begun.set()
            if over.is_set():
                return

    giver = threading.Thread(target=give)
    giver.start()
    try:
        begun.wait()
        for _ in range(3):
            rotate_sealing(node.settings, "os:test")
    finally:
        over.set()
        giver.join()
    node.stands(expected)
    assert {row.key_id for row in node.rows().values()} == {load_keys(node.settings).sealing_id}


@pytest.mark.fault("S5")
def test_a_backup_of_a_half_exchanged_key_is_a_node_whose_accounts_open(
    make: Callable[[], tuple[Node, dict[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_file, "_KDF", {**sealed_file._KDF, "memory_kib": 1024, "passes": 1})
    node, expected = make()
    make_store(node.settings).ensure()
    with Knife(None) as whole:
        rotate_sealing(node.settings, "os:test")
    node, expected = make()
    with Knife(whole.places // 2):
        rotate_sealing(node.settings, "os:test")
    assert len({row.key_id for row in node.rows().values()}) == 2, "it was killed half way"
    file = tmp_path / "node.backup"
    back_up(node.settings, node.config, file, PASSPHRASE, "os:test")
    new = tmp_path / "new"
    restore_node(new / "tiergate.toml", file, PASSPHRASE, "os:test", data=new / "data", with_store=False)
    other = Node(new)
    try:
        other.stands(expected)
        assert rotate_sealing(other.settings, "os:test").resumed
        other.stands(expected)
        other.is_new()
    finally:
        other.close()


def test_no_key_is_exchanged_while_a_backup_reads_keys_and_rows(
    make: Callable[[], tuple[Node, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, expected = make()
    lock = node.settings.paths.run_dir / KEYS_LOCK
    with together(lock), together(lock), pytest.raises(TiergateError) as refused:
        rotate_sealing(node.settings, "os:test")
    assert refused.value.reason.code == "access.keys_busy"
    node.stands(expected)
    seen: list[bool] = []

    def make_backup(*_: Any) -> None:
        try:
            with alone(lock, "access.keys_busy"):
                seen.append(False)
        except TiergateError:
            seen.append(True)
        raise Killed

    monkeypatch.setattr("storage.backup.make", make_backup)
    with pytest.raises(Killed):
        back_up(node.settings, node.config, node.folder / "b", PASSPHRASE, "os:test")
    assert seen == [True]


def test_an_account_that_no_key_opens_is_named_before_anything_is_begun(
    make: Callable[[], tuple[Node, dict[str, str]]],
) -> None:
    node, expected = make()
    broken, unused = sorted(expected)[:2]
    camera, key_id = node.catalog.read(lambda c: cameras.users_of(c, [broken])), node.rows()[broken].key_id
    node.catalog.write(lambda c: cameras.seal_anew(c, broken, bytes(40), key_id))
    with pytest.raises(TiergateError) as refused:
        rotate_sealing(node.settings, "os:test")
    assert refused.value.reason.code == "access.accounts_unreadable"
    assert refused.value.reason.params == {"count": 1, "cameras": camera[0]}
    assert not (node.settings.paths.keys_dir / "sealing.next.key").exists()
    node.account(broken, expected[broken])
    # Of an account that no camera has any more nobody can give the password again.
    node.catalog.write(lambda c: cameras.seal_anew(c, unused, bytes(40), "0" * 16))
    gone = node.catalog.read(lambda c: cameras.users_of(c, [unused]))
    node.catalog.write(lambda c: cameras.remove_camera(c, gone[0], 2))
    done = rotate_sealing(node.settings, "os:test")
    assert (done.rows, done.unreadable) == (ACCOUNTS - 1, 1)


def test_another_user_cannot_make_a_key_that_the_node_could_not_read(
    make: Callable[[], tuple[Node, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, expected = make()
    monkeypatch.setattr(os, "geteuid", lambda: 0 if os.getuid() else 12345)
    with pytest.raises(TiergateError) as refused:
        rotate_sealing(node.settings, "os:test")
    assert refused.value.reason.code == "access.keys_owner"
    node.stands(expected)


def test_the_command_says_what_it_did_and_finishes_what_was_broken_off(
    make: Callable[[], tuple[Node, dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    node, expected = make()
    with Knife(40):
        rotate_sealing(node.settings, "os:test")
    assert app.run(["--config", str(node.config), "--lang", "en", "secrets", "rotate"]) == 0
    assert "broken off was finished" in capsys.readouterr().out
    assert app.run(["--config", str(node.config), "--json", "secrets", "rotate"]) == 0
    assert f'"rows": {ACCOUNTS}' in capsys.readouterr().out
    node.stands(expected)
    node.is_new()


@pytest.mark.real
def test_a_catalog_on_postgresql_is_sealed_anew_as_well(postgres: Postgres, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", postgres.fresh_catalog())
    expected: dict[str, str] = {}
    for number in range(2 * rotation.BATCH_ROWS + 30):
        expected[id_ := fresh_id(CLOCK)] = f"{CANARY}-{number}"
        node.account(id_, expected[id_])
    with Knife(None) as whole:
        rotate_sealing(node.settings, "os:test")
    with Knife(whole.places * 2 // 3):
        rotate_sealing(node.settings, "os:test")
    assert len({row.key_id for row in node.rows().values()}) == 2, "it was killed half way"
    node.stands(expected)
    assert rotate_sealing(node.settings, "os:test").resumed
    node.stands(expected)
    assert {row.key_id for row in node.rows().values()} == {load_keys(node.settings).sealing_id}
    rotate_token(node.settings, "os:test", 1_000)
    assert node.catalog.read(token_keys.read).old
    node.close()
