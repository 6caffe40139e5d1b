"""The keeper in this process, on a real catalog, spool and folder store."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from config.errors import TiergateError
from config.ids import ulid
from config.settings import Settings, build
from config.units import DAY_MS, month_before, month_of_ms, month_range_ms
from gateway.access.keys import ensure_keys
from gateway.compose.keeper import build_keeper
from gateway.ops import bucket_rules, job_state, jobs
from gateway.ops.job_state import JobState
from gateway.ops.locks import KEEPER_LOCK, alone, is_held
from gateway.processes import keeper as keeper_module
from gateway.processes.keeper import Keeper
from storage import damage, journal, questions, scrub, sweeper, use_view, volume
from storage.audit import log as audit
from storage.catalog import facts, register, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.register import RegisterRow
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.keys import quarantine_key, segment_key
from storage.objects import make_evidence_store, make_store
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.objects.s3_rules import read_rules, set_rules
from tests.parts.catalog import new_catalog
from tests.parts.s3 import S3Server
from tests.storage.footage import stored_count

CAMERA = "21021100011326000001"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = build({"paths": {"data": str(tmp_path)}, "retention": {"clock_source": "trusted"}})
    ensure_keys(made)
    new_catalog(made.catalog_url)
    return made


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Keeper]:
    keeper = Keeper(build_keeper(settings, settings.paths.data / "tiergate.toml"))
    stopping = asyncio.Event()
    work = asyncio.create_task(keeper.run(stopping))
    try:
        yield keeper
    finally:
        stopping.set()
        await work
        keeper.close()


async def until(holds: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.02)


def spooled(settings: Settings, catalog: Catalog) -> SegmentRow:
    now_ms = time.time_ns() // 1_000_000
    id_, data = ulid(now_ms, bytes(10)), b"footage" * 1000
    volume.prepare(settings.paths.spool_dir, "spool")
    folder = settings.paths.spool_dir / CAMERA
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{id_}.mp4").write_bytes(data)
    key = segment_key("node", CAMERA, now_ms, id_)
    row = SegmentRow(
        id=id_, camera_id=CAMERA, stream="main", run_id="R", kind="own", state="spooled", start_ms=now_ms,
        end_ms=now_ms + 1000, start_wall_ns=now_ms * 1_000_000, time_trust="synchronised", bytes=len(data),
        sha256=hashlib.sha256(data).digest(), init_bytes=0, fragments=b"", object_key=key, volume=None,
        class_="default", created_ms=now_ms,
    )  # fmt: skip
    catalog.write(lambda c: segments.insert_segments(c, [row]))
    return row


def job_states(catalog: Catalog) -> dict[str, JobState]:
    return catalog.read(job_state.states)


async def test_it_uploads_sweeps_journals_and_remembers(settings: Settings) -> None:
    catalog = Catalog(settings.catalog_url)
    async with running(settings):
        await until(lambda: len(job_states(catalog)) == len(job_state.JOB_NAMES), "all jobs have run")
        assert {s.problem for s in job_states(catalog).values()} == {None}
        assert catalog.read(lambda c: facts.get(c, sweeper.LAST_SUCCESS)) is not None
        row = spooled(settings, catalog)
        await until(lambda: catalog.read(lambda c: segments.existing(c, [row.id]))[row.id] == "stored", "stored")
    store, node = make_store(settings), ensure_keys(settings).node_id
    assert store.head(row.object_key) is not None
    assert journal.read(store, node).policy["classes"]
    catalog.close()


@pytest.mark.fault("B7", "A34")
async def test_falling_behind_and_catching_up_are_events(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "JOURNAL_S", 0.05)
    monkeypatch.setattr(keeper_module, "BACKLOG_WARN_MS", 200)
    catalog = Catalog(settings.catalog_url)
    store = make_store(settings)
    assert isinstance(store, FolderStore)
    async with running(settings):
        await until(lambda: store.root.exists(), "the store is ready")
        await until(lambda: len(job_states(catalog)) == len(job_state.JOB_NAMES), "all jobs have run")
        store.root.rename(store.root.with_name("unplugged"))
        row = spooled(settings, catalog)

        def told(action: str) -> list[audit.Entry]:
            return catalog.read(lambda c: audit.tail(c, action=action))

        await until(lambda: bool(told("uploads.behind")), "an alarm")
        (entry,) = told("uploads.behind")
        assert (entry.details["count"], entry.details["bytes"]) == (1, row.bytes)
        store.root.with_name("unplugged").rename(store.root)
        await until(lambda: bool(told("uploads.caught_up")), "the end of it")
        assert len(told("uploads.behind")) == 1
    catalog.close()


async def test_a_spool_volume_that_hangs_costs_its_own_uploads_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the keeper's start already: an identity that nobody can read to its end, as on a dead network disk."""
    monkeypatch.setattr(keeper_module, "JOURNAL_S", 0.05)
    monkeypatch.setattr(keeper_module, "BACKLOG_WARN_MS", 200)
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    hung = tmp_path / "hung"
    paths = {"data": str(tmp_path / "data"), "extra_spools": [str(hung)]}
    settings = build({"paths": paths, "retention": {"clock_source": "trusted"}})
    ensure_keys(settings)
    new_catalog(settings.catalog_url)
    hung.mkdir()
    os.mkfifo(hung / volume.IDENTITY_FILE)
    catalog = Catalog(settings.catalog_url)
    try:
        stuck = replace(spooled(settings, catalog), id=ulid(1, bytes(10)), volume="of the disk that hangs")
        stuck = replace(stuck, object_key=segment_key("node", CAMERA, stuck.start_ms, stuck.id))
        catalog.write(lambda c: segments.insert_segments(c, [stuck]))
        async with running(settings):
            await until(lambda: len(job_states(catalog)) == len(job_state.JOB_NAMES), "all jobs have run", 60)
            await until(lambda: catalog.read(stored_count) == 1, "what lies on the other disk is stored", 60)
            behind = partial(audit.tail, action="uploads.behind")
            await until(lambda: bool(catalog.read(behind)), "that the rest waits is told", 60)
            assert {state.problem for state in job_states(catalog).values()} == {None}
        assert catalog.read(lambda c: segments.existing(c, [stuck.id])) == {stuck.id: "spooled"}
    finally:
        os.close(os.open(hung / volume.IDENTITY_FILE, os.O_RDWR))  # lets the thread that reads it go
        catalog.close()


@pytest.mark.fault("B34")
async def test_a_store_that_hangs_from_the_start_keeps_no_other_job_from_running(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), 0

    def hang(_keeper: Keeper) -> None:
        nonlocal asked
        asked += 1
        answers.wait(30)

    monkeypatch.setattr(Keeper, "make_store_ready", hang)
    monkeypatch.setattr(keeper_module, "_STORE_WAIT_S", 0.1)
    catalog = Catalog(settings.catalog_url)
    try:
        async with running(settings):
            others = set(job_state.JOB_NAMES) - {"store"}
            await until(lambda: set(job_states(catalog)) == others, "all other jobs have run")
            assert asked == 1, "it is not asked anew while it hangs"
            answers.set()
            await until(lambda: "store" in job_states(catalog), "it ends as any other")
    finally:
        answers.set()
        catalog.close()


async def test_a_failing_job_is_remembered_and_stops_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_keeper: Keeper) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Keeper, "sweep", fail)
    catalog = Catalog(settings.catalog_url)
    async with running(settings):
        await until(lambda: len(job_states(catalog)) == len(job_state.JOB_NAMES), "all jobs have run")
        failed = job_states(catalog)["sweep"]
        assert (failed.problem, failed.last_success_ms, failed.failures) == ("ZeroDivisionError", None, 1)
        assert job_states(catalog)["journal"].last_success_ms is not None
    catalog.close()


async def test_a_store_that_is_away_is_waited_for(settings: Settings, tmp_path: Path) -> None:
    """A foreign folder where the store should be: nothing is written there, and the keeper stays."""
    settings.store_folder.mkdir()
    (settings.store_folder / "somebody-else").write_text("x")
    catalog = Catalog(settings.catalog_url)
    async with running(settings) as keeper:
        row = spooled(settings, catalog)
        await until(lambda: "store" in job_states(catalog), "the store was asked for")
        assert job_states(catalog)["store"].problem == "media.volume_missing"
        assert catalog.read(lambda c: segments.existing(c, [row.id]))[row.id] == "spooled"
        (settings.store_folder / "somebody-else").unlink()
        await keeper.jobs.run("store")
        await until(lambda: catalog.read(lambda c: segments.existing(c, [row.id]))[row.id] == "stored", "stored")
    catalog.close()


async def test_a_clock_that_steps_back_does_not_put_the_jobs_to_sleep(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "WATCH_S", 0.05)
    async with running(settings) as keeper:
        await until(lambda: keeper.jobs._scheduler.get_job("journal") is not None, "scheduled")
        seen: list[str] = []
        monkeypatch.setattr(keeper.jobs, "_schedule", lambda job, _first: seen.append(job.name))
        shifted = keeper._parts.clock

        class Shifted:
            def wall_ns(self) -> int:
                return shifted.wall_ns() - 31 * 86_400 * 10**9

            def monotonic_ns(self) -> int:
                return shifted.monotonic_ns()

            def synchronised(self) -> bool | None:
                return shifted.synchronised()

        keeper.jobs._clock = Shifted()
        await until(lambda: set(seen) == set(job_state.JOB_NAMES), "every job was reckoned anew")


def test_there_is_one_keeper(settings: Settings) -> None:
    path = settings.paths.run_dir / KEEPER_LOCK
    with alone(path, "retention.keeper_running"):
        assert is_held(path)
        with pytest.raises(TiergateError) as caught, alone(path, "retention.keeper_running"):
            pass
        assert caught.value.reason.code == "retention.keeper_running"
    assert not is_held(path)


@pytest.mark.fault("B30")
async def test_the_keeper_reads_stored_footage_again_and_says_what_rotted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "SCRUB_S", 1)
    catalog = Catalog(settings.catalog_url)
    try:
        row = spooled(settings, catalog)
        async with running(settings):
            await until(lambda: catalog.read(stored_count) == 1, "stored")
            await until(lambda: catalog.read(scrub.state_of).last_bytes == row.bytes, "read again, and whole")
            assert catalog.read(lambda c: damage.count(c)) == 0
            path = settings.store_folder / row.object_key
            path.chmod(0o640)
            path.write_bytes(b"x" + path.read_bytes()[1:])
            await until(lambda: catalog.read(lambda c: damage.count(c)) == 1, "the rot is found")
            assert path.exists()
        assert job_states(catalog)["scrub"].problem is None
    finally:
        catalog.close()


async def test_a_scrub_that_is_switched_off_reads_nothing(tmp_path: Path) -> None:
    settings = build({"paths": {"data": str(tmp_path)}, "store": {"scrub_bytes_per_s": 0}})
    ensure_keys(settings)
    new_catalog(settings.catalog_url)
    catalog = Catalog(settings.catalog_url)
    try:
        async with running(settings):
            await until(lambda: "checkpoint" in job_states(catalog), "the jobs run")
        assert "scrub" not in job_states(catalog)
    finally:
        catalog.close()


async def test_last_months_report_of_use_is_made_and_kept_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(settings.catalog_url)
    last = month_before(month_of_ms(time.time_ns() // 1_000_000))
    at_ms = month_range_ms(last)[0] + 1000
    row = RegisterRow(
        ulid(at_ms, bytes(10)), at_ms, "李", "综治中心", {"kind": "user", "id": "u"}, "daily_watch", "", CAMERA, "main",
        "live", None, None, None, None, None, "web:1:1", at_ms + 60_000, 1_000, "ended",
    )  # fmt: skip
    catalog.write(lambda c: audit.append(c, at_ms, "os:x", "node.init", "x", {}))
    catalog.write(lambda c: register.open_row(c, row))
    async with running(settings) as keeper:
        await until(lambda: catalog.read(use_view.kept_months) == [last], "the report is kept")
        for _ in range(3):
            await keeper.jobs.run("reports")
        monkeypatch.setattr(keeper, "_clock_trusted", lambda: False)
        catalog.write(lambda c: facts.forget(c, use_view.KEPT + last))
        await keeper.jobs.run("reports")
        assert catalog.read(use_view.kept_months) == [], "on a doubtful clock no month is over"
    kept = catalog.read(lambda c: audit.tail(c, action="report.keep"))
    assert [(e.actor, e.subject) for e in kept] == [("keeper", f"use {last}")]
    catalog.close()


async def test_half_copies_of_footage_go_from_all_stores_when_they_have_lain_for_a_day(settings: Settings) -> None:
    keeper = Keeper(build_keeper(settings, settings.paths.data / "tiergate.toml"))
    keeper.make_store_ready()
    keeper.keep_evidence()
    day_ago_s = time.time() - 24 * 3600
    stores = make_store(settings), make_evidence_store(settings)
    left: dict[str, list[Path]] = {"old": [], "growing": []}
    for store in stores:
        assert isinstance(store, FolderStore)
        for name, at_s in (("old", day_ago_s - 5), ("growing", day_ago_s + 600)):
            path = store.root / ".incoming" / name
            path.write_bytes(b"half a segment")
            os.utime(path, (at_s, at_s))
            left[name].append(path)
    keeper.drop_leftovers()
    assert [path.exists() for path in left["old"]] == [False, False]
    assert [path.exists() for path in left["growing"]] == [True, True]
    keeper.close()


async def test_its_sweep_ends_what_was_put_aside_of_footage_that_is_gone(settings: Settings) -> None:
    keeper = Keeper(build_keeper(settings, settings.paths.data / "tiergate.toml"))
    keeper.make_store_ready()
    catalog, store = Catalog(settings.catalog_url), make_store(settings)
    here, id_ = spooled(settings, catalog), ulid(2, bytes(10))
    month_ago_ms = here.start_ms - 40 * DAY_MS
    key = segment_key(ensure_keys(settings).node_id, CAMERA, month_ago_ms, id_)
    times = {"start_ms": month_ago_ms, "end_ms": month_ago_ms + 1000}
    old = replace(here, id=id_, state="deleted", object_key=key, **times)  # type: ignore[arg-type]  # fields by name
    catalog.write(lambda c: segments.insert_segments(c, [old]))
    spool = keeper._parts.spools.volumes[0]
    parts = []
    for row in (old, here):
        path = spool.path_of(CAMERA, row.id, ".failed")
        path.write_bytes(b"pictures")
        parts.append(spool.quarantine(path))
    aside = quarantine_key(key, old.end_ms)
    store.put_bytes(aside, b"pictures")
    keeper.sweep()
    assert [path.exists() for path in parts] == [False, True]
    assert store.head(aside) is None
    keeper.close()
    catalog.close()


@pytest.mark.real
async def test_no_rule_of_a_bucket_stays_under_held_footage_while_the_evidence_store_fails(
    s3_factory: Callable[[], S3Server], tmp_path: Path
) -> None:
    server = s3_factory()
    store = server.settings(server.new_bucket("net")) | {"expire_by_rule": True, "evidence_bucket": "No_Bucket"}
    settings = build({"paths": {"data": str(tmp_path)}, "retention": {"clock_source": "trusted"}, "store": store})
    node = ensure_keys(settings).node_id
    new_catalog(settings.catalog_url)
    catalog, video = Catalog(settings.catalog_url), make_store(settings)
    assert isinstance(video, S3Store)
    video.ensure()

    def net() -> list[int]:
        return [rule.expire_days for rule in read_rules(video) or [] if rule.expire_days is not None]

    keeper = Keeper(build_keeper(settings, tmp_path / "tiergate.toml"))
    set_rules(video, catalog.read(lambda c: bucket_rules.plans(c, settings, node))[0].rules)
    await keeper.jobs.run("rules")
    assert net() == [3 * 31 + 30] * 10
    catalog.write(lambda c: retention_rows.set_class_months(c, "key", 6, 180, 0))
    await keeper.jobs.run("rules")
    assert net() == [6 * 31 + 30] * 10
    hold = HoldRow("H" * 26, (CAMERA,), 1, 2, "o", "why", "A-1", None, "3_months", 9, 1, None, None)
    catalog.write(lambda c: retention_rows.add_hold(c, hold))
    for job in ("evidence", "rules"):
        await keeper.jobs.run(job)
    assert job_states(catalog)["evidence"].problem is not None and job_states(catalog)["rules"].problem is None
    assert net() == []
    told = catalog.read(lambda c: audit.tail(c, action="retention.rules_loosened"))
    assert [entry.actor for entry in told] == ["keeper", "keeper"]
    server.kill()
    await keeper.jobs.run("rules")
    assert job_states(catalog)["rules"].problem == "media.store_unavailable"
    keeper.close()
    catalog.close()
