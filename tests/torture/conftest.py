"""What the torture tests counted, printed at the end of the run whether they passed or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_COUNTED = pytest.StashKey[list[str]]()


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """counted("kills 50, lost 0"): a line for the end of the run."""
    lines = request.config.stash.setdefault(_COUNTED, [])

    def add(what: object) -> None:
        lines.append(f"{request.node.name}: {what}")

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(_COUNTED, [])
    if lines:
        terminalreporter.section("counted")
        for line in lines:
            terminalreporter.write_line(line)
