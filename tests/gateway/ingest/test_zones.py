"""Time zones and days on which clocks change: the same pictures give the same rows, wherever the machine stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.ingest.station import REPOSITORY

ZONES = ("UTC", "Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia")


def rows_in(zone: str, folder: Path) -> tuple[str, str]:
    """(what local time says, the rows)."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.gateway.ingest.zone_writer", str(folder)],
        env={**os.environ, "TZ": zone, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    local, _, rows = done.stdout.partition("\n")
    return local, rows


@pytest.mark.real
@pytest.mark.fault("A27")
def test_every_zone_writes_the_same_catalog(tmp_path: Path) -> None:
    found = {zone: rows_in(zone, tmp_path / zone.replace("/", "-")) for zone in ZONES}
    assert len({local for local, _ in found.values()}) == len(ZONES), "the zones are not in force"
    first = found[ZONES[0]][1]
    assert first.count('"run_id"') >= 14
    assert first.count("\n") > 30
    for zone, (_, rows) in found.items():
        assert rows == first, zone
