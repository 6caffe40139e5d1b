"""The command line takes the names that people see in its lists, and never guesses which of two is meant."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.cli import named
from gateway.cli.app import run
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, add_camera, site_in

Call = Callable[..., Any]
WINDOW = ("--from", "2026-11-24T15:20:00+08:00", "--to", "2026-11-24T15:30:00+08:00")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, retention={"clock_source": "trusted"}) as made:
        made.user("admin", ALL_ROLES)
        made.user("li", ("duty",))
        yield made


@pytest.fixture
def cameras(site: Site) -> dict[str, str]:
    """name -> id; two of them have the same name."""

    async def add() -> dict[str, str]:
        async with await site.sign_in("admin") as admin:
            names = {1: "东门", 2: "西门", 3: "大厅", 4: "大厅", 5: "Gate 5"}
            return {
                f"{name} {number}": await add_camera(admin, number, name=name, sharing="departments")
                for number, name in names.items()
            }

    return asyncio.run(add())


@pytest.fixture(autouse=True)
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked for a password types this one."""
    monkeypatch.setattr("gateway.cli.user.read_password", lambda *_: PASSWORD)


@pytest.fixture
def done(told: Any) -> Call:
    """What the command printed as JSON."""
    return lambda *words: json.loads(told(*words, "--json"))


@pytest.fixture
def refused(told: Any, capsys: pytest.CaptureFixture[str]) -> Call:
    """(code of the refusal, its English sentence) of a command that is refused."""

    def call(*words: str) -> tuple[str, str]:
        assert run([*words, "--json", "--url", told.url]) in (1, 2), words
        error = json.loads(capsys.readouterr().err)["error"]
        assert "{" not in error["en"] + error["zh"]
        return error["code"], error["en"]

    return call


def test_what_a_list_shows_is_taken_by_the_commands(
    site: Site, cameras: dict[str, str], done: Call, refused: Call
) -> None:
    east, west = cameras["东门 1"], cameras["西门 2"]
    unit, home = done("department", "add", "城管执法队")["id"], site.settings.node.region
    assert done("camera", "show", "东门")["id"] == east == done("camera", "show", east)["id"]
    assert done("camera", "set", "gate 5", "--department", "城管执法队")["department"] == "城管执法队"
    token = done(
        "token", "issue", "城管执法队", "--label", "巡查", "--camera", "东门", "--camera", west, "--function", "live",
    )  # fmt: skip
    assert token["department_id"] == unit and set(token["grant"]["resources"]["cameras"]) == {east, west}
    assert done("token", "revoke", "巡查")["state"] == "revoked"
    area = done("area", "add", "校门", "--document", "市函 3", "--camera", "东门")
    assert area["cameras"] == [east]
    assert done("area", "set", "校门", "--camera", "西门")["cameras"] == [west]
    held = done("hold", "add", "东门", *WINDOW, "--case", "案 7", "--reason", "核查事件经过")
    assert held["cameras"] == [east] and done("hold", "release", "案 7", "--reason", "已核查")["id"] == held["id"]
    li = next(user["id"] for user in done("user", "list")["items"] if user["login"] == "li")
    assert done("user", "change", "li", "--department", "城管执法队")["department_id"] == unit
    grant = done("grant", "add", "user", "li", "--function", "export", "--camera", "东门")
    assert (grant["subject"], grant["resources"]["cameras"]) == (li, [east])
    assert done("grant", "add", "department", "城管执法队", "--function", "live", "--region", "测试社区")["resources"][
        "regions"
    ] == [home]
    incident = done("incident", "open", "2026-17", "--place", "东门外", "--camera", "东门")
    assert done("incident", "update", "2026-17", "--camera", "西门")["cameras"] == [west]
    assert done("incident", "close", "2026-17")["id"] == incident["id"]
    found = done("report", "coverage", "--camera", "东门")["items"]
    assert {row["camera_id"] for row in found} <= {east}
    code, said = refused("retention", "explain", f"东门@{WINDOW[1]}")
    assert code == "retention.nothing_at" and east in said


def test_a_token_is_issued_for_the_networks_that_are_named(cameras: dict[str, str], done: Call, refused: Call) -> None:
    unit = done("department", "add", "城管执法队")["id"]
    words = ("token", "issue", unit, "--label", "巡查", "--camera", "东门", "--function", "live")
    made = done(*words, "--network", "10.1.2.0/24", "--network", "2001:db8::/32")
    assert made["grant"]["conditions"]["networks"] == ["10.1.2.0/24", "2001:db8::/32"]
    assert "networks" not in done(*words)["grant"].get("conditions", {})
    code, said = refused(*words, "--network", "10.1.2.9/24")
    assert code == "access.grant_malformed" and "networks" in said


def test_a_name_that_two_have_is_refused_with_both(cameras: dict[str, str], done: Call, refused: Call) -> None:
    code, said = refused("camera", "remove", "大厅")
    assert code == "cli.name_ambiguous" and cameras["大厅 3"] in said and cameras["大厅 4"] in said
    assert len(done("camera", "list")["items"]) == 5
    # A login is as good as a name: who is called by the one and by the other are two.
    done("user", "add", "wang", "--name", "li", "--role", "duty")
    code, said = refused("user", "change", "li", "--disable")
    assert code == "cli.name_ambiguous" and "wang" in said
    assert not any(user["disabled_ms"] for user in done("user", "list")["items"])


def test_a_mistyped_name_is_refused_with_the_nearest(cameras: dict[str, str], done: Call, refused: Call) -> None:
    done("department", "add", "城管执法队")
    for words, near, shows in (
        (("camera", "show", "东们"), "东门", "camera list"),
        (("camera", "show", cameras["Gate 5 5"][:-1]), "Gate 5", "camera list"),
        (("token", "issue", "城管", "--label", "x", "--camera", "东门", "--function", "live"), "城管执法队",
         "department list"),
        (("user", "change", "lii", "--disable"), "li", "user list"),
        (("area", "add", "x", "--document", "x", "--region", "测试小区"), "测试社区", "region list"),
        (("link", "remove", "上级"), "none", "link list"),
    ):  # fmt: skip
        code, said = refused(*words)
        assert code == "cli.name_unknown" and near in said and f"tiergate {shows}" in said, said
    assert "--until" in refused("user", "post", "li", "--to", "城管执法队")[1]
    for nothing in ("", " ", "a\x1b[31m", "x" * 200):
        assert refused("camera", "show", nothing)[0] == "access.not_found"


def test_who_may_not_see_the_list_is_told_what_the_node_says(
    told: Any, refused: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"login": "li", "password": PASSWORD, "bearer": True}
    monkeypatch.setenv("TIERGATE_TOKEN", httpx.post(f"{told.url}/api/v1/session", json=body).json()["session"])
    assert refused("user", "change", "admin", "--disable")[0] == "access.role_needed"


def test_what_does_not_exist_is_refused_with_what_does(cameras: dict[str, str], done: Call, refused: Call) -> None:
    unit = done("department", "add", "城管执法队")["id"]
    other = unit[:-1] + ("1" if unit[-1] == "0" else "0")
    for words, code, known in (
        (("user", "add", "zhao", "--name", "赵", "--role", "dutty"), "access.role_unknown", "duty"),
        (("grant", "add", "role", "dutty", "--function", "live", "--camera", "东门"), "access.role_unknown", "duty"),
        (("grant", "add", "user", "li", "--function", "watch", "--camera", "东门"), "access.function_unknown", "live"),
        (("token", "issue", unit, "--label", "x", "--camera", "东门", "--function", "watch"), "access.token_functions",
         "live"),
        (("area", "add", "x", "--document", "x", "--class", "kye"), "access.class_unknown", "key"),
        (("hold", "add", "东门", *WINDOW, "--case", "1", "--reason", "核查事件经过", "--class", "year"),
         "retention.hold_class_unknown", "1_year"),
        (("retention", "set", "kye", "--months", "3"), "retention.class_unknown", "key"),
        (("department", "remove", other), "access.department_unknown", "城管执法队"),
        (("camera", "set", "东门", "--department", other), "access.department_unknown", unit),
    ):  # fmt: skip
        found, said = refused(*words)
        assert found == code and known in said, said


def test_an_unknown_purpose_is_refused_with_those_that_there_are(
    cameras: dict[str, str], refused: Call, tmp_path: Path
) -> None:
    file = str(tmp_path / "x.mp4")
    clip = ("clip", "东门", *WINDOW, "--reason", "核查事件经过", "--purpose", "fun", "-o", file)
    assert refused(*clip) == (
        "access.purpose_unknown",
        "There is no purpose fun; there are daily_watch, emergency, supervision_check, incident_review, evidence, "
        "person_request, maintenance, drill.",
    )


def test_the_first_password_is_changed_where_one_signs_in(
    told: Any, done: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done("user", "add", "zhao", "--name", "赵", "--role", "duty")
    monkeypatch.delenv("TIERGATE_TOKEN")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    def ask(*words: str, typed: str = "") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = run([*words, "--url", told.url])
        return code, capsys.readouterr().err

    login = ("login", "zhao", "--password-stdin")
    assert ask("camera", "list") == (4, "You are not signed in here, or no longer: `tiergate login NAME`.\n")
    code, said = ask(*login, typed=f"{PASSWORD}\n")
    assert code == 0 and "must still be changed" in said
    code, said = ask("camera", "list")
    assert code == 1 and "tiergate login" in said
    assert ask(*login, typed=f"{PASSWORD}\nanother good one 7\n") == (0, "password changed\n")
    assert ask("camera", "list")[0] == 0
    assert ask(*login, typed=f"{PASSWORD}\n")[0] == 4


def test_every_noun_names_a_command_that_exists() -> None:
    from gateway.cli.app import build

    root = build()
    groups = {group.name: group.typer_instance for group in root.registered_groups}
    for noun in named.NOUNS.values():
        word, verb = noun.command.split()[:2]
        group = groups[word]
        assert group is not None and verb in {command.name for command in group.registered_commands}
