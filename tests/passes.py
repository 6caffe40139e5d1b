"""scripts/test in two passes: the rooms of `tests.rooms.BESIDE` by two workers, then every other test alone.

`python -m tests.passes` runs both and prints, below the closing line of each, one of the same form with the sum. It
fails when either pass does, and when the two together have not run, each once, what a single pytest would have run.

As a pytest plugin (`-p tests.passes`) it keeps a pass to its rooms and writes down what ran.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.rooms import bears_company

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
#: worksteal: each worker begins with half of the files in order, so tests mostly stay together that share what their
#: file has set up, and takes from the other when it has no more. (By loadfile, of xdist 3.8, a test that a worker died
#: in is given to the next one, or the run waits for ever.)
PASSES = {"beside": ("-n", str(WORKERS), "--dist", "worksteal"), "alone": ()}


@dataclass
class Told:
    """What a pass writes down of itself."""

    ran: list[str] = field(default_factory=list)  #: node ids, each as often as it ran
    whole: list[str] = field(default_factory=list)  #: what a single pytest would run; "alone" tells it
    counts: dict[str, int] = field(default_factory=dict)  #: by pytest's words
    bad: list[str] = field(default_factory=list)  #: what failed, as in pytest's summary


# --- the plugin ---


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("passes")
    group.addoption("--which", choices=tuple(PASSES), help="run only the rooms of this pass")
    group.addoption("--told", help="the file to write down what ran in")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # what the workers run is reported to the process that started them
        config.pluginmanager.register(_Teller(config), "passes-teller")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("which") == "beside" and collection_path.is_file():
        return True if not bears_company(collection_path.relative_to(config.rootpath).as_posix()) else None
    return None


class _Teller:
    def __init__(self, config: pytest.Config) -> None:
        self._which, self._file = config.getoption("which"), Path(config.getoption("told"))
        self._told = Told()

    @pytest.hookimpl(trylast=True)  # after -m has taken out what it does not want
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The pass that runs alone collects all, and so knows what both have to run."""
        if self._which == "alone":
            self._told.whole = [item.nodeid for item in items]
            items[:] = [item for item in items if not bears_company(item.nodeid.partition("::")[0])]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # "???" is the report of a test at which a worker died, before or after that of its setup.
        if report.when == "setup" or (report.when not in ("call", "teardown") and report.nodeid not in self._told.ran):
            self._told.ran.append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for word, reports in terminalreporter.stats.items():
            counted = [one for one in reports if getattr(one, "count_towards_summary", True)]
            if word and counted:
                self._told.counts[word] = len(counted)
            if word in ("failed", "error"):
                self._told.bad += [f"{word.upper()} {one.nodeid}" for one in counted]
        self._file.write_text(json.dumps(asdict(self._told)), encoding="utf-8")


# --- both passes ---


def _end_with_the_starter() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: also after a kill -9


def run(which: str, file: Path) -> int:
    """One pass to its end. The exit code of its pytest; negative: the signal that ended it."""
    argv = ["-m", "pytest", "-m", "not torture", "-p", "tests.passes", f"--which={which}", f"--told={file}"]
    child = subprocess.Popen([sys.executable, *argv, *PASSES[which]], preexec_fn=_end_with_the_starter)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal gives it to the child too, which says where it was
    return child.wait()


def read(file: Path) -> Told | None:
    with contextlib.suppress(FileNotFoundError):
        return Told(**json.loads(file.read_text(encoding="utf-8")))
    return None


def unlike(beside: Told, alone: Told) -> list[str]:
    """What did not run exactly once, in a sentence each."""
    times, whole = Counter([*beside.ran, *alone.ran]), Counter(alone.whole)
    wrong = [one for one in sorted(times | whole) if times[one] != whole[one]]
    return [f"ran {times[one]} times instead of {whole[one]}: {one}" for one in wrong]


def closing_line(counts: Counter[str], seconds: float) -> str:
    """As pytest words it."""
    words = [
        f"{counts[word]} {word}{'s' if word in ('error', 'warning') and counts[word] != 1 else ''}"
        for word in ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")
        if counts[word]
    ]
    minutes = f" ({timedelta(seconds=int(seconds))})" if seconds >= 60 else ""
    return f"{', '.join(words) or 'no tests ran'} in {seconds:.2f}s{minutes}"


def summed(beside: Told, alone: Told, complaints: int) -> Counter[str]:
    counts = Counter(beside.counts) + Counter(alone.counts)
    counts["deselected"] = alone.counts.get("deselected", 0)  # of all: it has collected what runs beside too
    counts["warning"] = counts.pop("warnings", 0)
    counts["error"] += complaints
    return counts


def main() -> int:
    began_s = time.monotonic()
    codes: dict[str, int] = {}
    told: dict[str, Told | None] = dict.fromkeys(PASSES)
    with tempfile.TemporaryDirectory(prefix="tiergate-passes-") as folder:
        for which in PASSES:
            codes[which] = run(which, Path(folder, which))
            told[which] = read(Path(folder, which))
            if codes[which] < 0 or codes[which] == pytest.ExitCode.INTERRUPTED:
                break
    complaints = [f"the pass {which!r} ended without saying what ran" for which in PASSES if told[which] is None]
    beside, alone = told["beside"] or Told(), told["alone"] or Told()
    if not complaints and set(codes.values()) <= {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        complaints = unlike(beside, alone)
    width = shutil.get_terminal_size().columns
    print(" both passes ".center(width, "="))
    for line in (*beside.bad, *alone.bad, *(f"ERROR {one}" for one in complaints)):
        print(line)
    line = closing_line(summed(beside, alone, len(complaints)), time.monotonic() - began_s)
    print(f" {line} ".center(width, "="), flush=True)
    code = next((code for code in codes.values() if code), int(bool(complaints)))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
