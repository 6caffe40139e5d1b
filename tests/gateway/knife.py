"""A process killed in this process: at a chosen one of the places where something outlasts it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from storage.catalog.engine import Catalog


class Killed(BaseException):
    pass


class Knife:
    """Kills at the n-th place: before and after every file made, synced or renamed and every transaction, and inside
    every transaction before it commits."""

    FILES: ClassVar = ("open", "fsync", "replace")

    def __init__(self, at: int | None) -> None:
        self._at, self.places = at, 0
        self._patch = pytest.MonkeyPatch()

    def _place(self) -> None:
        self.places += 1
        if self.places == self._at:
            raise Killed

    def __enter__(self) -> Knife:
        for name in self.FILES:
            self._patch.setattr(os, name, self._around(getattr(os, name)))
        write = Catalog.write

        def cut_write(catalog: Catalog, change: Callable[[Any], Any]) -> Any:
            def inside(connection: Any) -> Any:
                value = change(connection)
                self._place()
                return value

            return self._around(write)(catalog, inside)

        self._patch.setattr(Catalog, "write", cut_write)
        return self

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def cut(*args: Any, **more: Any) -> Any:
            self._place()
            value = real(*args, **more)
            self._place()
            return value

        return cut

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._patch.undo()
        return kind is Killed
