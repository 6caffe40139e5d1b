"""A whole node on a test clock: every process follows it, `doctor` is red, and without permission it does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.clock import write_shift
from tests.parts.node import QUICK, CommandFailed, Node
from tests.parts.wait import until

DAY_NS = 86_400 * 10**9


@pytest.mark.real
def test_sessions_keeper_and_sweep_follow_a_clock_that_steps(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    write_shift(file, 0, synchronised=True)
    clock = {"test_file": str(file), "allow_test_clock": True}
    with Node(tmp_path / "node", settings={**QUICK, "clock": clock}).init() as node:
        node.start()
        told_ms = node.get("/node")["now_ms"]
        found = node.cli("doctor", "--quick", expect=1)["findings"]
        assert ("bad", "ops.clock_test") in [(f["level"], f["reason"]["code"]) for f in found if f["check"] == "clock"]
        assert node.cli("retention", "sweep", "--dry-run")["refused"] is None

        write_shift(file, -DAY_NS, synchronised=True)
        refused = node.cli("retention", "sweep", "--dry-run", expect=1)["refused"]
        assert refused["code"] in ("retention.clock_behind", "retention.clock_stepped")
        assert node.get("/node")["now_ms"] < told_ms

        write_shift(file, DAY_NS, synchronised=True)
        with node.client() as client:
            assert client.get("/api/v1/node").status_code in (200, 401)
            until(lambda: client.get("/api/v1/cameras").status_code == 401, 10, "a session of twelve hours has ended")
        node.cli("login", node.user, "--password-stdin", stdin=node.password + "\n")
        assert node.get("/node")["now_ms"] - told_ms >= DAY_NS // 10**6
        until(lambda: "the clock stepped" in node.log.read_text(), 20, "the keeper's jobs are reckoned anew")


def test_a_test_clock_without_permission_stops_every_command(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", settings=QUICK).init()
    node.configure({"clock": {"test_file": str(tmp_path / "clock")}})
    with pytest.raises(CommandFailed) as refused:
        node.cli("doctor")
    assert refused.value.code == 3
    assert "clock.test_not_allowed" in refused.value.err
    node.configure({"clock": {"allow_test_clock": True}})
    with pytest.raises(CommandFailed) as missing:
        node.cli("doctor")
    assert "clock.test_file_missing" in missing.value.err
