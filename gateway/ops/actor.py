"""Who acts where no node judges it: work on this machine's files is audited as ``os:<login>``."""

from __future__ import annotations

import getpass


def operator() -> str:
    """The actor of offline commands."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):
        return "os:unknown"
