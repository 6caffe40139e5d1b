"""The call register as this process writes it: a durable row before the first byte, closed after the last.

When the catalog cannot be written, the row goes into a journal of this process under ``run/`` (fsynced) and is
replayed later; when that fails too, there is no picture (FAULTS S19). What a dead process left open is closed as
``crashed``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from gateway.access.ids import fresh_id
from gateway.ops.tasks import alongside
from storage.catalog import register as rows
from storage.catalog import sessions
from storage.catalog.engine import Catalog
from storage.catalog.register import RegisterRow
from tiering.grants import Function, LeaseFact, Principal, Stream

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
        self._journal = run_dir / ("register-" + self.process.replace(":", "-") + ".journal")

    async def open(self, entry: Entry, admit: Admit | None = None) -> str:
        """The id of the durable row. Raises access.register_away when it could not be written anywhere.

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
            await self._catalog.awrite(write)
        except asyncio.CancelledError:
            # The write may be done all the same: nobody would close the row, and it would take a place for ever.
            await asyncio.shield(self.close(row.id, "error", 0))
            raise
        except SQLAlchemyError as exc:
            if admit is not None:
                raise TiergateError(Kind.UNAVAILABLE, "access.register_away") from exc
            _log.error("the catalog cannot be written; the register goes on in the journal", exc_info=True)
            await self._note({"open": asdict(row)})
        return row.id

    async def close(self, id_: str, result: str, sent_bytes: int | None) -> None:
        """Never raises: the look is over in any case; what cannot be written stays open and is closed as crashed."""
        now_ms = wall_ms(self._clock)
        try:
            await self._catalog.awrite(lambda c: rows.close_row(c, id_, now_ms, sent_bytes, result))
        except SQLAlchemyError:
            with contextlib.suppress(TiergateError):
                await self._note({"close": {"id": id_, "now_ms": now_ms, "sent_bytes": sent_bytes, "result": result}})

    async def _note(self, value: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(_append, self._journal, json.dumps(value, ensure_ascii=False))
        except OSError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "access.register_away") from exc

    # --- afterwards --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def tending(self) -> AsyncIterator[None]:
        """Closes what dead processes left, replays journals, and goes on replaying."""
        await self.recover()
        async with alongside(self._tend(), "register"):
            yield

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(REPLAY_S)
            if self._journal.exists():
                try:
                    await self.replay(self._journal)
                except (SQLAlchemyError, OSError):
                    _log.warning("the register's journal waits for the catalog")

    async def recover(self) -> int:
        """Replays journals of dead processes, then closes their open rows; how many were closed."""
        for path in sorted(self._run_dir.glob("register-*.*")):
            mark = ":".join(path.stem.removeprefix("register-").rsplit("-", 2))
            if mark == self.process or not is_alive(mark):
                await self.replay(path.with_suffix(".journal"))
        return await self._catalog.awrite(self._close_dead)

    def _close_dead(self, connection: Connection) -> int:
        closed, now_ms = 0, wall_ms(self._clock)
        for row in rows.open_rows(connection):
            if row.process != self.process and not is_alive(row.process):
                closed += rows.close_row(connection, row.id, now_ms, row.bytes, "crashed")
                sessions.end_media_sessions_of(connection, row.id, now_ms)
        return closed

    async def replay(self, path: Path) -> None:
        """Applies a journal and removes it; applied twice it changes nothing."""
        taken = path.with_suffix(".replaying")
        if not taken.exists():
            try:
                path.rename(taken)
            except FileNotFoundError:
                return
        lines = [json.loads(line) for line in taken.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        await self._catalog.awrite(lambda c: _apply(c, lines))
        taken.unlink(missing_ok=True)


def _apply(connection: Connection, lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if "open" in line:
            rows.open_row(connection, RegisterRow(**line["open"]))
        else:
            close = line["close"]
            rows.close_row(connection, close["id"], close["now_ms"], close["sent_bytes"], close["result"])


def _append(path: Path, line: str) -> None:
    fresh = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


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
