"""Time zones and days on which clocks change: the same pictures give the same rows, wherever the machine stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.ingest.station import REPOSITORY

ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia")


@pytest.mark.real
@pytest.mark.fault("A27")
def test_every_zone_writes_the_same_catalog(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gateway.ingest.zone_writer", str(tmp_path), *ZONES],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    written = [(tmp_path / f"{number}.txt").read_text() for number in range(len(ZONES))]
    found = {zone: text.partition("\n")[::2] for zone, text in zip(ZONES, written, strict=True)}
    assert len({local for local, _ in found.values()}) == len(ZONES), "the zones are not in force"
    first = found[ZONES[0]][1]
    assert first.count('"run_id"') >= 14
    assert first.count("\n") > 30
    for zone, (_, rows) in found.items():
        assert rows == first, zone
