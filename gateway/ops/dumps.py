"""No core dumps: the memory of a process that fails is footage, and keys, that no clock ends. (I10, I11)"""

from __future__ import annotations

import resource


def no_core_dump() -> None:
    """Of this process and of all that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
