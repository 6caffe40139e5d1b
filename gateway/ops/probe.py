"""What a check of `doctor` may look at."""

from __future__ import annotations

from dataclasses import dataclass

from config.clock import Clock
from config.settings import Settings
from storage.catalog.engine import Catalog


@dataclass(frozen=True, slots=True)
class Probe:
    """What a check may look at."""

    settings: Settings
    clock: Clock
    catalog: Catalog | None  #: None: it cannot be opened, which is a finding of its own
    quick: bool = False

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 1_000_000
