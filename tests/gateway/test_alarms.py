"""Alarms: when a finding is one, who is told, in which order, and that nobody is forgotten."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.clock import ManualClock
from config.errors import TiergateError
from config.reasons import Reason
from config.settings import Settings, build
from gateway.access.keys import ensure_keys
from gateway.cli.app import run as tiergate
from gateway.ops import alarm_hooks, alarms, doctor
from gateway.ops.alarms import LOOKS, Alarms, look, taken
from gateway.ops.findings import Answer, Finding, Level
from gateway.ops.lookout import Lookout, read
from storage.audit import log as audit
from storage.catalog import facts
from storage.catalog.engine import Catalog
from tests.parts.catalog import new_catalog
from tests.parts.web import QuietHandler, web_server

HOOKS = ("command", "webhook")


def low(volume: str, level: Level = "warn", percent: float = 4.0) -> Finding:
    params = {"volume": volume, "percent": percent, "free_gb": 1.0}
    code = "ops.disk_low" if level == "warn" else "ops.disk_critical"
    return Finding("disks", level, Reason(code, params), Reason("ops.disk_next"))


def offline(camera: str, level: Level = "bad", cause: str = "network") -> Finding:
    params = {"camera": camera, "name": "门", "cause": cause}
    return Finding("cameras", level, Reason("ops.camera_offline", params), Reason("ops.camera_next", params))


def looks(*each: list[Finding], least: Level = "warn") -> tuple[Alarms, list[list[tuple[str, str]]]]:
    """The memory at the end, and per look what was news: (turn, check or camera)."""
    state, ids = Alarms(), (f"id{n}" for n in count())
    told: list[list[tuple[str, str]]] = []
    for now_ms, findings in enumerate(each):
        known = Alarms.from_json(json.loads(json.dumps(state.as_json())))
        state, news = look(known, [Answer("all", tuple(findings))], now_ms, ids, HOOKS, least)
        told.append([(one.turn, one.reason["params"].get("camera") or one.check) for one in news])
    return state, told


def test_two_looks_make_an_alarm_and_two_end_it() -> None:
    a = offline("A")
    state, told = looks([a], [a], [a], [], [])
    assert told == [[], [("raised", "A")], [], [], [("cleared", "A")]]
    assert state.standing == []


def test_what_comes_and_goes_is_no_news() -> None:
    a = offline("A")
    assert looks([a], [], [a], [], [a], [])[1] == [[]] * 6
    assert looks([a], [a], [], [a], [], [a], [a])[1] == [[], [("raised", "A")], [], [], [], [], []]


def test_numbers_may_change_but_another_camera_is_another_alarm() -> None:
    state, told = looks(
        [low("data", percent=4.0), offline("A")], [low("data", percent=3.5), offline("B")], [offline("B")]
    )
    assert told == [[], [("raised", "disks")], [("raised", "B")]]
    assert [alarm.reason["params"].get("percent") for alarm in state.standing] == [None, 3.5]


def test_an_offline_camera_is_one_alarm_whatever_the_cause() -> None:
    causes = ("network", "network", "credentials", "network", "credentials", "credentials")
    assert looks(*[[offline("A", cause=cause)] for cause in causes])[1] == [[], [("raised", "A")], [], [], [], []]


def test_worse_is_news_and_better_is_not() -> None:
    state, told = looks(*[[offline("A", level)] for level in ("warn", "warn", "bad", "warn", "bad")])
    assert told == [[], [("raised", "A")], [("worse", "A")], [], []]
    assert state.standing[0].since_ms == 0


def test_below_the_least_nobody_is_told() -> None:
    assert looks([low("data")], [low("data")], least="bad")[1] == [[], []]
    assert looks([offline("A")], [offline("A")], least="bad")[1] == [[], [("raised", "A")]]


@given(st.lists(st.sets(st.sampled_from("ABC")), max_size=25))
def test_news_alternate_and_say_what_stands(each: list[set[str]]) -> None:
    state, told = looks(*[[offline(camera) for camera in sorted(cameras)] for cameras in each])
    for camera in "ABC":
        turns = [turn for news in told for turn, which in news if which == camera]
        assert turns == ["raised", "cleared"] * (len(turns) // 2) + ["raised"] * (len(turns) % 2)
        standing = camera in {alarm.reason["params"]["camera"] for alarm in state.standing}
        assert standing == (len(turns) % 2 == 1)
        if len(each) >= LOOKS and all(camera in cameras for cameras in each[-LOOKS:]):
            assert standing
        if len(each) >= LOOKS and not any(camera in cameras for cameras in each[-LOOKS:]):
            assert not standing


@pytest.mark.parametrize("left_by", ["this version", "an older one"])
def test_what_cannot_be_asked_stays_as_it_is(left_by: str) -> None:
    """An older version did not write down which check an alarm came of."""
    ids = (f"id{n}" for n in count())
    everything = [Answer("cameras", (offline("A"),)), Answer("disks", (low("data"),))]
    state = Alarms()
    for now_ms in range(LOOKS):
        state, _ = look(state, everything, now_ms, ids, HOOKS, "warn")
    written = state.as_json()
    if left_by == "an older one":
        del written["asked"]
    state = Alarms.from_json(written)
    unknown = [Answer("cameras", (offline("B"),), whole=False), Answer("disks", whole=False)]
    for now_ms in range(2, 6):
        state, news = look(state, unknown, now_ms, ids, HOOKS, "warn")
        assert [(one.turn, one.reason["params"]["camera"]) for one in news] == [("raised", "B")] * (now_ms == 3)
    assert len(state.standing) == 3, "what it did find counts"
    told = []
    for now_ms in range(6, 6 + LOOKS):
        state, news = look(state, [Answer("cameras", (offline("A"),)), Answer("disks")], now_ms, ids, HOOKS, "warn")
        told += [(one.turn, one.check) for one in news]
    assert sorted(told) == [("cleared", "cameras"), ("cleared", "disks")]
    assert [alarm.reason["params"]["camera"] for alarm in state.standing] == ["A"]


def test_each_hook_gets_everything_and_the_oldest_makes_room() -> None:
    state, _ = looks([offline("A")], [offline("A")])
    (news,) = state.waiting
    left = taken(state, "command", [news.id])
    assert [one.waits_for for one in left.waiting] == [("webhook",)]
    assert taken(left, "webhook", [news.id]).waiting == ()
    assert alarms.only_for(left, ("command",)).waiting == ()

    many = [offline(str(number)) for number in range(alarms.MOST_WAITING + 5)]
    state, _ = looks(many, many)
    assert (len(state.waiting), state.dropped) == (alarms.MOST_WAITING, 5)
    assert state.waiting[0].id == "id5"


# --- real programs, a real web server ---


@dataclass
class Receiver:
    """Keeps what it is posted; answers what it is told."""

    url: str = ""
    answers: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if made.answers == 204:
                made.got.append((dict(self.headers), body))
            self.send_response(made.answers)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

    with web_server(Handler) as port:
        made.url = f"http://127.0.0.1:{port}/alarms"
        yield made


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Appends what it reads to `told`, with its environment beside it; refuses while `busy` is there."""
    path = tmp_path / "tell"
    path.write_text(
        f"#!/bin/sh\n[ ! -e {tmp_path}/busy ] || exit 3\ncat >> {tmp_path}/told; echo >> {tmp_path}/told\n"
        f"env > {tmp_path}/env\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def settings_of(tmp_path: Path, **chosen: object) -> Settings:
    made = build({"paths": {"data": str(tmp_path / "data")}, "node": {"name": "Street 7"}, "alarms": chosen})
    ensure_keys(made)
    new_catalog(made.catalog_url)
    return made


def lookout(settings: Settings, catalog: Catalog, clock: ManualClock) -> Lookout:
    return Lookout(catalog, settings, clock, "node1", alarm_hooks.hooks(settings.alarms))


def told(tmp_path: Path) -> list[tuple[str, str]]:
    lines = (tmp_path / "told").read_text().splitlines() if (tmp_path / "told").exists() else []
    found = [json.loads(line) for line in lines]
    return [(one["alarm"], one["check"]) for one in found]


def test_a_fault_is_told_to_program_and_webhook_and_its_end_too(
    tmp_path: Path, receiver: Receiver, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERGATE_ALARMS__SECRET", "not for programs")
    settings = settings_of(tmp_path, command=[str(program)], webhook=receiver.url, secret="s3cret")
    findings: list[Finding] = [low("data", "bad")]
    monkeypatch.setattr(doctor, "answers", lambda *_, **__: [Answer("disks", tuple(findings))])
    catalog, clock = Catalog(settings.catalog_url), ManualClock()
    watch = lookout(settings, catalog, clock)
    watch.look()
    assert told(tmp_path) == [] and receiver.got == []
    watch.look()
    assert told(tmp_path) == [("raised", "disks")]
    headers, body = receiver.got[0]
    said = json.loads(body)
    assert said["node"] == {"id": "node1", "name": "Street 7"}
    assert said["reason"]["zh"] and said["reason"]["en"] and said["next"]["code"] == "ops.disk_next"
    at, mac = (part.partition("=")[2] for part in headers["Tiergate-Signature"].split(","))
    assert hmac.new(b"s3cret", f"{at}.".encode() + body, hashlib.sha256).hexdigest() == mac
    assert "not for programs" not in (tmp_path / "env").read_text()

    # A node that is started anew remembers what it has told.
    watch = lookout(settings, catalog, clock)
    watch.look()
    findings.clear()
    watch.look()
    watch.look()
    assert told(tmp_path) == [("raised", "disks"), ("cleared", "disks")]
    assert [json.loads(body)["alarm"] for _, body in receiver.got] == ["raised", "cleared"]
    entries = catalog.read(lambda c: audit.tail(c, action="alarm."))
    assert [entry.action for entry in entries] == ["alarm.cleared", "alarm.raised"]
    catalog.close()


def test_news_that_is_not_taken_waits_in_order_and_holds_up_no_other_hook(
    tmp_path: Path, receiver: Receiver, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, command=[str(program)], webhook=receiver.url)
    findings: list[Finding] = [low("data", "bad")]
    monkeypatch.setattr(doctor, "answers", lambda *_, **__: [Answer("disks", tuple(findings))])
    catalog = Catalog(settings.catalog_url)
    watch = lookout(settings, catalog, ManualClock())
    receiver.answers = 302  # a redirect is not followed and not taken
    watch.look()
    with pytest.raises(TiergateError, match="302"):
        watch.look()
    (tmp_path / "busy").touch()
    findings.clear()
    with pytest.raises(TiergateError):
        watch.look()
    with pytest.raises(TiergateError):
        watch.look()
    assert told(tmp_path) == [("raised", "disks")] and receiver.got == []
    assert [news.waits_for for news in read(catalog).waiting] == [("webhook",), ("command", "webhook")]
    receiver.answers = 204
    (tmp_path / "busy").unlink()
    watch.look()
    assert told(tmp_path) == [("raised", "disks"), ("cleared", "disks")]
    assert [json.loads(body)["alarm"] for _, body in receiver.got] == ["raised", "cleared"]
    assert read(catalog).waiting == ()
    catalog.close()


def test_the_command_line_lists_and_tries(
    tmp_path: Path, receiver: Receiver, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path, command=[str(program)], webhook=receiver.url)
    file = tmp_path / "tiergate.toml"
    written = {"command": [str(program)], "webhook": receiver.url}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in written.items())
    file.write_text(f'[paths]\ndata = "{settings.paths.data}"\n[node]\nlanguage = "en"\n[alarms]\n{lines}')
    file.chmod(0o600)
    catalog = Catalog(settings.catalog_url)
    state, _ = looks([offline("A")], [offline("A")])
    catalog.write(lambda c: facts.set(c, alarms.FACT, state.as_json()))
    catalog.close()
    common = ["--config", str(file)]
    assert tiergate([*common, "alarm", "list"]) == 0
    out, err = capsys.readouterr()
    assert "bad" in out and "A 门" in out.replace("(", "").replace(")", "") and "1 piece(s) of news wait" in err
    assert tiergate([*common, "alarm", "test"]) == 0
    assert told(tmp_path) == [("raised", "test")] and len(receiver.got) == 1
    receiver.answers = 500
    assert tiergate([*common, "alarm", "test"]) == 1
    assert "HTTP 500" in capsys.readouterr().out
    file.write_text(f'[paths]\ndata = "{settings.paths.data}"\n')
    assert tiergate([*common, "alarm", "test", "--lang", "en"]) != 0
    assert "No hook is set" in capsys.readouterr().err


def test_what_costs_much_is_looked_at_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    asked: list[str] = []
    names = [check.__name__ for check in (*doctor._MACHINE, *doctor._CATALOG)]
    assert set(names) > doctor.SLOW

    def answers(*_: object, wanted: Any, **__: object) -> list[Answer]:
        chosen = [name for name in names if wanted(name)]
        asked.extend(chosen)
        return [Answer(name, (offline("A"),) if name == "promises" else ()) for name in chosen]

    monkeypatch.setattr(doctor, "answers", answers)
    catalog, clock = Catalog(settings.catalog_url), ManualClock()
    watch = lookout(settings, catalog, clock)
    for _ in range(3):
        watch.look()
        clock.advance(60)
    assert (asked.count("promises"), asked.count("cameras")) == (1, 3)
    assert len(read(catalog).standing) == 1, "between, its last word stands"
    clock.advance(3600)
    watch.look()
    assert asked.count("promises") == 2
    catalog.close()


def test_a_program_that_hangs_or_is_not_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TiergateError, match="No such file"):
        alarm_hooks.run_command((str(tmp_path / "absent"),), {})
    monkeypatch.setattr(alarm_hooks, "TIMEOUT_S", 0.2)
    with pytest.raises(TiergateError, match="> 0 s"):
        alarm_hooks.run_command(("sleep", "60"), {})


@pytest.mark.parametrize(
    "webhook", ["http://example.com/x", "ftp://example.com", "https://user:pw@example.com/", "example.com", "https://"]
)
def test_a_webhook_is_https_or_on_this_machine_and_holds_no_password(webhook: str) -> None:
    with pytest.raises(TiergateError) as refused:
        build({"alarms": {"webhook": webhook}})
    assert "pw" not in str(refused.value)
