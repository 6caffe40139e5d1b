"""The register while the catalog is away: what stands in the journal is never lost, and never in the way (S19)."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, OperationalError

from config.clock import ManualClock
from config.errors import Kind, TiergateError
from gateway.access import journal
from gateway.access.register import Entry, Registers
from storage.catalog import register
from storage.catalog.engine import Catalog
from storage.catalog.register import RegisterRow
from tests.parts.catalog import new_catalog
from tests.parts.postgres import Postgres
from tests.parts.wait import until_async
from tiering.access import Function, Principal

WHO = Principal("user", "u1", "li", "Li", "测试社区")
DEAD = "register-web-999999999-12345"


class Away:
    """A catalog that does not answer while it is `away`."""

    def __init__(self, real: Catalog) -> None:
        self.real = real
        self.away = False

    async def awrite(self, change: Any) -> Any:
        if self.away:
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        return await self.real.awrite(change)


class Desk:
    """A process that writes the register."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.catalog = Away(Catalog(url))
        self.registers = Registers(self.catalog, ManualClock(), folder, "web")  # type: ignore[arg-type]  # the part that writes

    async def open(self, reason: str = "", away: bool = True) -> str:
        self.catalog.away = away
        try:
            return await self.registers.open(Entry(WHO, "C1", "main", Function.LIVE, "daily_watch", reason))
        finally:
            self.catalog.away = False

    def rows(self) -> dict[str, RegisterRow]:
        return {row.id: row for row in self.catalog.real.read(lambda c: register.rows(c))}

    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.folder.glob("register-*"))

    def results_are(self, *wanted: str | None) -> Callable[[], Awaitable[bool]]:
        """Whether these are the results of all rows, and no file is left."""

        async def are() -> bool:
            return [row.result for row in self.rows().values()] == list(wanted) and not self.files()

        return are

    async def replay(self) -> None:
        await self.registers.replay(self.registers._journal)


@pytest.fixture
def desk(catalog_url: str, tmp_path: Path) -> Iterator[Desk]:
    """On each database."""
    made = Desk(catalog_url, tmp_path)
    yield made
    made.catalog.real.close()


def row(id_: str, **more: Any) -> RegisterRow:
    plain = RegisterRow(
        id_,
        1,
        "李",
        "x",
        WHO.as_json(),
        "daily_watch",
        "",
        "C1",
        "main",
        "live",
        None,
        None,
        None,
        None,
        None,
        "web:1:1",
    )
    return replace(plain, **more)


def opened(id_: str, **more: Any) -> bytes:
    return json.dumps({"open": asdict(row(id_)) | more}).encode()


def closed(id_: str) -> bytes:
    return json.dumps({"close": {"id": id_, "now_ms": 5, "sent_bytes": 7, "result": "ended"}}).encode()


# --- what people write -----------------------------------------------------------------------------------------------


@pytest.mark.fault("S19")
@pytest.mark.parametrize(
    "reason", ["see\u2028note", "a\u2029b", "a\x85b", "a\x0bb\x0cc\x1cd", "a\r\nb\nc", "值班 😀", '"}{']
)
async def test_no_character_of_a_reason_breaks_the_journal(desk: Desk, reason: str) -> None:
    ids = [await desk.open("somebody else"), await desk.open(reason), await desk.open("a third")]
    assert await desk.registers.recover()
    assert {i: r.reason for i, r in desk.rows().items()} == dict(
        zip(ids, ("somebody else", reason, "a third"), strict=True)
    )
    assert desk.files() == []


async def test_a_journal_of_before_with_raw_line_separators_is_replayed(desk: Desk) -> None:
    line = json.dumps({"open": asdict(row("R1", reason="see\u2028note\x85"))}, ensure_ascii=False)
    (desk.folder / f"{DEAD}.journal").write_text(line + "\n", encoding="utf-8")
    assert await desk.registers.recover()
    assert desk.rows()["R1"].reason == "see\u2028note\x85"


# --- lines that cannot be applied ------------------------------------------------------------------------------------

WRONG = [
    b'{"open": {"id": "torn',
    b'{"open": {"id": "glued"{"close": {}}',
    b"\xff\xfe\x00",
    b"[]",
    b"7",
    b"{}",
    b"[" * 100_000,
    b'{"open": null}',
    b'{"close": {"id": "R1"}}',
    opened("W1", surprise=1),
    opened("W2", camera_id=None),
    opened("W3", person={"a": 1}),
    opened("W4", from_ms=1 << 80),
    opened("W5", reason="\ud800"),
]


@pytest.mark.fault("S19")
async def test_a_line_that_cannot_be_applied_is_kept_beside_and_keeps_no_other_back(desk: Desk) -> None:
    path = desk.folder / f"{DEAD}.journal"
    good = [opened("R1"), opened("R2"), closed("R2")]
    between = [line for at, bad in enumerate(WRONG) for line in (bad, *good[at : at + 1])]
    path.write_bytes(b"\n".join(between) + b"\n")
    assert await desk.registers.recover()
    assert {i: r.result for i, r in desk.rows().items()} == {"R1": "crashed", "R2": "ended"}
    assert desk.files() == [".bad"]
    kept = path.with_suffix(".bad")
    assert kept.read_bytes().split(b"\n")[:-1] == WRONG and kept.stat().st_mode & 0o777 == 0o600
    assert journal.unapplied(desk.folder) == len(WRONG)
    before = desk.rows()
    path.write_bytes(b"\n".join(between) + b"\n")  # killed between the last transaction and the end
    assert await desk.registers.recover()
    assert desk.rows() == before and journal.unapplied(desk.folder) == len(WRONG)


def _nested(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values) | st.dictionaries(st.text(), values)


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), _nested)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.binary(max_size=40)
        | st.builds(lambda v: json.dumps(v).encode(), VALUES)
        | st.builds(
            lambda n, v: opened("X", **{n: v}), st.sampled_from(sorted(RegisterRow.__dataclass_fields__)), VALUES
        )
        | st.builds(lambda v: json.dumps({"close": v}).encode(), VALUES),
        max_size=8,
    ),
    at=st.integers(0, 8),
)
def test_whatever_stands_in_a_journal_the_other_lines_are_applied(tmp_path: Path, lines: list[bytes], at: int) -> None:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    for old in (*folder.iterdir(), *tmp_path.glob("c.db*")):
        old.unlink()
    url = f"sqlite:///{tmp_path / 'c.db'}"
    new_catalog(url)
    desk = Desk(url, folder)
    (folder / f"{DEAD}.journal").write_bytes(b"\n".join([*lines[:at], opened("GOOD"), closed("GOOD"), *lines[at:]]))
    try:
        assert asyncio.run(desk.registers.recover())
        assert desk.rows()["GOOD"].bytes == 7 and set(desk.files()) <= {".bad"}
    finally:
        desk.catalog.real.close()


async def test_a_process_starts_while_the_catalog_is_away_and_goes_on_afterwards(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.access.register.REPLAY_S", 0.01)
    (desk.folder / f"{DEAD}.journal").write_bytes(opened("R1", process="web:999999999:12345") + b"\n")
    desk.catalog.away = True
    async with desk.registers.tending():
        assert desk.rows() == {}
        desk.catalog.away = False
        await until_async(desk.results_are("crashed"), 20, "the row is closed")


async def test_what_was_taken_when_the_catalog_went_away_again_is_replayed_without_a_new_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.access.register.REPLAY_S", 0.01)
    await desk.open()
    desk.catalog.away = True
    with pytest.raises(OperationalError):
        await desk.replay()
    assert desk.files() == [".replaying"]
    async with desk.registers.tending():
        desk.catalog.away = False
        await until_async(desk.results_are(None), 20, "the row is there")


async def test_a_disk_that_does_not_even_say_whether_there_is_a_journal_ends_no_replay(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.access.register.REPLAY_S", 0.01)
    real, failed = journal.waits, 0

    def waits(path: Path) -> bool:
        nonlocal failed
        if failed < 3:
            failed += 1
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    async def has_failed() -> bool:
        return failed == 3

    monkeypatch.setattr(journal, "waits", waits)
    async with desk.registers.tending():
        await until_async(has_failed, 20, "the disk has failed")
        await desk.open()
        await until_async(desk.results_are(None), 20, "the row is there")


# --- a full disk -----------------------------------------------------------------------------------------------------

_ON_A_FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from config.errors import TiergateError
from tests.gateway.access.test_register_journal import Away, Entry, Function, ManualClock, Registers, WHO

async def main(folder):
    away = Away(None)
    away.away = True
    registers = Registers(away, ManualClock(), folder, "web")
    async def look(reason):
        return await registers.open(Entry(WHO, "C1", "main", Function.LIVE, "daily_watch", reason))
    await look("first")
    size = registers._journal.stat().st_size
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for room in (0, 1, 200):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, resource.RLIM_INFINITY))
        try:
            await look("second")
        except TiergateError as error:
            print(error.reason.code, registers._journal.stat().st_size - size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await look("third")

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.fault("S19")
async def test_on_a_full_disk_a_line_is_there_as_a_whole_or_there_is_no_picture(desk: Desk) -> None:
    argv = [sys.executable, "-c", _ON_A_FULL_DISK, str(desk.folder)]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["access.register_away 0"] * 3
    assert await desk.registers.recover()
    assert sorted(r.reason for r in desk.rows().values()) == ["first", "third"] and desk.files() == []


def test_a_torn_line_that_could_not_be_taken_back_spoils_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "register-web-1-1.journal"
    path.write_bytes(b'{"open": {"id"')
    journal.append(path, {"a": 1})
    assert journal.take(path) == [b'{"open": {"id"', b'{"a": 1}']


# --- what the catalog takes for wrong --------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.fault("S19")
async def test_a_row_that_the_catalog_takes_for_wrong_is_no_reason_for_the_journal(
    postgres: Postgres, tmp_path: Path
) -> None:
    desk = Desk(postgres.fresh_catalog(), tmp_path)
    try:
        with pytest.raises(DBAPIError):
            await desk.open("a\0b", away=False)
        assert desk.files() == [] and desk.rows() == {}
    finally:
        desk.catalog.real.close()


# --- closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.fault("S19")
async def test_a_look_opened_in_the_journal_is_closed_though_the_catalog_is_back_before_the_replay(desk: Desk) -> None:
    id_ = await desk.open()
    await desk.registers.close(id_, "ended", 1234)
    await desk.replay()
    assert (desk.rows()[id_].result, desk.rows()[id_].bytes) == ("ended", 1234)
    assert not desk.registers.waits(id_)


async def test_a_look_whose_opening_is_replayed_is_closed_in_the_catalog(desk: Desk) -> None:
    id_ = await desk.open()
    assert desk.registers.waits(id_)
    await desk.replay()
    assert not desk.registers.waits(id_) and desk.rows()[id_].result is None
    await desk.registers.close(id_, "ended", 5)
    assert desk.rows()[id_].result == "ended" and desk.files() == []


async def test_a_closing_between_the_taking_and_its_end_is_applied_next(desk: Desk) -> None:
    id_ = await desk.open()
    taken = journal.take(desk.registers._journal)
    assert taken is not None
    await desk.registers.close(id_, "ended", 5)
    assert desk.files() == [".journal", ".replaying"]
    await desk.replay()
    assert desk.rows()[id_].result == "ended" and desk.files() == []


@pytest.mark.fault("S19")
async def test_a_caller_who_goes_away_while_the_journal_is_written_leaves_no_open_row(desk: Desk) -> None:
    """Whichever step it is at: before, during or after the line is written."""
    for steps in range(8):
        opening = asyncio.create_task(desk.open())
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        if not opening.cancelled():
            await desk.registers.close(opening.result(), "error", 0)
    await desk.replay()
    assert {r.result for r in desk.rows().values()} <= {"error"} and desk.files() == []


async def test_without_catalog_and_journal_a_closing_raises_nothing(desk: Desk) -> None:
    id_ = await desk.open()
    desk.registers._journal = desk.folder / "missing" / "x.journal"
    await desk.registers.close(id_, "ended", 5)
    with pytest.raises(TiergateError) as refused:
        await desk.open()
    assert refused.value.kind is Kind.UNAVAILABLE
