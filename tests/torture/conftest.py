"""What the torture tests counted, printed at the end of the run whether they passed or not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_COUNTED = pytest.StashKey[list[str]]()


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """counted("kills 50, lost 0"): a line for the end of the run."""
    lines = request.config.stash.setdefault(_COUNTED, [])

    def add(what: object) -> None:
        lines.append(f"{request.node.name}: {what}")

    return add


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of lives are copied, and kill -9 leaves the page cache alone."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="tiergate-", dir=shared))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_COUNTED, [])
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)
