"""Rows go together, in order, and one bad row takes no other with it."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.ingest.ledger import Ledger
from storage.catalog import facts
from storage.catalog.engine import Catalog


@pytest.fixture
def catalog(catalog_url: str) -> Catalog:
    return Catalog(catalog_url)


def test_changes_are_committed_in_order_and_acknowledged_after_the_commit(catalog: Catalog) -> None:
    ledger = Ledger(catalog, 0.01)
    acknowledged: list[int] = []
    for number in range(1200):
        ledger.put(partial(facts.set, key="last", value=number), partial(acknowledged.append, number))
    assert ledger.flush(20)
    assert acknowledged == list(range(1200))
    assert catalog.read(lambda c: facts.get(c, "last")) == 1199
    assert ledger.close()
    catalog.close()


def test_a_change_that_fails_takes_no_other_with_it(catalog: Catalog) -> None:
    ledger = Ledger(catalog, 0.01)

    def bad(_: object) -> None:
        raise ValueError("does not fit")

    ledger.put(partial(facts.set, key="before", value=1))
    ledger.put(bad)
    ledger.put(partial(facts.set, key="after", value=2))
    assert ledger.flush(10)
    assert catalog.read(lambda c: (facts.get(c, "before"), facts.get(c, "after"))) == (1, 2)
    ledger.close()
    catalog.close()
