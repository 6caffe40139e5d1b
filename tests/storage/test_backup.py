"""Backups: every row comes back as it was, on either database; a changed or cut file is never used."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Connection, LargeBinary, MetaData, insert, select, text

from config import crypto
from config.errors import TiergateError
from config.redact import Secret
from storage import backup, sealed_file
from storage.audit import log as audit
from storage.backup import Source
from storage.catalog import migrate as migration
from storage.catalog.engine import Catalog, make_engine
from storage.catalog.tables import metadata
from storage.sealed_file import RECORD_BYTES, SealedReader, SealedWriter
from tests.parts.postgres import Postgres
from tests.storage.catalog import migration_kills
from tests.storage.catalog.test_migrate import _next_revision

PASSPHRASE = Secret("correct horse battery")
NODE_KEY = bytes(range(32))
NODE = crypto.key_id(crypto.DEFAULT_SUITE.public_key(NODE_KEY))
NOW_MS = 1_790_000_000_000
#: Values that the checks of the tables ask for; everything else may be anything.
_FITTING = {
    "tier": "city", "recorded_by": "self", "stream": "main", "kind": "own", "state": "stored", "side": "held",
    "end_ms": 9_000, "to_ms": 9_000, "verdict": "present", "owner_kind": "user",
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of each file costs a third of a second by design; a hundred of them are not what is tested here."""
    monkeypatch.setattr(sealed_file, "_KDF", {**sealed_file._KDF, "memory_kib": 1024, "passes": 1})


@pytest.fixture
def source(tmp_path: Path) -> Source:
    settings, keys = tmp_path / "tiergate.toml", tmp_path / "keys"
    settings.write_text("[node]\nname = '一'\n")
    (keys / "leases").mkdir(parents=True)
    (keys / "node.key").write_bytes(NODE_KEY)
    (keys / "ca.crt").write_text("certificate")
    (keys / "leases" / "L1").write_bytes(b"the key of a temporary cache")
    return Source(NODE, NODE_KEY, "0.1.0", settings, keys)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    catalog.write(_fill)
    yield catalog
    catalog.close()


def _fill(connection: Connection) -> None:
    """Two rows in every table, one of them with nothing where nothing may stand; values of every kind."""
    for table in metadata.sorted_tables:
        if table.name == "audit":
            continue
        for number in (2, 1):
            row: dict[str, Any] = {}
            for column in table.columns:
                if number == 2 and column.nullable:
                    continue
                row[column.key] = _value(table.name, column, number)
            connection.execute(insert(table).values(row))
    for number in range(1200):  # more than one chunk
        audit.append(connection, number, "os:test", "test.act", "二" * (number % 9), {"n": number, "x": None})


def _value(table: str, column: Any, number: int) -> Any:
    if column.foreign_keys:
        (key,) = column.foreign_keys
        return "R2" if key.column.name == "code" else _value(key.column.table.name, key.column, number)
    if (table, column.name) == ("approval", "state"):
        return "pending"
    if (table, column.name) == ("evidence_copy", "state"):
        return "verified"
    if column.name in _FITTING:
        return _FITTING[column.name]
    if table == "region" and column.name == "code":
        return f"R{number}"  # the parent stands behind its child
    if isinstance(column.type, LargeBinary):
        return bytes([0, 255, number]) * 10
    if isinstance(column.type, JSON):
        return {"n": number, "二": [1.5, None, "x"]} if number == 1 else None
    if column.type.python_type is bool:
        return number == 1
    return number if column.type.python_type is int else f"{column.name[:3]}{number}"


def picture(url: str) -> dict[str, list[Any]]:
    """Every row of every table; JSON as the text that stands there, so that nothing and null are told apart."""
    engine = make_engine(url)
    with engine.connect() as connection, connection.begin():
        found = MetaData()
        found.reflect(connection)
        seen = {
            table.name: sorted(
                repr([_plain(v) for v in row])
                for row in connection.execute(select(*(text(f'"{table.name}"."{c.name}"') for c in table.columns))
                                              .select_from(table))
            )
            for table in found.sorted_tables
            if table.name not in ("session", "media_session")
        }  # fmt: skip
    engine.dispose()
    return seen


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        value = json.loads(value)
    return int(value) if isinstance(value, bool) else "null" if value == "null" else value


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database()
    return f"sqlite:///{tmp_path / 'restored' / 'catalog.db'}"


def test_every_row_comes_back_on_either_database(
    catalog: Catalog, catalog_url: str, source: Source, target: str, tmp_path: Path
) -> None:
    file = tmp_path / "node.backup"
    made = backup.make(catalog, source, file, PASSPHRASE, NOW_MS)
    assert made == backup.verify(file, PASSPHRASE)
    assert (made.node_id, made.audit_seq, made.rows["audit"], made.rows["segment"]) == (NODE, 1200, 1200, 2)
    backup.load_catalog(file, PASSPHRASE, target, lambda _: None)
    before, after = picture(catalog_url), picture(target)
    assert len(before) == len(metadata.tables) - 2 + 1  # sessions are left out, alembic_version is there
    for name in before:
        if ("sqlite" in catalog_url and "postgres" in target) or ("postgres" in catalog_url and "sqlite" in target):
            assert len(before[name]) == len(after[name])  # drivers show JSON and truth in their own ways
        else:
            assert before[name] == after[name], name
    anew = Catalog(target)
    assert anew.read(audit.verify_catalog) is None
    rows = select(metadata.tables["segment"]).order_by("id")
    read = [sorted(map(repr, one.read(lambda c: list(c.execute(rows))))) for one in (anew, catalog)]
    assert read[0] == read[1]
    anew.close()


def test_settings_and_keys_are_in_it_and_lease_keys_and_plain_text_are_not(
    catalog: Catalog, source: Source, tmp_path: Path
) -> None:
    file = tmp_path / "node.backup"
    assert backup.make(catalog, source, file, PASSPHRASE, NOW_MS).keys == ("ca.crt", "node.key")
    settings, keys = backup.read_files(file, PASSPHRASE)
    assert settings == source.settings_file.read_bytes()
    assert keys == {"ca.crt": b"certificate", "node.key": NODE_KEY}
    data = file.read_bytes()
    for secret in (NODE_KEY, b"certificate", b"temporary cache", b"os:test"):
        assert secret not in data
    assert file.stat().st_mode & 0o077 == 0
    head = json.loads(data.split(b"\n")[1])
    assert (head["kdf"], head["suite"]) == ("argon2id", crypto.DEFAULT_SUITE.name)
    with pytest.raises(TiergateError) as caught:
        backup.make(catalog, source, file, PASSPHRASE, NOW_MS)
    assert caught.value.reason.code == "backup.file_exists"
    assert [path.name for path in tmp_path.glob("node.backup*")] == ["node.backup"]


def _code(data: bytes, tmp_path: Path, passphrase: Secret = PASSPHRASE) -> str:
    file = tmp_path / "tampered"
    file.write_bytes(data)
    with pytest.raises(TiergateError) as caught:
        backup.verify(file, passphrase)
    return caught.value.reason.code


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_a_changed_or_cut_backup_is_never_used(catalog: Catalog, source: Source, tmp_path: Path) -> None:
    file = tmp_path / "node.backup"
    backup.make(catalog, source, file, PASSPHRASE, NOW_MS)
    data = file.read_bytes()
    start = data.index(b"\n", data.index(b"\n") + 1) + 1
    record = RECORD_BYTES + 16
    assert len(data) > start + 3 * record
    assert _code(data, tmp_path, Secret("wrong horse battery")) == "backup.passphrase"
    assert _code(b"", tmp_path) == _code(b"hello\n{}", tmp_path) == "backup.not_one"
    assert _code(data[: start - 1], tmp_path) == "backup.not_one"
    for at in range(start, len(data), len(data) // 7):
        flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert _code(flipped, tmp_path) == ("backup.passphrase" if at < start + record else "backup.damaged")
    for cut in (start + record, start + 2 * record, start + 2 * record + 5, len(data) - 1):
        assert _code(data[:cut], tmp_path) in ("backup.passphrase", "backup.damaged")
    one, two = (data[start + n * record : start + (n + 1) * record] for n in (1, 2))
    assert _code(data[: start + record] + two + one + data[start + 3 * record :], tmp_path) == "backup.damaged"
    assert _code(data + b"x", tmp_path) == "backup.damaged"
    assert _code(data.replace(b'"memory_kib": 1024', b'"memory_kib": 99999999'), tmp_path) == "backup.not_one"
    assert _code(data.replace(b'"what"', b'"whaT"'), tmp_path) == "backup.passphrase"  # the head is bound too


def test_a_restore_that_fails_half_way_leaves_an_empty_catalog(
    catalog: Catalog, source: Source, target: str, tmp_path: Path
) -> None:
    file = tmp_path / "node.backup"
    backup.make(catalog, source, file, PASSPHRASE, NOW_MS)
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(TiergateError):
        backup.load_catalog(cut, PASSPHRASE, target, lambda _: None)
    assert migration.current(target) is None
    backup.load_catalog(file, PASSPHRASE, target, lambda _: None)
    with pytest.raises(TiergateError) as caught:
        backup.load_catalog(file, PASSPHRASE, target, lambda _: None)
    assert caught.value.reason.code == "backup.catalog_there"


def test_a_backup_of_an_older_version_is_brought_up_by_its_own_migrations(
    catalog: Catalog, source: Source, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "node.backup"
    made = backup.make(catalog, source, file, PASSPHRASE, NOW_MS)
    monkeypatch.setattr(migration, "_FOLDER", _next_revision(tmp_path / "next", migration_kills.UP))
    backup.load_catalog(file, PASSPHRASE, target, lambda _: None)
    assert migration.current(target) == migration_kills.NEW != made.revision
    engine = make_engine(target)
    with engine.connect() as connection, connection.begin():
        rows = connection.execute(text("SELECT codec, note FROM run")).all()
    engine.dispose()
    assert len(rows) == 2 and all(codec == note for codec, note in rows)


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_a_backup_whose_rows_or_log_do_not_agree_is_refused(
    catalog: Catalog, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.write(lambda c: c.execute(text("UPDATE audit SET subject = 'changed' WHERE seq = 700")))
    with pytest.raises(TiergateError, match="audit"):
        backup.make(catalog, source, tmp_path / "a", PASSPHRASE, NOW_MS)
    assert not (tmp_path / "a").exists()
    with pytest.raises(TiergateError, match="audit"):  # signed by another node than it names
        backup.make(catalog, replace(source, node_id="0" * 16), tmp_path / "b", PASSPHRASE, NOW_MS)


@pytest.mark.parametrize("size", [0, 1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 3 * RECORD_BYTES])
def test_a_sealed_file_of_any_length_comes_back(size: int) -> None:
    file = io.BytesIO()
    writer = SealedWriter(file, PASSPHRASE, {})
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for start in range(0, size, 10_000):
        writer.write(data[start : start + 10_000])
    writer.finish()
    file.seek(0)
    assert io.BufferedReader(SealedReader(file, PASSPHRASE)).read() == data


def test_rotation_keeps_the_newest_of_this_node_and_touches_nothing_else(tmp_path: Path) -> None:
    mine = [backup.file_name(NODE, f"2026111{n}T030000Z") for n in range(5)]
    others = [backup.file_name("f" * 16, "20200101T000000Z"), "notes.txt"]
    for name in (*mine, *others):
        (tmp_path / name).touch()
    assert sorted(backup.rotate(tmp_path, NODE, 2)) == mine[:3]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine[3:], *others])
