"""The report of use against registers counted by hand; the reports that are kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from config.errors import TiergateError
from config.ids import ulid
from config.units import DAY_MS, month_before, month_of_ms, month_range_ms, parse_time_ms
from storage import use_view
from storage.audit import log
from storage.catalog import facts, register
from storage.catalog.engine import Catalog
from storage.catalog.register import RegisterRow
from storage.catalog.tables import fact, lease, link
from storage.catalog.tables import register as register_table
from storage.use import RegisteredLook, Use

MONTH = "2026-10"
FROM_MS, TO_MS = month_range_ms(MONTH)
NOW_MS = parse_time_ms("2026-11-02T09:00:00+08:00")
UPPER = "upper-node-key-i"


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    made = Catalog(catalog_url)
    yield made
    made.close()


@dataclass
class Rows:
    """Writes rows of the register as looks leave them."""

    catalog: Catalog
    count: int = 0

    def put(self, opened: str, seconds: float | None, **more: Any) -> str:
        self.count += 1
        opened_ms = parse_time_ms(opened)
        kind = more.pop("kind", "user")
        ended: dict[str, Any] = {"closed_ms": None, "bytes": None, "result": None}
        if seconds is not None:
            ended = {"closed_ms": opened_ms + round(seconds * 1000), "bytes": 1_000, "result": "ended"}
        principal = {"kind": kind, "id": more.pop("id", f"id of {kind}"), "login": "x", "name": "x", "unit": "x"}
        base: dict[str, Any] = {
            "person": "李", "unit": "综治中心", "purpose": "daily_watch", "reason": "", "camera_id": "c1",
            "stream": "main", "function": "live", "from_ms": None, "to_ms": None, "lease_id": None, "case_no": None,
            "client": None, "process": "web:1:1",
        }  # fmt: skip
        id_ = ulid(opened_ms, self.count.to_bytes(10, "big"))
        row = RegisterRow(id=id_, opened_ms=opened_ms, principal=principal, **base | ended | more)
        self.catalog.write(lambda c: register.open_row(c, row))
        return id_

    def lease(self, id_: str, side: str, kind: str) -> None:
        def write(connection: Any) -> None:
            if connection.execute(select(link.c.id)).first() is None:
                connection.execute(
                    insert(link).values(
                        id="K", peer_node=UPPER, peer_name="街道", peer_region="210102001", peer_tier="street",
                        peer_role="upper", url="http://x", public_key=bytes(32), created_ms=0,
                    )
                )  # fmt: skip
            connection.execute(
                insert(lease).values(
                    id=id_, side=side, link_id="K", mechanism=kind, mechanism_version=1, kind=kind, case_no="A-1",
                    reason="x", persons=[], cameras=[], functions=[], max_stream="main", issued_ms=0, expires_ms=1,
                    cache_until_ms=1, document="", signature="",
                )
            )  # fmt: skip

        self.catalog.write(write)


@pytest.fixture
def rows(catalog: Catalog) -> Rows:
    return Rows(catalog)


def told(catalog: Catalog, month: str = MONTH, now_ms: int = NOW_MS, node: str | None = None) -> dict[str, Any]:
    return catalog.read(lambda c: use_view.report(c, month, now_ms, node))


def line(report: dict[str, Any], **wanted: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [item for item in report["items"] if all(item[name] == value for name, value in wanted.items())]
    return found


# --- months ----------------------------------------------------------------------------------------------------------


def test_a_month_is_of_the_calendar_of_shanghai() -> None:
    assert FROM_MS == parse_time_ms("2026-09-30T16:00:00Z") and TO_MS == parse_time_ms("2026-10-31T16:00:00Z")
    assert month_range_ms("2028-02")[1] - month_range_ms("2028-02")[0] == 29 * DAY_MS
    assert month_range_ms("2026-12")[1] == month_range_ms("2027-01")[0]
    assert (month_of_ms(FROM_MS), month_of_ms(FROM_MS - 1)) == ("2026-10", "2026-09")
    assert month_before("2027-01") == "2026-12"
    for bad in ("2026-13", "2026-00", "2026-1", "1999-12", "２０２６-10", "2026-10-01", ""):
        with pytest.raises(TiergateError) as refused:
            month_range_ms(bad)
        assert refused.value.reason.code == "time.month_malformed", bad


# --- counted by hand -------------------------------------------------------------------------------------------------


def test_looks_at_the_edges_of_the_month(catalog: Catalog, rows: Rows) -> None:
    rows.put("2026-10-01T00:00:00+08:00", 100)  # the first instant is of the month
    rows.put("2026-09-30T23:59:50+08:00", 30)  # 20 s of it, its bytes too
    rows.put("2026-10-31T23:59:30+08:00", 90, person="王", camera_id="c2")  # 30 s; its bytes are November's
    rows.put("2026-11-01T00:00:00+08:00", 5, camera_id="c3")  # November's
    rows.put("2026-09-30T23:00:00+08:00", 3_600, camera_id="c4")  # ended with the last instant of September
    rows.put("2026-09-01T00:00:00+08:00", 60, camera_id="c5")  # September's
    found = line(told(catalog), unit="综治中心")
    assert (found["looks"], found["earlier"], found["running"]) == (2, 2, 1)
    assert (found["watched_s"], found["bytes"]) == (100 + 20 + 30, 3_000)
    assert (found["persons"], found["cameras"]) == (2, 3)
    september = line(told(catalog, "2026-09"), unit="综治中心")
    assert (september["looks"], september["watched_s"], september["bytes"]) == (3, 10 + 3_600 + 60, 1_000)
    november = line(told(catalog, "2026-11"), unit="综治中心")
    assert (november["looks"], november["earlier"], november["watched_s"]) == (1, 1, 60 + 5)


def test_an_open_look_counts_until_now_or_the_months_end(catalog: Catalog, rows: Rows) -> None:
    rows.put("2026-10-20T00:00:00+08:00", None, bytes=77)
    running = told(catalog, now_ms=parse_time_ms("2026-10-20T00:10:00+08:00"))
    assert (running["whole"], line(running, unit="综治中心")["watched_s"]) == (False, 600)
    found = line(told(catalog), unit="综治中心")
    assert (found["looks"], found["running"], found["watched_s"]) == (1, 1, 12 * 86_400)
    assert found["bytes"] == 0, "they are of the month in which it ends"
    november = line(told(catalog, "2026-11"), unit="综治中心")
    assert (november["looks"], november["earlier"], november["watched_s"]) == (0, 1, (NOW_MS - TO_MS) // 1000)


def test_each_unit_purpose_function_and_mechanism_has_a_line(catalog: Catalog, rows: Rows) -> None:
    rows.lease("E", "held", "emergency")
    rows.lease("S", "granted", "supervision")
    rows.put("2026-10-05T08:00:00+08:00", 60)
    rows.put("2026-10-05T09:00:00+08:00", 40, person="王", camera_id="c2")
    rows.put("2026-10-06T08:00:00+08:00", 10, function="playback", purpose="incident_review", case_no="A-1")
    rows.put("2026-10-06T08:00:00+08:00", 7, kind="token", unit="教育局", person="校园", result="revoked")
    rows.put("2026-10-07T08:00:00+08:00", 20, lease_id="E", purpose="emergency", case_no="A-7", camera_id="low")
    rows.put("2026-10-07T08:00:00+08:00", 20, lease_id="E", purpose="emergency", case_no="A-7", camera_id="low2")
    rows.put("2026-10-08T08:00:00+08:00", 30, kind="node", id=UPPER, unit="街道", person="赵、钱", lease_id="S",
             purpose="supervision_check", case_no="T-1")  # fmt: skip
    rows.put("2026-10-09T08:00:00+08:00", 3, lease_id="gone", purpose="emergency", case_no="x", result="crashed")
    report = told(catalog)
    assert len(report["items"]) == 6
    own = line(report, unit="综治中心", purpose="daily_watch")
    assert (own["viewer"], own["pictures"], own["mechanism"]) == ("user", "own", "own")
    assert (own["looks"], own["persons"], own["cameras"], own["watched_s"], own["bytes"]) == (2, 2, 2, 100, 2_000)
    token = line(report, viewer="token")
    assert (token["unit"], token["looks"], token["cut"], token["mechanism"]) == ("教育局", 1, 1, "own")
    pulled = line(report, pictures="lower", mechanism="emergency")
    assert (pulled["viewer"], pulled["looks"], pulled["cameras"]) == ("user", 2, 2)
    above = line(report, viewer="node")
    assert (above["pictures"], above["mechanism"], above["unit"], above["watched_s"]) == (
        "own", "supervision", "街道", 30,
    )  # fmt: skip
    assert line(report, mechanism="unknown")["crashed"] == 1, "a look counts, whatever became of its lease"
    assert [report["sum"][name]["looks"] for name in ("all", "own", "lower")] == [8, 5, 3]
    assert report["sum"]["all"]["persons"] == 4 and report["sum"]["own"]["watched_s"] == 147
    only = told(catalog, node=UPPER)
    assert [(i["unit"], i["looks"], i["mechanism"]) for i in only["items"]] == [("街道", 1, "supervision")]
    assert told(catalog, node="another")["items"] == []


def test_who_named_no_case_where_one_is_expected(catalog: Catalog, rows: Rows) -> None:
    rows.put("2026-10-05T08:00:00+08:00", 1)  # daily watch needs none
    rows.put("2026-10-05T08:00:00+08:00", 1, purpose="evidence", function="export", person="王")
    rows.put("2026-10-06T08:00:00+08:00", 1, purpose="evidence", function="export", person="王", case_no="")
    rows.put("2026-10-06T08:00:00+08:00", 1, purpose="evidence", function="export", person="王", case_no="A-1")
    rows.put("2026-10-06T08:00:00+08:00", 1, purpose="person_request", person="赵")
    rows.put("2026-09-30T23:59:59+08:00", 9, purpose="evidence", person="李")  # September names it
    assert told(catalog)["without_case"] == [
        {"unit": "综治中心", "person": "王", "purpose": "evidence", "function": "export", "looks": 2},
        {"unit": "综治中心", "person": "赵", "purpose": "person_request", "function": "live", "looks": 1},
    ]


def test_refusals_come_from_the_audit_log(catalog: Catalog, rows: Rows) -> None:
    rows.put("2026-10-05T08:00:00+08:00", 1)
    details = {"unit": "综治中心", "viewer": "user", "pictures": "own", "purpose": "daily_watch", "function": "live"}
    times = (FROM_MS - 1, FROM_MS, TO_MS - 1, TO_MS)
    for at_ms in times:
        catalog.write(lambda c, at=at_ms: log.append(c, at, "user:li", use_view.REFUSED, "c1", details))  # type: ignore[misc]  # bound now
    lower = details | {"pictures": "lower"}
    catalog.write(lambda c: log.append(c, FROM_MS, "user:li", use_view.REFUSED, "low", lower))
    catalog.write(lambda c: log.append(c, FROM_MS, "user:li", "camera.change", "c1", {}))
    report = told(catalog)
    assert line(report, pictures="own")["refused"] == 2 and line(report, pictures="own")["looks"] == 1
    assert (line(report, pictures="lower")["refused"], line(report, pictures="lower")["mechanism"]) == (1, "none")
    assert report["sum"]["all"]["persons"] == 1, "who was refused has seen nothing"


def test_all_months_together_are_the_register() -> None:
    """Looks of every length in any order: nothing is counted twice, nothing is lost."""
    chance = random.Random(20_261_101)
    months = ["2026-08", "2026-09", "2026-10", "2026-11", "2026-12"]
    low_ms, high_ms = month_range_ms(months[0])[0], month_range_ms(months[-1])[1]
    looks = []
    for _ in range(3_000):
        opened_ms = chance.randrange(low_ms, high_ms - 1)
        length_ms = chance.choice([0, 1, 60_000, DAY_MS, 40 * DAY_MS]) * chance.randrange(1, 3)
        closed_ms = min(opened_ms + length_ms, high_ms - 1)
        looks.append(
            RegisteredLook(
                opened_ms, closed_ms, chance.choice("甲乙丙"), chance.choice(["A", "B"]), "user", "daily_watch",
                chance.choice(["live", "playback"]), "c", None, None, chance.randrange(10_000), "ended",
            )
        )  # fmt: skip
    looks += [replace(looks[0], closed_ms=looks[0].opened_ms - 5)]  # a clock that was set back
    sums = {"looks": 0, "watched_ms": 0, "bytes": 0}
    for month in months:
        use = Use(*month_range_ms(month))
        for look in looks:
            use.add(look)
        for tally in use._tallies.values():
            sums = {name: sums[name] + getattr(tally, name) for name in sums}
    assert sums["looks"] == len(looks)
    assert sums["watched_ms"] == sum(max(0, (x.closed_ms or 0) - x.opened_ms) for x in looks)
    assert sums["bytes"] == sum(x.bytes for x in looks)


def test_a_month_to_come_has_no_report(catalog: Catalog) -> None:
    with pytest.raises(TiergateError) as refused:
        told(catalog, "2026-12")
    assert refused.value.reason.code == "time.range_empty"


# --- kept ------------------------------------------------------------------------------------------------------------


def test_each_month_that_is_over_is_kept_once(catalog: Catalog, rows: Rows) -> None:
    def due(at: str) -> list[str]:
        return catalog.read(lambda c: use_view.months_due(c, parse_time_ms(at)))

    assert due("2026-11-02T00:00:00+08:00") == [], "a node without a past owes nothing"
    catalog.write(lambda c: log.append(c, parse_time_ms("2026-08-15T00:00:00+08:00"), "os:x", "node.init", "x", {}))
    assert due("2026-08-31T23:59:59+08:00") == []
    assert due("2026-11-02T00:00:00+08:00") == ["2026-08", "2026-09", "2026-10"]
    assert len(due("2028-01-01T00:00:00+08:00")) == use_view.MOST_MONTHS
    rows.put("2026-10-05T08:00:00+08:00", 1)
    for _ in range(2):
        catalog.write(lambda c: use_view.keep(c, MONTH, use_view.report(c, MONTH, NOW_MS), NOW_MS, "keeper"))
    assert due("2026-11-02T00:00:00+08:00") == ["2026-08", "2026-09"]
    assert catalog.read(use_view.kept_months) == [MONTH]
    assert len(catalog.read(lambda c: log.tail(c, action="report.keep"))) == 1


def test_a_kept_report_does_not_agree_with_a_register_that_was_changed(catalog: Catalog, rows: Rows) -> None:
    rows.put("2026-10-05T08:00:00+08:00", 60)
    gone = rows.put("2026-10-06T08:00:00+08:00", 60, person="王")
    open_ = rows.put("2026-10-31T08:00:00+08:00", None)
    catalog.write(lambda c: use_view.keep(c, MONTH, use_view.report(c, MONTH, NOW_MS), NOW_MS, "keeper"))

    def agrees() -> bool:
        def look(connection: Any) -> bool:
            kept = use_view.kept(connection, MONTH)
            assert kept is not None
            return use_view.agrees(connection, kept, use_view.report(connection, MONTH, NOW_MS + DAY_MS))

        return catalog.read(look)

    assert agrees()
    catalog.write(lambda c: register.close_row(c, open_, NOW_MS + 5, 10_000, "ended"))
    rows.put("2026-11-03T08:00:00+08:00", 60)
    assert agrees(), "what goes on in the next month changes nothing"
    shorter = update(register_table).where(register_table.c.id == gone)
    catalog.write(lambda c: c.execute(shorter.values(person="李")))
    assert not agrees(), "another name"
    catalog.write(lambda c: c.execute(shorter.values(person="王")))
    assert agrees()
    catalog.write(lambda c: c.execute(delete(register_table).where(register_table.c.id == gone)))
    assert not agrees(), "a row less"
    # Whoever changes the kept report as well has the audit log against him.
    catalog.write(lambda c: facts.set(c, use_view.KEPT + MONTH, use_view.report(c, MONTH, NOW_MS)))
    assert not agrees()
    assert catalog.read(lambda c: c.execute(select(fact.c.key).where(fact.c.key.like("report.%"))).all())
