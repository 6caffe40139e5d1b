"""All spool volumes of a node as one: which are there, and where a segment's copy lies. (FAULTS B6)

A camera's footage may lie on several volumes: a disk that fails or fills hands its cameras to another. A volume that
is not there answers nothing, and nothing of it may be judged; who asks for more than reading goes by `present`. A disk
that hangs counts as absent: each is asked in a thread of its own, and not again before that has its answer
(`storage.questions`).

Belongs here: finding and reading over volumes. Does not belong here: one volume (`storage.spool`), which volume a
camera is written to (`gateway.ingest.volumes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.settings import Settings
from storage.catalog.engine import Catalog
from storage.questions import Question, Questions
from storage.spool import OpenPart, Spool

T = TypeVar("T")
ReadAt = Callable[[int, int], bytes]  #: offset, length → bytes; fewer at the end, none when the file is gone


class Volumes(Protocol):
    """One spool, or several."""

    def present(self) -> dict[str, Spool]:
        """Volume id → spool, of those that are there."""
        ...

    @property
    def volume_id(self) -> str:
        """Raises media.volume_missing, media.volume_swapped when none is there."""
        ...

    @property
    def node_id(self) -> str: ...

    def find(self, camera_id: str, segment_id: str) -> Path | None: ...


class Spools:
    """Reads as a `Spool` does. The first is the node's own, under its data folder unless the settings say else."""

    def __init__(self, volumes: Sequence[Spool]) -> None:
        self.volumes = tuple(volumes)
        self._ids = [Question(partial(getattr, spool, "volume_id")) for spool in self.volumes]
        self._claims: dict[str, Question[str]] = {}
        self._reads = [Questions() for _ in self.volumes]

    def present(self) -> dict[str, Spool]:
        return {answer: spool for spool, answer in self._answers(self._ids) if isinstance(answer, str)}

    def claim(self, catalog: Catalog) -> dict[str, TiergateError]:
        """`Spool.claim` of every volume: name → what is wrong with those that are missing, are others, or hang. What
        hangs is claimed as soon as it answers."""
        if not self._claims:
            self._claims = {spool.name: Question(partial(spool.claim, catalog)) for spool in self.volumes}
        answers = self._answers(self._claims.values())
        return {spool.name: answer for spool, answer in answers if isinstance(answer, TiergateError)}

    @property
    def volume_id(self) -> str:
        """Of the first volume that is there; raises what is wrong with the first when none is."""
        wrong: list[TiergateError] = []
        for _, answer in self._answers(self._ids):
            if isinstance(answer, str):
                return answer
            wrong.append(answer)
        raise wrong[0]

    def _answers(self, questions: Iterable[Question[str]]) -> list[tuple[Spool, str | TiergateError]]:
        """Of each volume its id, or why there is none. All are asked at once."""
        asked = list(questions)
        for question in asked:
            question.begin()
        return [(spool, _answer(spool, question)) for spool, question in zip(self.volumes, asked, strict=True)]

    @property
    def node_id(self) -> str:
        return self.volumes[0].node_id

    @property
    def clock(self) -> Clock:
        return self.volumes[0].clock

    # --- reading, wherever it lies ---

    def find(self, camera_id: str, segment_id: str) -> Path | None:
        return self._first(lambda spool: spool.find(camera_id, segment_id))

    def read(self, camera_id: str, segment_id: str, offset: int, length: int) -> bytes | None:
        return self._first(lambda spool: spool.read(camera_id, segment_id, offset, length))

    def of_open_parts(self, camera_id: str, look: Callable[[OpenPart, ReadAt], T]) -> list[T]:
        """What `look` says of each part file that is being written. One question to each disk, many reads in it."""

        def ask(spool: Spool) -> list[T]:
            return [look(part, partial(_read_part, spool, part)) for part in spool.open_parts(camera_id)]

        return self._all(ask)

    def sealed(self, camera_id: str) -> list[Path]:
        return sorted(self._all(lambda spool: spool.sealed(camera_id)), key=lambda path: path.name)

    def cameras(self) -> list[str]:
        return sorted(set(self._all(lambda spool: spool.cameras())))

    def quarantined(self) -> Iterator[Path]:
        yield from self._all(lambda spool: spool.quarantined())

    def _first(self, ask: Callable[[Spool], T | None]) -> T | None:
        """A disk that answers with an error, or not at all, hides what lies on it, never what lies on another."""
        failure: OSError | None = None
        for spool, reads in zip(self.volumes, self._reads, strict=True):
            try:
                found = reads.answer(partial(ask, spool))
            except OSError as exc:
                failure = exc
                continue
            if found is not None:
                return found
        if failure is not None and len(self.volumes) == 1:
            raise failure
        return None

    def _all(self, ask: Callable[[Spool], Iterable[T]]) -> list[T]:
        found: list[T] = []
        for spool, reads in zip(self.volumes, self._reads, strict=True):
            try:
                found += reads.answer(partial(_listed, ask, spool))
            except OSError:
                if len(self.volumes) == 1:
                    raise
        return found


def _listed(ask: Callable[[Spool], Iterable[T]], spool: Spool) -> list[T]:
    """To its end where the disk is asked: what lies on it may be found while it is gone through."""
    return list(ask(spool))


def _read_part(spool: Spool, part: OpenPart, offset: int, length: int) -> bytes:
    return spool.read(part.camera_id, part.segment_id, offset, length) or b""


def _answer(spool: Spool, question: Question[str]) -> str | TiergateError:
    try:
        return question.answer()
    except TiergateError as exc:
        return exc
    except OSError:  # a TimeoutError among them
        return TiergateError(Kind.ENVIRONMENT, "media.volume_missing", volume=spool.name)


def copy_of(volumes: Volumes, camera_id: str, segment_id: str) -> tuple[str, Path] | None:
    """(volume id, path) of a sealed spool copy, on whichever volume that is there it lies."""
    for volume_id, spool in volumes.present().items():
        path = spool.find(camera_id, segment_id)
        if path is not None:
            return volume_id, path
    return None


def require_volume(volumes: Volumes) -> dict[str, Spool]:
    """Those that are there. Raises media.volume_missing when none is."""
    found = volumes.present()
    if not found:
        _ = volumes.volume_id
        raise TiergateError(Kind.ENVIRONMENT, "media.volume_missing", volume="spool")  # it came back in between
    return found


def make_spools(settings: Settings, clock: Clock, node_id: str) -> Spools:
    """The volumes of the settings; no disk is asked."""
    return Spools([Spool(folder, clock, node_id, name) for name, folder in settings.paths.spool_dirs.items()])
