"""A policy in a file: the difference is shown first, refused as a whole, set like each class by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.units import DAY_MS
from gateway.cli.app import run
from storage import class_changes
from storage.audit import log as audit
from storage.catalog import approvals, retention_rows
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in
from tests.gateway.web.test_reports_api import make_key, put_footage

Applied = Callable[..., tuple[int, Any]]
ABOVE = '[classes.key]\nmonths = 4\nlegal_basis = "市令 5"\n'


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    governance = getattr(request, "param", "small")
    with site_in(tmp_path, retention={"clock_source": "trusted"}, node={"governance": governance}) as made:
        made.user("admin", ALL_ROLES)
        yield made


@pytest.fixture
def retention(told: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Applied:
    """`tiergate retention …` with a file of these words: exit code, and what it printed as JSON."""

    def call(words: str, verb: str = "apply", *more: str) -> tuple[int, Any]:
        file = tmp_path / "policy.toml"
        file.write_text(words)
        code = run(["retention", verb, "--file", str(file), *more, "--json", "--url", told.url])
        out, err = capsys.readouterr()
        return code, json.loads(out or err)

    return call


def months(site: Site) -> tuple[int | None, int | None]:
    """(what the class `key` keeps, what waits for it)."""
    waiting = site.catalog.read(class_changes.pending).get("key")
    return site.catalog.read(retention_rows.classes)["key"].months, None if waiting is None else waiting.months


def acts(site: Site) -> list[str]:
    return [entry.subject for entry in site.catalog.read(audit.entries) if entry.action == "retention.set"]


def test_the_difference_is_shown_first_and_set_when_told_to(site: Site, retention: Applied) -> None:
    both = "[classes.default]\nmonths = 1\n" + ABOVE
    for verb in ("plan", "apply"):
        code, shown = retention(both, verb)
        (item,) = shown["items"]
        assert (code, item["class"], item["from_months"], item["months"]) == (0, "key", 3, 4)
        assert (item["refused"], item["outcome"], shown["applied"]) == (None, None, False)
        assert (months(site), acts(site)) == ((3, None), [])
    code, shown = retention(both, "apply", "--yes")
    assert (code, shown["applied"], shown["items"][0]["outcome"]["code"]) == (0, True, "retention.change_waits")
    assert (months(site), acts(site)) == ((3, 4), ["key"])
    assert retention(both, "apply", "--yes") == (0, {"items": [], "applied": True})
    assert acts(site) == ["key"], "what waits already is not asked for again"
    code, shown = retention("[classes.key]\nmonths = 3\n", "apply", "--yes")
    assert (code, shown["items"][0]["waiting_months"], months(site)) == (0, 4, (3, None)), "the latest word counts"


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ("[classes.default]\nmonths = 0\n", "retention.below_floor"),
        ("[classes.default]\nmonths = 2\n", "retention.above_ceiling"),
        ("[classes.1_year]\nmonths = 13\n", "retention.class_fixed"),
        ("[classes.permanent]\nmonths = 13\n", "retention.class_fixed"),
        ("[classes.kye]\nmonths = 3\n", "retention.class_unknown"),
    ],
)
def test_one_refused_change_stops_all(site: Site, retention: Applied, other: str, code: str) -> None:
    exit_code, shown = retention(ABOVE + other, "apply", "--yes")
    assert (exit_code, shown["applied"]) == (1, False)
    assert [item["refused"] and item["refused"]["code"] for item in shown["items"]] == [None, code]
    assert (months(site), acts(site)) == ((3, None), [])


@pytest.mark.parametrize("site", ["full"], indirect=True)
def test_under_full_governance_it_waits_for_a_second_person_once(site: Site, retention: Applied) -> None:
    code, shown = retention(ABOVE)
    assert (code, shown["items"][0]["needs"]["code"]) == (0, "approval.needed")
    code, shown = retention(ABOVE, "apply", "--yes")
    assert (code, months(site), acts(site)) == (0, (3, None), [])
    assert shown["items"][0]["outcome"]["zh"]
    code, shown = retention(ABOVE, "apply", "--yes")
    assert (code, shown["items"][0]["outcome"]["code"]) == (1, "approval.asked_already")
    (asked,) = site.catalog.read(lambda c: approvals.pending(c))
    assert (asked.action, asked.params["months"], asked.reason) == ("retention.set", 4, "市令 5")


async def test_what_would_go_is_told_beside_what_goes_anyway(site: Site, retention: Applied) -> None:
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
    make_key(site, camera, now_ms - 400 * DAY_MS)
    site.catalog.write(lambda c: retention_rows.set_class_months(c, "key", 6, 180, now_ms))
    for days, minutes in ((300, 1), (120, 2), (10, 4)):
        put_footage(site, camera, now_ms - days * DAY_MS, now_ms - days * DAY_MS + minutes * 60_000)
    code, shown = retention("[classes.key]\nmonths = 3\n", "plan")
    (item,) = shown["items"]
    assert (code, item["remove_segments"], item["remove_bytes"]) == (0, 2, 2_000)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("", "classes"),
        ("classes = 3", "classes"),
        ("[areas.x]\nmonths = 3\n[classes.key]\nmonths = 3\n", "areas"),
        ("[classes]\nkey = 3", "classes.key"),
        ("[classes.key]\n", "classes.key.months"),
        ("[classes.key]\nmonths = true", "classes.key.months"),
        ("[classes.key]\nmonths = 3.0", "classes.key.months"),
        ("[classes.key]\nmonths = -1", "classes.key.months"),
        ("[classes.key]\nmonths = 3\ndays = 90", "classes.key.days"),
        ("[classes.key]\nmonths = 4\nlegal_basis = 5", "classes.key.legal_basis"),
        ("[classes.key\nmonths = 4", "line 1"),
    ],
)
def test_a_file_that_is_no_policy_changes_nothing_and_is_told_where(
    site: Site, retention: Applied, words: str, named: str
) -> None:
    code, shown = retention(words, "apply", "--yes")
    assert (code, shown["error"]["code"]) == (2, "cli.policy_malformed")
    assert named in shown["error"]["params"]["problem"] and named in shown["error"]["zh"]
    assert (months(site), acts(site)) == ((3, None), [])
