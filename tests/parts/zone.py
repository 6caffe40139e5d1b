"""The time zone of the host that the tests run on, as long as a test wants it to be another."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: As POSIX writes them, for a machine without a zone database, and how far east of Greenwich they are in January 2027.
ZONES = {
    "UTC0": 0,
    "CST-8": 8 * 3600,
    "EST5EDT,M3.2.0,M11.1.0": -5 * 3600,
    "LHST-10:30LHDT-11,M10.1.0,M4.1.0/2": 11 * 3600,
    "<+0545>-5:45": 5 * 3600 + 45 * 60,
    "<+13>-13": 13 * 3600,
}


@contextmanager
def host_zone(name: str) -> Iterator[None]:
    """`name` is one of `ZONES`; the zone is that of the whole process."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        assert time.localtime(1_800_000_000).tm_gmtoff == ZONES[name]
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
