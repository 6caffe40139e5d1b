"""docs/faults.md from the catalogue, the tests' marks (read from their source, nothing is run) and the sentences."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.faults.catalogue import ROWS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "faults.md"

_HEAD = """# Faults: what happens out there, and which test shows that it is survived

Made by `scripts/docs` from the marks of the tests (`@pytest.mark.fault`) and `tests/faults/`. Where no test shows a row
yet, the last column says why. Tests in `tests/torture` run small in `scripts/test` and whole in `scripts/torture`.
"""
_PARTS = {
    "A": "Cameras and ingest",
    "B": "Spool, store, catalog and clock",
    "C": "The long run",
    "S": "Who may see what, and who looked",
}


def not_yet() -> dict[str, str]:
    sentences: dict[str, str] = tomllib.loads((Path(__file__).with_name("not_yet.toml")).read_text(encoding="utf-8"))
    return sentences


def marks() -> dict[str, list[str]]:
    """Row → "path::test" of every test that names it."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        for row, test in _marks_of(ast.parse(path.read_text(encoding="utf-8"), name)):
            found.setdefault(row, []).append(f"{name}::{test}" if test else name)
    return found


def _marks_of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            yield from ((row, "") for row in _named(node.value))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                yield from ((row, node.name) for row in _named(decorator))
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                    for decorator in method.decorator_list:
                        yield from ((row, f"{node.name}::{method.name}") for row in _named(decorator))


def _named(node: ast.expr) -> Iterator[str]:
    """Rows named by every `pytest.mark.fault(…)` in an expression."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "fault":
            for argument in call.args:
                if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                    raise ValueError(f"line {call.lineno}: a fault is named by a string")
                yield argument.value


def page() -> str:
    tests, sentences = marks(), not_yet()
    lines = [_HEAD]
    for part, title in _PARTS.items():
        lines += [f"## {title}\n", "| row | what happens | what is promised | shown by |", "|---|---|---|---|"]
        for row, (happens, promised) in ROWS.items():
            if row.startswith(part):
                shown = "<br>".join(f"`{test}`" for test in tests.get(row, []))
                if row in sentences:
                    shown = "<br>".join(filter(None, [shown, f"not yet: {sentences[row]}"]))
                lines.append(f"| {row} | {happens} | {promised} | {shown} |")
        lines.append("")
    return "\n".join(lines)


def write() -> None:
    PAGE.write_text(page(), encoding="utf-8")
