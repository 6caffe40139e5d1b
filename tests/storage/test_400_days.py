"""400 days of a node in one go, day by day: month ends, a leap day, class changes, areas, a hold, upgrades, a restore.

The law and the witnesses are the retention machine's; here the story is fixed, so that nothing of it can be missed.
The host's time zone must not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from config.units import DAY_MS
from storage.catalog import retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.migrate import head, revision_of, upgrade
from tests.parts.zone import ZONES, host_zone
from tests.storage import retention_machine
from tests.storage.machine_stores import MemoryStore
from tests.storage.retention_law import CAMERAS
from tests.storage.retention_machine import InMemory, furnish

DAYS = 400
FIRST, SECOND = CAMERAS


class Node(InMemory):
    """Begins as a node of the first schema."""

    def open(self) -> tuple[Catalog, MemoryStore]:
        catalog = Catalog("sqlite://")
        self.upgrade(catalog, "0001")
        catalog.write(furnish)
        return catalog, MemoryStore()

    def upgrade(self, catalog: Catalog, revision: str) -> None:
        def write(connection: Connection) -> None:
            upgrade(connection, revision)

        catalog.write(write)

    def upgrade_to(self, revision: str) -> None:
        self.upgrade(self.inner_catalog, revision)
        self.reboot()

    def a_day_of_footage(self, day: int) -> None:
        """Of both cameras: before and after Shanghai's midnight, at noon; once a week with a date nobody believes."""
        for camera in CAMERAS:
            for minutes_ago in (8 * 60 - 1, 8 * 60 + 1, 1200):
                self.record(camera, minutes_ago, True, undated=3, wrong_by_days=0)
        if day % 7 == 0 and day > 29:
            self.record(FIRST, 30, True, undated=0, wrong_by_days=(-57 * 365, -40, 40)[day % 3])

    def sweep_today(self) -> str | None:
        """The reason of a refusal, if there was one; a person then confirms."""
        refused = retention_machine.STEPS["refused"]
        self._sweep()
        if retention_machine.STEPS["refused"] == refused:
            return None
        self._sweep(confirmed=10_000)
        return "refused"

    def lapse(self, hold_id: str) -> None:
        self.inner_catalog.write(lambda c: retention_rows.release_hold(c, hold_id, "somebody", self.true_ms))
        del self.law.holds[hold_id]


def live_through() -> tuple[set[str], list[int], dict[str, int]]:
    """(keys of what went, days on which a sweep asked a person, what happened how often)."""
    retention_machine.STEPS.update(dict.fromkeys(retention_machine.STEPS, 0))
    node = Node()
    went: set[str] = set()
    asked: list[int] = []
    story: dict[int, Callable[[], None]] = {
        15: lambda: node.upgrade_to("0003_aged_from"),
        29: lambda: node.upgrade_to("head"),
        60: lambda: node.key_area(FIRST, True),
        100: lambda: node.hold(SECOND, 20 * 24, 40 * 24),
        150: lambda: node.set_months("key", 4, True),
        170: lambda: node.set_months("default", 2, True),
        200: lambda: node.key_area(FIRST, False),
        220: node.back_up,
        230: node.restore,
        260: lambda: node.lapse(next(iter(node.law.holds))),
        300: lambda: node.set_months("default", 1, True),
        320: node.reboot,
    }
    for day in range(DAYS):
        if day in story:
            story[day]()
        node.a_day_of_footage(day)
        if day >= 29:
            if node.sweep_today() is not None:
                asked.append(day)
            for key in [key for key in node.footage if not node.inner_store.has(key)]:
                went.add(key)
                del node.footage[key]
        node.clock.advance(DAY_MS // 1000)
        assert not node.violations, (day, node.violations)
    assert node.inner_catalog.read(revision_of) == head()
    node.teardown()
    return went, asked, dict(retention_machine.STEPS)


@pytest.mark.parametrize(
    "zone", [name if "LHST" in name else pytest.param(name, marks=pytest.mark.torture) for name in ZONES]
)
def test_400_days_end_every_piece_of_footage_on_its_day_wherever_the_host_is(
    zone: str, counted: Callable[[object], None]
) -> None:
    with host_zone(zone):
        went, asked, happened = live_through()
    counted(f"went {len(went)}, asked on days {asked}; {happened}")
    assert asked == [260], "only the end of a hold of forty days was not in the forecast"
    assert len(went) > 1_500
