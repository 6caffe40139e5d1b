"""Whether the node's catalog is there. Nothing but `init`, `restore` and `store rebuild` makes one.

A process that went on with an empty catalog would write into the store's journal that there are no holds and no areas,
and that is what a rebuild would then bring back.
"""

from __future__ import annotations

from config.errors import Kind, TiergateError
from config.settings import Settings
from storage.catalog import migrate


def require(settings: Settings) -> None:
    """Raises ops.catalog_missing when there is no catalog, or one that is no node's; none is made by asking."""
    if migrate.whose(settings.catalog_url) is None:
        raise TiergateError(Kind.ENVIRONMENT, "ops.catalog_missing")
