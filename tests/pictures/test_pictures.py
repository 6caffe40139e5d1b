"""Whatever shows pictures is on the list of docs/operations.md, with its end and the test that shows it. (I11)

A place of the code that begins to write bytes fails here until somebody has said what those bytes are: `places`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
from sqlalchemy import LargeBinary

from storage.catalog.tables import segment
from tests.pictures.places import BROWSER, COLUMNS, OTHER, PICTURES
from tests.pictures.writers import ROOT, places_in, writers

HEADING = "## What shows pictures, and when it ends"
PAGE = ROOT / "gateway" / "web" / "page"


@cache
def rows() -> dict[str, list[str]]:
    """The table of docs/operations.md: name → where it lies, when it ends, tests."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    part = text.split(HEADING, 1)[1].split("\n## ", 1)[0]
    lines = [line.strip().strip("|") for line in part.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
    return {first: rest for first, *rest in cells}


def test_every_place_that_writes_bytes_has_been_looked_at() -> None:
    known: dict[str, int] = {}
    for places in (*PICTURES.values(), *OTHER.values()):
        assert not known.keys() & places.keys(), "a place has one line"
        known |= places
    found = writers()
    assert {k: v for k, v in found.items() if known.get(k) != v} == {}, "say in tests/pictures/places.py what it writes"
    assert sorted(set(known) - set(found)) == [], "gone, or renamed"


def test_everything_that_shows_pictures_has_its_row_and_every_row_its_tests() -> None:
    assert sorted(set(PICTURES) - set(rows())) == []
    for name, cells in rows().items():
        where, ends, tests = cells
        assert where and ends, name
        in_memory = any(word in where for word in ("memory", "nowhere", "machine"))
        assert in_memory or name in PICTURES, f"{name}: which place of the code writes it?"
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", tests)
        assert named or "by hand" in ends, f"{name}: which test shows its end?"
        for path, test in named:
            source = (ROOT / path).read_text(encoding="utf-8")
            assert not test or re.search(rf"def {test}\b", source), f"{path}::{test}"


def test_no_column_of_the_catalog_holds_a_picture() -> None:
    tables = segment.metadata.tables.values()
    found = {f"{table.name}.{c.name}" for table in tables for c in table.columns if isinstance(c.type, LargeBinary)}
    assert found == set(COLUMNS)


@pytest.mark.parametrize("name", sorted(BROWSER))
def test_the_page_keeps_no_picture_in_the_browser(name: str) -> None:
    sources = [path for path in PAGE.rglob("*.js") if "vendor" not in path.parts]
    assert len(sources) > 20
    word = re.compile(rf"(?<![\w-]){name}\b(?!\s*:)")
    assert {p.relative_to(PAGE).as_posix() for p in sources if word.search(p.read_text("utf-8"))} == BROWSER[name]


def _seen() -> Iterator[str]:
    yield "path.write_bytes(jpeg)"
    yield "open(path, 'wb').write(jpeg)"
    yield "path.open(mode='ab')"
    yield "open(path, 'x')"
    yield "os.open(path, os.O_WRONLY | os.O_CREAT)"
    yield "os.open(path, flags)"
    yield "tempfile.mkstemp()"
    yield "tempfile.NamedTemporaryFile()"
    yield "NamedTemporaryFile(suffix='.jpg')"
    yield "with nameless() as (file, path): pass"
    yield "volume.write_synced(path, jpeg)"
    yield "replace_synced(path, jpeg)"
    yield "store.put_bytes(key, jpeg)"
    yield "image.save(path)"
    yield "av.open(path, 'w')"
    yield "os.link(a, b)"
    yield "shutil.move(a, b)"
    yield "shutil.copyfileobj(a, b)"
    yield "lambda: path.write_text(x)"


@pytest.mark.parametrize("source", list(_seen()))
def test_the_finder_sees(source: str) -> None:
    assert list(places_in(f"class A:\n    def f():\n        {source}\n")) == ["A.f"]
    assert list(places_in(source)) == [""]


@pytest.mark.parametrize(
    "source",
    ["open(path)", "path.open('rb')", "os.open(path, os.O_RDONLY | os.O_CLOEXEC)", "text.replace('a', 'w')",
     "path.read_bytes()", "x.write(jpeg)"],
)  # fmt: skip
def test_the_finder_passes_over_what_only_reads(source: str) -> None:
    """A `write` to something that was opened elsewhere counts where it was opened."""
    assert list(places_in(source)) == []
