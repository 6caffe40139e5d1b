"""Which fault of cameras, disks, stores, clocks and machines is shown by which test: the source of docs/faults.md.

A test says what it shows with ``@pytest.mark.fault("A1", "C10")`` (or a module with `pytestmark`). A row of the
catalogue that no test names has a sentence in `not_yet.toml` that says why not. `scripts/docs` writes docs/faults.md
from both; tests/test_faults.py fails when the page is old, a mark names no row, or a row has neither test nor sentence.

Belongs here: the catalogue's rows in one line each, and the page. The tests themselves lie beside what they test.
"""
