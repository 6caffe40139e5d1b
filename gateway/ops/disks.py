"""The disks of a node, asked so that one that hangs holds up nobody who looks. (FAULTS B6, B34)

Belongs here: which folders are asked, and that one does not answer. Does not belong here: judging what they answer
(`gateway.ops.checks_machine`), asking (`storage.questions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from config.reasons import Reason
from config.settings import Settings
from storage.questions import ask

T = TypeVar("T")


def folders_of(settings: Settings) -> dict[str, Path]:
    """Name for people → folder, of everything that footage lies on."""
    folders = {**settings.paths.spool_dirs, "data": settings.paths.data}
    if settings.store.kind == "folder":
        folders["store"] = settings.store_folder
    return folders


def own_folders(settings: Settings) -> dict[str, Path]:
    """What a node cannot be looked at without."""
    paths = settings.paths
    return {"data": paths.data, "catalog": paths.catalog_dir, "keys": paths.keys_dir, "run": paths.run_dir}


def ask_each(folders: Mapping[str, Path], look: Callable[[str, Path], T]) -> dict[str, T | Reason | OSError]:
    """What `look` answers of each, asked at once; a reason of one that hangs, an OSError as it came. What lies in a
    folder of another is asked after that one."""

    def answer(name: str) -> T | Reason | OSError:
        try:
            return ask(folders[name], partial(look, name, folders[name]))
        except TimeoutError:
            return silent(name, folders[name])
        except OSError as error:
            return error

    inner = [name for name, folder in folders.items() if not set(folder.parents).isdisjoint(folders.values())]
    found: dict[str, T | Reason | OSError] = {}
    with ThreadPoolExecutor(max(1, len(folders)), "disks") as pool:
        for names in ([name for name in folders if name not in inner], inner):
            found |= dict(zip(names, pool.map(answer, names), strict=True))
    return {name: found[name] for name in folders}


def silent(name: str, folder: Path) -> Reason:
    return Reason("ops.disk_silent", {"volume": name, "folder": folder})


def store_silent(settings: Settings) -> Reason | None:
    """Of a store in a folder whose disk hangs: whatever asks it for an object would not come back."""
    if settings.store.kind != "folder":
        return None
    try:
        ask(settings.store_folder, settings.store_folder.exists)
    except TimeoutError:
        return silent("store", settings.store_folder)
    return None
