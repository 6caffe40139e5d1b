"""What `tests/storage` shows of checking and rebuilding a store in small, at full size: `scripts/torture store`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.catalog.engine import Catalog
from storage.objects.folder import FolderStore
from tests.storage.test_rebuild import anew, loss_of
from tests.storage.test_worlds import Universe, all_mended, universe

__all__ = ["anew", "universe"]  # fixtures

OBJECTS, WORLDS = 100_000, 10_000


@pytest.mark.torture
@pytest.mark.fault("B31")
def test_every_row_of_a_hundred_thousand_is_what_it_was(
    tmp_path: Path, anew: Catalog, counted: Callable[[object], None]
) -> None:
    store = FolderStore(tmp_path / "objects")
    store.ensure()
    counted(loss_of(tmp_path, store, anew, OBJECTS).as_json())


@pytest.mark.torture
@pytest.mark.fault("B13")
def test_ten_thousand_worlds_are_mended(universe: Universe, counted: Callable[[object], None]) -> None:
    counted(all_mended(universe, WORLDS))
