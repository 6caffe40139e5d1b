"""docs/faults.md is what the tests' marks say, and no row of the catalogue is passed over."""

from __future__ import annotations

from tests.faults import page
from tests.faults.catalogue import ROWS


def test_every_mark_names_a_row() -> None:
    assert sorted(set(page.marks()) - set(ROWS)) == []
    assert sorted(set(page.not_yet()) - set(ROWS)) == []


def test_every_row_has_a_test_or_says_why_not() -> None:
    marks, sentences = page.marks(), page.not_yet()
    assert sorted(row for row in ROWS if row not in marks and not sentences.get(row)) == []


def test_the_page_is_what_the_marks_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "docs/faults.md is old: run scripts/docs"
