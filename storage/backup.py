"""A backup of a node: keys, settings, the whole catalog as one moment had it, and the signed head of its audit log.

Inside the encrypted file (`storage.sealed_file`) is a tar: ``manifest.json``, ``settings.toml``, ``keys/…``,
``catalog/<table>/<number>.json`` and ``end.json``. Rows are written as JSON and not as a database file, so that a
backup of SQLite can be restored onto PostgreSQL and the other way round, and a backup of an older version is brought up
by its own migrations. Never inside: footage (it describes itself), sessions (people sign in again), and
``keys/leases`` (DESIGN §6: destroying those keys is how a temporary cache ends).

Belongs here: making, checking and loading such a file. Does not belong here: the store's side of a restore
(`storage.restore`), where files lie and who may (`gateway.ops.backup_work`).
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sqlalchemy import (
    JSON,
    Connection,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    cast,
    column,
    delete,
    insert,
    select,
    table,
    update,
)

from config import crypto
from config.errors import Kind, TiergateError
from config.redact import Secret
from storage.audit import log as audit
from storage.catalog import migrate
from storage.catalog.engine import CHUNK_ROWS, Catalog, make_engine, writing
from storage.sealed_file import SealedReader, SealedWriter
from storage.volume import fsync_folder

FORMAT = "tiergate-backup-1"
#: Alembic's own table is made by the migrations; a session is somebody's presence, not a fact to keep.
_LEFT_OUT = frozenset({"alembic_version", "session", "media_session"})
_CHUNK_MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """What of a node goes into its backup besides the catalog."""

    node_id: str
    node_key: bytes = field(repr=False)
    version: str  #: of tiergate
    settings_file: Path
    keys_folder: Path


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself, after all of it was read and agreed."""

    node_id: str
    made_ms: int
    version: str
    revision: str  #: of the catalog
    audit_seq: int
    audit_digest: str
    keys: tuple[str, ...]
    rows: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        return {
            "node_id": self.node_id,
            "made_ms": self.made_ms,
            "version": self.version,
            "revision": self.revision,
            "audit_seq": self.audit_seq,
            "keys": list(self.keys),
            "rows": sum(self.rows.values()),
            "segments": self.rows.get("segment", 0),
        }


def _bad(problem: str) -> TiergateError:
    return TiergateError(Kind.INVALID, "backup.malformed", problem=problem[:120])


# --- making ---


def make(catalog: Catalog, source: Source, target: Path, passphrase: Secret, now_ms: int) -> Contents:
    """Writes `target`, which must not exist, and reads it back. Nothing of that name is there unless all went well.

    The whole catalog is read in one transaction: give it a `Catalog` of its own. Raises backup.file_exists.
    """
    if target.exists():
        raise TiergateError(Kind.CONFLICT, "backup.file_exists", path=target.name)
    part = target.with_name(target.name + ".part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            about = {"what": FORMAT, "node_id": source.node_id, "made_ms": now_ms, "version": source.version}
            sealed = SealedWriter(file, passphrase, about)
            with tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                catalog.read(lambda c: _write(c, _Members(tar, now_ms), source, now_ms))
            sealed.finish()
            file.flush()
            os.fsync(file.fileno())
        contents = verify(part, passphrase)
        os.link(part, target)  # unlike rename(2) it never overwrites
    except OSError as exc:
        raise TiergateError(Kind.ENVIRONMENT, "backup.not_written", problem=exc.strerror or "?") from exc
    finally:
        part.unlink(missing_ok=True)
    fsync_folder(target.parent)
    return contents


class _Members:
    def __init__(self, tar: tarfile.TarFile, now_ms: int) -> None:
        self._tar, self._now_s = tar, now_ms // 1000

    def add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), self._now_s, 0o600
        self._tar.addfile(info, io.BytesIO(data))

    def add_json(self, name: str, value: Any) -> None:
        self.add(name, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _write(connection: Connection, members: _Members, source: Source, now_ms: int) -> None:
    head = audit.checkpoint(connection, source.node_key, now_ms)
    keys = sorted(path for path in source.keys_folder.iterdir() if path.is_file())
    manifest = {
        "format": FORMAT,
        "node_id": source.node_id,
        "made_ms": now_ms,
        "version": source.version,
        "revision": migrate.revision_of(connection),
        "audit": head.as_json(),
        "keys": [path.name for path in keys],
    }
    members.add_json("manifest.json", manifest)
    members.add("settings.toml", source.settings_file.read_bytes())
    for path in keys:
        members.add(f"keys/{path.name}", path.read_bytes())
    counts: dict[str, int] = {}
    for one in _tables(connection):
        counts[one.name] = 0
        for number, rows in enumerate(_chunks(connection, one)):
            counts[one.name] += len(rows)
            body = {"columns": [[c.name, _kind(c.type)] for c in one.columns], "rows": rows}
            members.add_json(f"catalog/{one.name}/{number:06d}.json", body)
    members.add_json("end.json", {"rows": counts})


def _tables(connection: Connection) -> list[Table]:
    """As they are in the catalog, not as this version would have them; referred ones first."""
    found = MetaData()
    found.reflect(connection)
    return [one for one in found.sorted_tables if one.name not in _LEFT_OUT]


def _kind(type_: Any) -> str:
    return "bytes" if isinstance(type_, LargeBinary) else "json" if isinstance(type_, JSON) else "plain"


def _chunks(connection: Connection, one: Table) -> Iterator[list[list[Any]]]:
    # JSON as the text that stands there: a missing value and the JSON word null are not the same.
    shown = [cast(c, Text) if _kind(c.type) == "json" else c for c in one.columns]
    query = select(*shown).order_by(*one.primary_key).execution_options(yield_per=CHUNK_ROWS)
    for page in connection.execute(query).partitions():
        yield [[crypto.b64(v) if isinstance(v, bytes) else v for v in row] for row in page]


# --- reading ---


@dataclass(slots=True)
class _Reading:
    """One pass over a backup: `manifest` is there after the first member."""

    reader: SealedReader
    tar: tarfile.TarFile
    manifest: dict[str, Any] = field(default_factory=dict)

    def members(self) -> Iterator[tuple[str, bytes]]:
        try:
            for info in self.tar:
                if not info.isreg() or not 0 <= info.size <= _CHUNK_MAX_BYTES:
                    raise _bad("member")
                file = self.tar.extractfile(info)
                data = file.read() if file is not None else b""
                if info.name == "manifest.json":
                    self.manifest = json.loads(data)
                    if self.manifest["format"] != FORMAT:
                        raise _bad("format")
                yield info.name, data
        except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as exc:
            raise _bad(type(exc).__name__) from exc
        self.reader.drain()


def _open(file: IO[bytes], passphrase: Secret) -> _Reading:
    reader = SealedReader(file, passphrase)
    try:
        return _Reading(reader, tarfile.open(fileobj=io.BufferedReader(reader), mode="r|"))
    except tarfile.TarError as exc:
        raise _bad(type(exc).__name__) from exc


def verify(path: Path, passphrase: Secret) -> Contents:
    """Reads all of it: every record authentic, nothing cut off, every row counted, the audit chain whole up to the
    head that the node signed. Raises backup.passphrase, backup.damaged, backup.malformed and their kin."""
    counts: dict[str, int] = {}
    keys: list[str] = []
    chain = (0, audit.GENESIS)
    ended = None
    with path.open("rb") as file:
        reading = _open(file, passphrase)
        for name, data in reading.members():
            folder, _, rest = name.partition("/")
            if ended is not None:
                raise _bad(name)
            if folder == "keys":
                keys.append(rest)
            elif folder == "catalog":
                table_name, rows = _rows_of(name, data)
                counts[table_name] = counts.get(table_name, 0) + len(rows)
                if table_name == "audit":
                    entries = [_entry(row) for row in rows]
                    if audit.verify(entries, chain) is not None:
                        raise _bad("audit")
                    chain = (entries[-1].seq, entries[-1].digest) if entries else chain
            elif name == "end.json":
                ended = {name: count for name, count in _json(data)["rows"].items() if count}
    manifest = reading.manifest
    if ended is None or ended != counts:
        raise _bad("rows")
    try:
        head = audit.Checkpoint.from_json(manifest["audit"])
        signed = audit.signature_holds(head, head.public_key) and crypto.key_id(head.public_key) == manifest["node_id"]
        if not signed or (head.seq, head.digest) != chain or sorted(keys) != sorted(manifest["keys"]):
            raise _bad("audit")
        return Contents(
            manifest["node_id"], int(manifest["made_ms"]), str(manifest["version"]), str(manifest["revision"]),
            head.seq, head.digest.hex(), tuple(keys), counts,
        )  # fmt: skip
    except (KeyError, ValueError, TypeError) as exc:
        raise _bad(type(exc).__name__) from exc


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as exc:
        raise _bad("JSON") from exc


def _rows_of(name: str, data: bytes) -> tuple[str, list[dict[str, Any]]]:
    """(table, rows) of one member: bytes are bytes again, JSON is its text."""
    body = _json(data)
    try:
        names = [column_name for column_name, _ in body["columns"]]
        binary = [kind == "bytes" for _, kind in body["columns"]]
        rows = [
            {
                n: crypto.unb64(v) if is_bytes and v is not None else v
                for n, v, is_bytes in zip(names, row, binary, strict=True)
            }
            for row in body["rows"]
        ]
    except (ValueError, KeyError, TypeError) as exc:
        raise _bad(name) from exc
    return name.split("/")[1], rows


def _entry(row: dict[str, Any]) -> audit.Entry:
    return audit.Entry(
        row["seq"], row["at_ms"], row["actor"], row["action"], row["subject"], _json(row["details"]), row["previous"],
        row["digest"],
    )  # fmt: skip


def read_files(path: Path, passphrase: Secret) -> tuple[bytes, dict[str, bytes]]:
    """(settings, keys by name)."""
    settings, keys = b"", {}
    with path.open("rb") as file:
        for name, data in _open(file, passphrase).members():
            folder, _, rest = name.partition("/")
            if name == "settings.toml":
                settings = data
            elif folder == "keys" and rest and "/" not in rest and not rest.startswith("."):
                keys[rest] = data
            elif folder == "catalog":
                break
    return settings, keys


def load_catalog(path: Path, passphrase: Secret, url: str, finish: Callable[[Connection], None]) -> None:
    """Fills an empty catalog, in one transaction: all or nothing. The schema is made as it was, filled, and brought to
    this version's; then `finish(connection)`. Raises media.catalog_newer, backup.catalog_there."""
    if migrate.current(url) is not None:
        raise TiergateError(Kind.CONFLICT, "backup.catalog_there")
    sqlite_file = migrate.sqlite_path(url)
    if sqlite_file is not None:
        sqlite_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = make_engine(url)
    try:
        with path.open("rb") as file, writing(engine) as connection:
            reading = _open(file, passphrase)
            loader: _Loader | None = None
            for name, data in reading.members():
                if not name.startswith("catalog/"):
                    continue
                if loader is None:
                    migrate.is_due(reading.manifest["revision"])
                    migrate.upgrade(connection, reading.manifest["revision"])
                    loader = _Loader(connection)
                loader.load(*_rows_of(name, data))
            if loader is None:
                raise _bad("catalog")
            loader.finish()
            migrate.upgrade(connection)
            finish(connection)
    finally:
        engine.dispose()
    if sqlite_file is not None:
        fsync_folder(sqlite_file.parent)


class _Loader:
    """Rows into tables that the migrations have just made."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        tables = _tables(connection)
        self._tables = {one.name: one for one in tables}
        self._later: list[tuple[Table, str, dict[str, Any]]] = []
        for one in reversed(tables):  # what the migrations put in is in the backup too, as it became
            connection.execute(delete(one))

    def load(self, name: str, rows: list[dict[str, Any]]) -> None:
        one = self._tables.get(name)
        if one is None:
            raise _bad(name)
        for key in _to_itself(one):
            self._later += [(one, key, row) for row in rows if row[key] is not None]
            rows = [row | {key: None} for row in rows]
        statement = self._insertion(one)
        for start in range(0, len(rows), CHUNK_ROWS):
            self._connection.execute(statement, [_named(row) for row in rows[start : start + CHUNK_ROWS]])

    def finish(self) -> None:
        """References inside one table, once all of its rows are there."""
        for one, key, row in self._later:
            here = [c == row[c.name] for c in one.primary_key]
            self._connection.execute(update(one).where(*here).values({key: row[key]}))

    def _insertion(self, one: Table) -> Any:
        """JSON goes in as the text that it was: SQLite keeps text, PostgreSQL is told to read it."""
        is_postgres = self._connection.dialect.name == "postgresql"
        values: dict[str, Any] = {}
        for c in one.columns:
            is_json = _kind(c.type) == "json"
            bound = bindparam(f"v_{c.name}", type_=Text() if is_json else c.type)
            values[c.name] = cast(bound, JSON) if is_json and is_postgres else bound
        plain = table(one.name, *(column(c.name) for c in one.columns))
        return insert(plain).values(values)


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {f"v_{name}": value for name, value in row.items()}


def _to_itself(one: Table) -> Sequence[str]:
    return [key.parent.name for key in one.foreign_keys if key.column.table is one]


# --- many of them ---


def file_name(node_id: str, stamp: str) -> str:
    return f"tiergate-{node_id}-{stamp}.backup"


def rotate(folder: Path, node_id: str, keep: int) -> list[str]:
    """Removes all but the newest `keep` backups of this node; their names. Other files are nobody's business."""
    mine: Iterable[Path] = sorted(folder.glob(file_name(node_id, "[0-9]*")), reverse=True)
    removed = [path.name for path in list(mine)[keep:]]
    for name in removed:
        (folder / name).unlink(missing_ok=True)
    return removed
