"""The reference pages say what the code says; what has no words in the code cannot be documented, and fails here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from config.reasons import TABLE
from config.settings import known_keys
from gateway.cli.app import build
from gateway.ops import doctor
from gateway.ops.reference import PAGES

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_what_the_code_says(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/reference/{name} is old: run scripts/docs"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in REFERENCE.glob("*.md")} == set(PAGES)


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, child in group.commands.items():
        here = f"{path} {name}".strip()
        if hasattr(child, "commands"):
            yield from commands(child, here)
        else:
            yield here, child


def test_no_command_has_an_option_that_is_taken_from_the_whole_line() -> None:
    """`camera set ID --url rtsp://…` never saw its value: ``--url`` anywhere names a node."""
    everywhere = {"--config", "--url", "--json", "--lang"}
    taken = {
        path: sorted(everywhere & set(param.opts))
        for path, command in commands(typer.main.get_command(build()))
        for param in command.params
        if everywhere & set(param.opts)
    }
    assert taken == {}


def test_everything_has_its_line() -> None:
    pages = {name: page() for name, page in PAGES.items()}
    for key in known_keys():
        assert f"| `{key.partition('.')[2]}` |" in pages["settings.md"], key
    for code in TABLE:
        assert f"| `{code}` |" in pages["reasons.md"], code
    for metric in doctor.METRICS:
        assert f"| `{metric}` |" in pages["metrics.md"], metric
    for path, _ in commands(typer.main.get_command(build())):
        assert f"## `tiergate {path}`" in pages["commands.md"], path


def test_every_setting_and_every_command_explains_itself() -> None:
    lines = PAGES["settings.md"]().splitlines()
    assert [line for line in lines if line.startswith("| `") and line.rstrip().endswith("|  |")] == []
    silent = [path for path, command in commands(typer.main.get_command(build())) if not (command.help or "").strip()]
    assert silent == []


def test_every_path_on_the_map_exists() -> None:
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([\w./-]*/[\w./-]+|\w+\.toml)`", text))
    assert len(paths) > 30
    assert sorted(p for p in paths if not (ROOT / p).exists()) == []


PEOPLE = (
    "README.md",
    "README.zh-CN.md",
    "docs/architecture.md",
    "docs/operations.md",
    "docs/responsible-use.md",
    "docs/responsible-use.zh-CN.md",
    "docs/threats.md",
)


@pytest.mark.parametrize("name", PEOPLE)
def test_what_a_page_for_people_names_is_there(name: str) -> None:
    """Files, tests, commands and links: a page that people trust must not outlive what it speaks of."""
    text = (ROOT / name).read_text(encoding="utf-8")
    files = set(re.findall(r"`([\w./-]*/[\w./-]*\.py)`", text))
    assert sorted(f for f in files if not (ROOT / f).exists()) == []
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [t for t in re.findall(r"`(test_\w+)`", text) if f"def {t}(" not in code] == []
    known = {path for path, _ in commands(typer.main.get_command(build()))}
    named = {" ".join(found) for found in re.findall(r"`tiergate (?:--\w+ \S+ )*([a-z-]+)(?:\s([a-z-]+))?", text)}
    assert named and sorted(c.strip() for c in named if not any(k in (c.strip(), c.split(" ")[0]) for k in known)) == []
    links = re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", text)
    assert [one for one, _ in links if not (ROOT / name).parent.joinpath(one).exists()] == []
    for one, part in links:
        if part:
            headings = re.findall(r"^#+ (.+)$", (ROOT / name).parent.joinpath(one).read_text(encoding="utf-8"), re.M)
            assert part in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, f"{one}#{part}"


def test_no_page_for_people_has_two_parts_of_one_name() -> None:
    for name in PEOPLE:
        headings = re.findall(r"^## .+$", (ROOT / name).read_text(encoding="utf-8"), re.M)
        assert sorted({h for h in headings if headings.count(h) > 1}) == [], name


def test_every_route_that_the_page_about_rooms_names_is_one() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    described = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]
    known = {(m.upper(), re.sub(r"{\w+}", "{}", path)) for path, methods in described.items() for m in methods}
    named = {
        (method, re.sub(r"{\w+}", "{}", path))
        for methods, path in re.findall(r"`([A-Z]+(?:\|[A-Z]+)*) (/[^\s`?]*)", text)
        for method in methods.split("|")
        if not path.startswith("/tier/")  # of the relay, between nodes
    }
    assert len(named) > 30
    assert sorted(f"{m} {p}" for m, p in named if (m, f"/api/v1{p}") not in known and (m, p) not in known) == []
