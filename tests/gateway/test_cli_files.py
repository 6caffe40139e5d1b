"""What a command hands out in a file: whole under its name, or not there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from config.errors import TiergateError
from gateway.cli.files import new_file

_KILLED = """
import os, signal, sys
from pathlib import Path
from gateway.cli.files import new_file
with new_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_broken_off_has_no_name(tmp_path: Path) -> None:
    target = tmp_path / "file"
    done = subprocess.run([sys.executable, "-c", _KILLED, str(target)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["file.part"]
    with pytest.raises(TiergateError) as caught, new_file(target):
        pass
    assert caught.value.reason.params["path"] == tmp_path / "file.part", "whose it is, only a person can know"
    (tmp_path / "file.part").unlink()
    with pytest.raises(KeyboardInterrupt), new_file(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with new_file(target) as file:
        file.write(b"whole")
    assert target.read_bytes() == b"whole" and [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(TiergateError) as caught, new_file(target):
        pass
    assert caught.value.reason.code == "cli.file_exists" and target.read_bytes() == b"whole"
