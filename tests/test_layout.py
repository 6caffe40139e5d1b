"""The layout of DESIGN §4 held true: rings, purity, docstrings, sizes, words, and what tracked files must not name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Imports go leftwards only.
RINGS = ("config", "storage", "tiering", "gateway")

#: "(pure)" or "(pure; more words)" at the end of a docstring's first line: the module decides and touches nothing.
PURE_MARK = re.compile(r"\(pure\b[^)]*\)\s*$")
#: These decide about footage, permission and money's worth of line; they stay decidable by tests alone.
MUST_BE_PURE = (
    *(
        f"storage.{name}"
        for name in ("segmenter", "retention", "classes", "holds", "gaps", "clock_trust")
    ),
    *(
        f"tiering.{name}"
        for name in ("topology", "access", "mechanism", "lease", "budget", "exchange", "cache_policy")
    ),
)  # fmt: skip
#: Standard modules by which a module could see a clock, a file, a socket, a log, chance, or another thread.
IMPURE_MODULES = frozenset(
    "asyncio concurrent contextvars ctypes fcntl ftplib getpass glob http io locale logging mmap multiprocessing os "
    "platform pty pwd queue random resource sched secrets select selectors shelve shutil signal socket socketserver "
    "sqlite3 ssl subprocess sys syslog tempfile termios threading time tomllib urllib.request uuid "
    "warnings webbrowser".split()
)
#: What a pure module may use from modules that also hold clocks or files.
ALLOWED_NAMES = {"io": frozenset({"BytesIO"}), "uuid": frozenset({"UUID"})}
#: Calls that read a clock or a file by way of an allowed import.
IMPURE_CALLS = frozenset(
    "open input print exec eval now utcnow today read_text read_bytes write_text write_bytes exists is_file is_dir "
    "iterdir getLogger".split()
)
#: Outside the standard library a pure module may use these alone.
PURE_THIRD_PARTY = frozenset({"numpy", "cryptography", "pydantic", "pydantic_core"})
#: A file above this no longer holds one idea.
MAX_LINES = 600


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, Path]:
    return {
        module_name(path): path
        for ring in RINGS
        for path in sorted((ROOT / ring).rglob("*.py"))
        if "__pycache__" not in path.parts and "vendor" not in path.parts
    }


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def first_line(path: Path) -> str:
    return (ast.get_docstring(tree_of(path)) or "").partition("\n")[0]


def imports(path: Path) -> Iterator[tuple[str, ast.stmt]]:
    """(dotted name, statement) of every import, those inside functions and TYPE_CHECKING included."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                # "from config import ids" names a module, "from config.ids import Ids" a thing in one.
                yield (dotted if dotted in sources() else node.module), node


@cache
def our_imports(path: Path) -> frozenset[str]:
    return frozenset(name for name, _ in imports(path) if name in sources())


@cache
def pure_modules() -> frozenset[str]:
    return frozenset(name for name, path in sources().items() if PURE_MARK.search(first_line(path)))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("name", sorted(sources()))
def test_imports_run_inwards_only(name: str) -> None:
    ring = RINGS.index(name.partition(".")[0])
    for imported, node in imports(sources()[name]):
        top = imported.partition(".")[0]
        assert top not in {"tests", "benchmarks"}, f"{name}:{node.lineno} imports {imported}"
        if top in RINGS:
            assert RINGS.index(top) <= ring, f"{name}:{node.lineno} imports {imported}, which lies further out"


def test_no_module_imports_itself_through_others() -> None:
    """Cycles among modules, imports at module level only: one inside a function is a deliberate late import."""

    def direct(path: Path) -> set[str]:
        top_level = {id(node) for node in tree_of(path).body}
        return {name for name, node in imports(path) if id(node) in top_level} & set(sources())

    graph = {name: direct(path) for name, path in sources().items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise AssertionError(" -> ".join([*trail[trail.index(name) :], name]))
        if name in done:
            return
        for imported in sorted(graph[name]):
            visit(imported, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", sorted(n for n in sources() if n.startswith("gateway.ops")))
def test_what_commands_do_is_below_the_commands(name: str) -> None:
    """Only what writes the page about commands looks at them."""
    if name != "gateway.ops.reference":
        assert sorted(n for n, _ in imports(sources()[name]) if n.startswith("gateway.cli")) == []


def used_of(path: Path, module: str) -> set[str]:
    """The names that a file takes from a module by ``module.name``."""
    return {
        node.attr
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


def impurities(path: Path) -> list[str]:
    found = []
    for name, node in imports(path):
        top = name.partition(".")[0]
        if top in RINGS:
            if name in sources() and name not in pure_modules():
                found.append(f"line {node.lineno}: imports {name}, which is not pure")
        elif top not in sys.stdlib_module_names:
            if top not in PURE_THIRD_PARTY:
                found.append(f"line {node.lineno}: imports {name}, which is not of the standard library")
        elif top in IMPURE_MODULES or name in IMPURE_MODULES:
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else used_of(path, name)
            if not names or not names <= ALLOWED_NAMES.get(top, frozenset()):
                found.append(f"line {node.lineno}: imports {name}")
    for call in ast.walk(tree_of(path)):
        if isinstance(call, ast.Call):
            called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if called in IMPURE_CALLS:
                found.append(f"line {call.lineno}: calls {called}()")
    return found


@pytest.mark.parametrize("name", sorted(pure_modules()))
def test_a_pure_module_touches_nothing(name: str) -> None:
    assert not impurities(sources()[name])


def test_the_purity_check_sees_what_it_must(tmp_path: Path) -> None:
    """The check itself, on a module that breaks every rule; without this it could rot into approving all."""
    for line in (
        "import time", "from time import monotonic", "import os.path", "from pathlib import Path\nPath('x').exists()",
        "from datetime import datetime\ndatetime.now()", "import logging", "import secrets", "open('x')",
        "def f():\n    import socket", "import threading", "from io import open as o", "import urllib.request",
        "import uuid\nuuid.uuid4()", "import httpx",
    ):  # fmt: skip
        path = tmp_path / f"m{abs(hash(line))}.py"
        path.write_text(f'"""x. (pure)"""\n{line}\n')
        assert impurities(path), line
    good = tmp_path / "good.py"
    good.write_text(
        '"""x. (pure)"""\nfrom io import BytesIO\nfrom datetime import datetime, UTC\nimport math, struct\n'
    )
    assert impurities(good) == []


#: Readings of a clock, by the module or class they are called on. `loop.time()` is not among them: asyncio's timers are
#: set in it, and it is the steady clock. Conversions (gmtime, fromtimestamp) are given their time.
CLOCK_READINGS = {
    "time": frozenset(
        "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time clock_gettime "
        "clock_gettime_ns localtime".split()
    ),
    "datetime": frozenset({"now", "utcnow", "today"}),
    "date": frozenset({"today"}),
}
CLOCK_PORT = "config.clock"


def clock_readings(path: Path) -> list[str]:
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if node.attr in CLOCK_READINGS.get(owner, ()):
                found.append(f"line {node.lineno}: {owner}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found += [f"line {node.lineno}: from time import {a.name}" for a in node.names if a.name != "sleep"]
    return found


@pytest.mark.parametrize("name", sorted(set(sources()) - {CLOCK_PORT}))
def test_time_is_read_through_the_clock_port_alone(name: str) -> None:
    assert clock_readings(sources()[name]) == []


def test_the_clock_check_sees_what_it_must(tmp_path: Path) -> None:
    assert len(clock_readings(sources()[CLOCK_PORT])) >= 4
    for index, line in enumerate((
        "import time\ntime.time()", "import time\nf = time.monotonic", "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now()", "from datetime import date\ndate.today()",
        "from time import time_ns", "import time\ntime.clock_gettime(1)",
    )):  # fmt: skip
        path = tmp_path / f"c{index}.py"
        path.write_text(line + "\n")
        assert clock_readings(path), line


def test_the_modules_that_decide_are_marked_pure() -> None:
    wanted = {name for name in MUST_BE_PURE if name in sources()}
    # A package may stand for a module of that name (tiering/access/…): then each of its modules decides.
    wanted |= {name for name in sources() for stem in MUST_BE_PURE if name.startswith(stem + ".")}
    wanted |= {name for name in sources() if name.startswith("storage.media.")}
    assert wanted - pure_modules() == set()


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_module_says_what_it_is_for(name: str) -> None:
    path = sources()[name]
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    assert first_line(path), f"{path.relative_to(ROOT)} has no docstring"
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{path.relative_to(ROOT)} has {lines} lines; does it still hold one idea?"


def test_every_folder_of_source_is_a_package() -> None:
    """setuptools leaves a folder without __init__.py out of the wheel, silently. Alembic's folders are data."""
    folders = {path.parent for path in sources().values() if "migrations" not in path.parts}
    assert sorted(str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()) == []


def test_every_reason_has_both_languages_and_is_used_as_named() -> None:
    from config.reasons import TABLE, parameter_names

    chinese = re.compile(r"[\u4e00-\u9fff]")
    for code, (en, zh) in TABLE.items():
        assert re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)*", code), code
        assert not chinese.search(en), f"{code}: Chinese in the English sentence"
        if en != zh:  # a sentence that is one parameter is the same in both
            assert chinese.search(zh), f"{code}: no Chinese in the Chinese sentence"
        assert parameter_names(en) == parameter_names(zh), code


def test_every_reason_that_the_source_names_has_words() -> None:
    from config.reasons import TABLE

    missing = []
    for path in sources().values():
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            index = {"TiergateError": 1, "Reason": 0}.get(called)
            if index is None or len(node.args) <= index:
                continue
            code = node.args[index]
            if isinstance(code, ast.Constant) and isinstance(code.value, str) and code.value not in TABLE:
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {code.value}")
    assert missing == []


#: Package indexes, by the parts of their names, put together here so that this file does not name them.
_HOSTS = "|".join(
    re.escape(".".join(parts))
    for parts in (
        ("pypi", "org"), ("pythonhosted", "org"), ("registry", "npmjs"), ("npmmirror", "com"), ("proxy", "golang"),
        ("deb", "debian"), ("crates", "io"), ("repo1", "maven"), ("mirrors", "aliyun"), ("tuna", "tsinghua"),
    )
)  # fmt: skip
_MACHINE_PATHS = r"(^|[^A-Za-z0-9_./-])/(" + "|".join(("wo" + "rk", "ro" + "ot", "fa" + "rm")) + r")/"


def test_tracked_files_name_no_registry_and_no_machine() -> None:
    pattern = re.compile(f"{_HOSTS}|{_MACHINE_PATHS}", re.MULTILINE)
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for match in pattern.finditer(text):
            found.append(
                f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1} {match.group(0).strip()}"
            )
    assert found == []


@pytest.mark.fault("S28")
def test_lock_files_hold_checksums_and_no_addresses() -> None:
    for path in sorted((ROOT / "scripts" / "requirements").glob("*.txt")):
        text = path.read_text()
        assert "://" not in text, path.name
        pinned = re.findall(r"^[A-Za-z0-9_.-]+==\S+ \\$", text, re.MULTILINE)
        assert pinned
        assert len(pinned) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)), (
            f"{path.name}: a line without a hash"
        )
    assert '"resolved"' not in (ROOT / "scripts/vendor/package-lock.json").read_text()


def test_suppressed_checks_carry_their_reason() -> None:
    bare = re.compile(r"#\s*(type: ignore\[[^\]]+\]|noqa: [A-Z0-9, ]+?)\s*$|#\s*(type: ignore|noqa)\s*$", re.MULTILINE)
    found = []
    for path in tracked():
        if path.suffix == ".py" and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            found += [
                f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, m.start()) + 1}: {m.group(0)}"
                for m in bare.finditer(text)
            ]
    assert found == []
