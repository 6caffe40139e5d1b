"""What `/metrics` says as a whole; single numbers are judged where what they count is tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.settings import Settings
from gateway.ops import metrics
from storage.catalog.engine import Catalog
from storage.catalog.tables import metadata


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    made = Catalog("sqlite://")
    made.write(metadata.create_all)
    yield made
    made.close()


def test_no_name_is_exposed_twice(catalog: Catalog) -> None:
    """Prometheus refuses the second family of a name, and with it the whole scrape."""
    told = catalog.read(lambda c: metrics.read_facts(c, Settings(), 0))
    told += [*metrics.disks(Settings()), metrics.looks_running(0), metrics.requests_refused({"anonymous": 0})]
    told += metrics.rtsp(0, 0, {}, 0, 0)
    assert [name for name, times in Counter(one.name for one in told).items() if times > 1] == []

    families = [one.name for one in text_string_to_metric_families(metrics.render(told)[0].decode())]
    assert {"tiergate_segments_damaged", "tiergate_looks_running", "tiergate_requests_refused"} <= set(families)
    assert [name for name, times in Counter(families).items() if times > 1] == []
