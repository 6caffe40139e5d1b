"""The call register as this process writes it: a durable row before the first byte, closed after the last.

When the catalog is away, the row goes into a journal of this process under ``run/`` (fsynced) and is replayed later;
when that fails too, there is no picture (FAULTS S19). A row that the catalog takes for wrong is no reason for the
journal: it would never take it. What a dead process left open is closed as ``crashed``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from gateway.access import journal
from gateway.access.ids import fresh_id
from gateway.ops.tasks import alongside
from storage.catalog import register as rows
from storage.catalog import sessions
from storage.catalog.engine import CHUNK_ROWS, UNAVAILABLE, Catalog
from storage.catalog.register import RegisterRow
from tiering.grants import Function, LeaseFact, Principal, Stream

T = TypeVar("T")

REPLAY_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known when a look opens."""

    principal: Principal
    camera_id: str
    stream: Stream
    function: Function
    purpose: str
    reason: str
    from_ms: int | None = None
    to_ms: int | None = None
    lease_id: str | None = None
    case_no: str | None = None
    client: str | None = None
    watermark: bool | None = None  #: of an export: burnt in or not


#: Open pictures by grant -> the grants under which one more is counted. Raises the refusal.
Admit = Callable[[Mapping[str, int]], tuple[str, ...]]

#: What a look under a lease is for, unless its opener says otherwise.
_PURPOSE_OF_KIND = {"emergency": "emergency", "supervision": "supervision_check"}


def under_lease(entry: Entry, lease: LeaseFact | None) -> Entry:
    """`entry` with case, reason and purpose of the lease it stands on, where the opener gave none of his own."""
    if lease is None:
        return entry
    purpose = entry.purpose if entry.purpose != "daily_watch" else _PURPOSE_OF_KIND.get(lease.kind, entry.purpose)
    return replace(
        entry,
        lease_id=lease.id,
        purpose=purpose,
        case_no=entry.case_no or lease.case_no or None,
        reason=entry.reason or lease.reason,
    )


class Registers:
    def __init__(self, catalog: Catalog, clock: Clock, run_dir: Path, process: str) -> None:
        self._catalog = catalog
        self._clock = clock
        self._run_dir = run_dir
        self.process = process_mark(process, os.getpid())
        self._journal = run_dir / ("register-" + self.process.replace(":", "-") + journal.JOURNAL)
        self._waiting: set[str] = set()  # rows whose opening stands in the journal alone
        # One: a closing asked for after its opening stands after it in the journal, whoever went away meanwhile.
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="register")

    def waits(self, id_: str) -> bool:
        """Whether a row opened here is still in the journal alone: the catalog does not know it."""
        return id_ in self._waiting

    async def open(self, entry: Entry, admit: Admit | None = None) -> str:
        """The id of the durable row. Raises access.register_away when it could not be written anywhere, and the
        database's own error for a row that it takes for wrong.

        `admit` is asked in the transaction of the row: of two that open at the same moment one counts the other.
        Without the catalog nobody can count, and what may only be opened by count is not.
        """
        row = RegisterRow(
            id=fresh_id(self._clock),
            opened_ms=wall_ms(self._clock),
            person=entry.principal.name[:120],
            unit=entry.principal.unit[:120],
            principal=entry.principal.as_json(),
            purpose=entry.purpose,
            reason=entry.reason[:2000],
            camera_id=entry.camera_id,
            stream=entry.stream,
            function=entry.function.value,
            from_ms=entry.from_ms,
            to_ms=entry.to_ms,
            lease_id=entry.lease_id,
            case_no=entry.case_no,
            client=entry.client,
            process=self.process,
            watermark=entry.watermark,
        )

        def write(connection: Connection) -> None:
            admitted = row
            if admit is not None:
                who, wall = entry.principal, entry.principal.wall
                under = admit(rows.open_under(connection, who.kind, who.id, None if wall is None else wall.id))
                admitted = replace(row, principal=row.principal | {"under": list(under)})
            rows.open_row(connection, admitted)

        try:
            try:
                await self._catalog.awrite(write)
            except UNAVAILABLE as exc:
                if admit is not None:
                    raise TiergateError(Kind.UNAVAILABLE, "access.register_away") from exc
                _log.error("the catalog cannot be written; the register goes on in the journal", exc_info=True)
                await self._note_open(row)
        except asyncio.CancelledError:
            # The write may be done all the same: nobody would close the row, and it would take a place for ever.
            await asyncio.shield(self.close(row.id, "error", 0))
            raise
        return row.id

    async def close(self, id_: str, result: str, sent_bytes: int | None) -> None:
        """Never raises: the look is over in any case; what cannot be written stays open and is closed as crashed."""
        now_ms = wall_ms(self._clock)
        if not self.waits(id_):
            try:
                await self._catalog.awrite(lambda c: rows.close_row(c, id_, now_ms, sent_bytes, result))
                return
            except SQLAlchemyError:
                _log.warning("the catalog cannot be written; the register goes on in the journal", exc_info=True)
        with contextlib.suppress(TiergateError):
            await self._note({"close": {"id": id_, "now_ms": now_ms, "sent_bytes": sent_bytes, "result": result}})

    async def _note_open(self, row: RegisterRow) -> None:
        self._waiting.add(row.id)
        try:
            await self._note({"open": asdict(row)})
        except TiergateError:
            self._waiting.discard(row.id)
            raise

    async def _note(self, value: dict[str, Any]) -> None:
        try:
            await self._on_disk(lambda: journal.append(self._journal, value))
        except OSError as exc:
            _log.error("the register's journal cannot be written", exc_info=True)
            raise TiergateError(Kind.UNAVAILABLE, "access.register_away") from exc

    async def _on_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._disk.submit(work))

    # --- afterwards --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def tending(self) -> AsyncIterator[None]:
        """Closes what dead processes left, replays journals, and goes on replaying."""
        async with alongside(self._tend(await self.recover()), "register"):
            yield

    async def _tend(self, recovered: bool) -> None:
        while True:
            await asyncio.sleep(REPLAY_S)
            if not recovered or self._may_wait():
                recovered = await self.recover()

    def _may_wait(self) -> bool:
        """Whether there is something to replay, also where the disk does not say."""
        try:
            return journal.waits(self._journal)
        except OSError:
            return True

    async def recover(self) -> bool:
        """Replays the journals of this process and of dead ones, then closes what those left open. Never raises, for a
        process must start: False says that catalog or disk did not answer and something is still to be done."""
        whole = True
        try:
            for path in self._journals():
                whole &= await self._replayed(path)
            await self._catalog.awrite(self._close_dead)
        except (SQLAlchemyError, OSError):
            _log.warning("what dead processes left in the register waits for the catalog", exc_info=True)
            return False
        return whole

    def _journals(self) -> list[Path]:
        found = (p for end in (journal.JOURNAL, journal.REPLAYING) for p in self._run_dir.glob(f"register-*{end}"))
        return sorted({path.with_suffix(journal.JOURNAL) for path in found if self._is_ours(path)})

    def _is_ours(self, path: Path) -> bool:
        mark = ":".join(path.stem.removeprefix("register-").rsplit("-", 2))
        return mark == self.process or not is_alive(mark)

    async def _replayed(self, path: Path) -> bool:
        try:
            await self.replay(path)
        except (SQLAlchemyError, OSError):
            _log.warning("a journal of the register waits", extra={"file": path.name}, exc_info=True)
            return False
        return True

    def _close_dead(self, connection: Connection) -> int:
        closed, now_ms = 0, wall_ms(self._clock)
        for row in rows.open_rows(connection):
            if row.process != self.process and not is_alive(row.process):
                closed += rows.close_row(connection, row.id, now_ms, row.bytes, "crashed")
                sessions.end_media_sessions_of(connection, row.id, now_ms)
        return closed

    async def replay(self, path: Path) -> None:
        """Applies a journal and removes it; applied twice it changes nothing. A line that cannot be applied is kept
        beside as evidence, and keeps no other back. Raises while catalog or disk do not answer: nothing is lost."""
        while (lines := await self._on_disk(lambda: journal.take(path))) is not None:
            bad: list[bytes] = []
            for start in range(0, len(lines), CHUNK_ROWS):
                chunk = lines[start : start + CHUNK_ROWS]
                bad += await self._catalog.awrite(partial(_apply, lines=chunk))
            if bad:
                _log.error("lines of the register cannot be applied", extra={"file": path.name, "lines": len(bad)})
            await self._on_disk(partial(journal.finish, path, bad))
            self._waiting.difference_update(_named(lines))


def _named(lines: list[bytes]) -> Iterator[str]:
    """Ids of their rows. A closing stands behind its opening: where one was taken, so was the other."""
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            value = json.loads(line)
            yield str((value.get("open") or value["close"])["id"])


def _apply(connection: Connection, lines: list[bytes]) -> list[bytes]:
    """Those that mean nothing, or nothing that the catalog takes."""
    bad: list[bytes] = []
    for line in lines:
        try:
            with connection.begin_nested():
                _apply_one(connection, json.loads(line))
        except UNAVAILABLE:
            raise
        except Exception:  # whatever it says, it must not keep the other lines back
            bad.append(line)
    return bad


def _apply_one(connection: Connection, line: dict[str, Any]) -> None:
    if "open" in line:
        rows.open_row(connection, RegisterRow(**line["open"]))
    else:
        close = line["close"]
        rows.close_row(connection, close["id"], close["now_ms"], close["sent_bytes"], close["result"])


def process_mark(name: str, pid: int) -> str:
    """Names one life of a process: a pid alone is used again."""
    return f"{name}:{pid}:{_start_ticks(pid)}"


def is_alive(mark: str) -> bool:
    """Whether the process that `process_mark` named still runs."""
    parts = mark.rsplit(":", 2)
    return len(parts) == 3 and parts[1].isdigit() and _start_ticks(int(parts[1])) == parts[2] != ""


def _start_ticks(pid: int) -> str:
    """Field 22 of ``/proc/<pid>/stat``; "" for one that does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
