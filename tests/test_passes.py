"""The two passes of scripts/test lose and double nothing, and fail when either fails; their rooms keep the rule."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.passes import Told, unlike
from tests.rooms import BESIDE, bears_company

ROOT = Path(__file__).resolve().parents[1]
#: Who reads these in a test asks how long something took.
STOPWATCHES = frozenset({"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "thread_time"})


# --- the list ---


@cache
def names_in(path: Path) -> frozenset[str]:
    """Modules that a file imports, and clocks that it reads."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module}, (f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
            found.add(node.attr)
    return frozenset(found)


def used_by(path: Path) -> set[str]:
    """`names_in` the file and the modules of tests/ that it imports, and so on; parts have clocks for waiting."""
    found: set[str] = set()
    seen, waiting = {path}, [path]
    while waiting:
        names = names_in(waiting.pop())
        found |= names
        for name in names:
            file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("tests.") and not name.startswith("tests.parts") and file.exists() and file not in seen:
                seen.add(file)
                waiting.append(file)
    return found


def files_beside() -> Iterator[Path]:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if bears_company(path.relative_to(ROOT).as_posix()):
            yield path


def test_the_list_names_rooms_that_are_there_once_and_in_order() -> None:
    assert list(BESIDE) == sorted(set(BESIDE))
    assert [room for room in BESIDE if not (ROOT / room).exists()] == []
    assert [room for room in BESIDE if any(room.startswith(other + "/") for other in BESIDE)] == []


def test_what_runs_beside_others_holds_no_stopwatch() -> None:
    found = {str(path.relative_to(ROOT)): used_by(path) & STOPWATCHES for path in files_beside()}
    assert len(found) > 5
    assert {name: names for name, names in found.items() if names} == {}


def test_the_rule_sees_what_it_must() -> None:
    for name, what in (
        ("tests/gateway/test_keeper.py", "monotonic"), ("tests/storage/test_rebuild.py", "perf_counter"),
        ("tests/torture/test_recording_renewal.py", "monotonic"),
    ):  # fmt: skip
        assert what in used_by(ROOT / name), name
        assert not bears_company(name)


def test_whatever_is_not_listed_is_alone() -> None:
    assert not bears_company("tests/test_new.py") and not bears_company("tests/config_of_mine/test_new.py")
    assert bears_company("tests/config/test_new.py")


def test_a_test_that_did_not_run_once_is_named() -> None:
    both = Told(ran=["a", "b", "b"]), Told(ran=["d"], whole=["a", "b", "c"])
    said = unlike(*both)
    assert [(one.split(" ")[1], one[-1]) for one in said] == [("2", "b"), ("0", "c"), ("1", "d")]
    assert unlike(Told(ran=["a"]), Told(ran=["b"], whole=["b", "a"])) == []


# --- the passes themselves, in a checkout of their own ---

PYPROJECT = """
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["-ra", "--import-mode=importlib", "-p", "xdist.plugin"]
markers = ["torture: as ours"]
"""
ROOMS = """
BESIDE = ("tests/beside",)

def bears_company(path):
    return path.startswith("tests/beside/")
"""
NOTE = """
import os, pathlib, pytest

@pytest.fixture(autouse=True)
def note(request):
    with pathlib.Path("ran").open("a") as file:
        file.write(f"{request.node.nodeid} {os.environ.get('PYTEST_XDIST_WORKER', 'alone')}\\n")
"""
GOOD = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_good(number): pass

def test_skipped(): pytest.skip("not today")

@pytest.mark.torture
def test_torture(): raise AssertionError("not wanted")
"""


def checkout(folder: Path, **files: str) -> Path:
    """A folder with passes of its own, three tests and a skipped one in each of three files, and `files` of tests/."""
    ours = {"beside/test_one": GOOD, "beside/test_two": GOOD, "test_three": GOOD}
    for name, text in {**ours, "conftest": NOTE, "rooms": ROOMS, "__init__": "", **files}.items():
        path = folder / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(ROOT / "tests" / "passes.py", folder / "tests")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return folder


def both_passes(folder: Path) -> tuple[int, str, str]:
    """The exit code, what was printed after both passes, and the last line of that without its rule."""
    argv, quick = [sys.executable, "-m", "tests.passes"], {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        argv, cwd=folder, env={**os.environ, **quick}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == "", done.stderr
    told = done.stdout.partition(" both passes =")[2]
    return done.returncode, told, told.splitlines()[-1].strip("= ")


def test_both_passes_run_all_of_it_once_and_say_the_sum(tmp_path: Path) -> None:
    place = checkout(tmp_path)
    code, told, last = both_passes(place)
    assert code == 0 and re.fullmatch(r"9 passed, 3 skipped, 3 deselected in \d+\.\d\ds", last), told
    ran = [line.split(" ") for line in (place / "ran").read_text().splitlines()]
    assert len(ran) == len({name for name, _ in ran}) == 12
    assert {where for name, where in ran if "/beside/" in name} == {"gw0", "gw1"}
    assert [name for name, where in ran if where == "alone"] == [name for name, _ in ran if "three" in name]


def test_a_failure_of_the_first_pass_fails_the_run_and_is_named_at_its_end(tmp_path: Path) -> None:
    """A test fails, a worker dies in another, a third is lost: all in the pass whose closing line is not the last."""
    lost = "\ndef pytest_collection_modifyitems(config, items):\n    if config.option.which == 'beside': items.pop()\n"
    place = checkout(
        tmp_path,
        conftest=NOTE + lost,
        **{
            "beside/test_bad": "import os\ndef test_bad(): assert 1 == 2\ndef test_dies(): os._exit(0)\n",
            "beside/test_zero": "def test_kept(): pass\ndef test_lost(): pass\n",
        },
    )
    code, told, last = both_passes(place)
    assert code == 1 and last.startswith("2 failed, 10 passed, 3 skipped, 3 deselected, 1 error in "), told
    for line in (
        "FAILED tests/beside/test_bad.py::test_bad",
        "FAILED tests/beside/test_bad.py::test_dies",
        "ERROR ran 0 times instead of 1: tests/beside/test_zero.py::test_lost",
    ):
        assert line in told.splitlines()


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_pass_that_breaks_off_fails_the_run(tmp_path: Path, how: str) -> None:
    place = checkout(tmp_path, test_four=f"import os\ndef test_breaks_off(): {how}\n")
    code, told, last = both_passes(place)
    assert code and last.startswith("6 passed, 2 skipped, 1 error in "), told
    assert "ERROR the pass 'alone' ended without saying what ran" in told.splitlines()


def test_a_failure_of_the_second_pass_fails_the_run(tmp_path: Path) -> None:
    place = checkout(tmp_path, test_four="def test_bad(): assert 1 == 2\n")
    code, told, last = both_passes(place)
    assert code == 1 and last.startswith("1 failed, 9 passed, "), told
