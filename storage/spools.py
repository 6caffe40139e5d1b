"""All spool volumes of a node as one: which are there, and where a segment's copy lies. (FAULTS B6)

A camera's footage may lie on several volumes: a disk that fails or fills hands its cameras to another. A volume that
is not there answers nothing, and nothing of it may be judged; who asks for more than reading goes by `present`. A disk
that hangs counts as absent: each is asked in a thread of its own, and not again before that has its answer.

Belongs here: finding and reading over volumes. Does not belong here: one volume (`storage.spool`), which volume a
camera is written to (`gateway.ingest.volumes`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from config.clock import Clock, steady_s
from config.errors import Kind, TiergateError
from config.settings import Settings
from storage.catalog.engine import Catalog
from storage.spool import OpenPart, Spool

T = TypeVar("T")

#: A volume that has not said by then which one it is hangs. A disk that spins up takes as long as a recorder's patience
#: at most (`gateway.ingest.volumes.SILENT_S`).
ANSWER_S = 5.0


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


class _Question(Generic[T]):
    """One question to one volume, asked in a daemon thread: nobody waits for a disk that hangs, not even the end of the
    process. Who asks while it is being asked gets the same answer."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: Future[T] | None = None
        self._began_s = 0.0

    def begin(self) -> Future[T]:
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer, self._began_s = Future(), steady_s()
                threading.Thread(target=self._run, args=(self._answer,), name="volume", daemon=True).start()
            return self._answer

    def answer(self) -> T:
        """Raises what asking raises, and TimeoutError `ANSWER_S` after the question was put; at once from then on."""
        answer = self.begin()
        return answer.result(max(0.0, self._began_s + ANSWER_S - steady_s()))

    def _run(self, answer: Future[T]) -> None:
        try:
            answer.set_result(self._ask())
        except Exception as exc:
            answer.set_exception(exc)


class Spools:
    """Reads as a `Spool` does. The first is the node's own, under its data folder unless the settings say else."""

    def __init__(self, volumes: Sequence[Spool]) -> None:
        self.volumes = tuple(volumes)
        self._ids = [_Question(partial(getattr, spool, "volume_id")) for spool in self.volumes]
        self._claims: dict[str, _Question[str]] = {}

    def present(self) -> dict[str, Spool]:
        return {answer: spool for spool, answer in self._answers(self._ids) if isinstance(answer, str)}

    def claim(self, catalog: Catalog) -> dict[str, TiergateError]:
        """`Spool.claim` of every volume: name → what is wrong with those that are missing, are others, or hang. What
        hangs is claimed as soon as it answers."""
        if not self._claims:
            self._claims = {spool.name: _Question(partial(spool.claim, catalog)) for spool in self.volumes}
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

    def _answers(self, questions: Iterable[_Question[str]]) -> list[tuple[Spool, str | TiergateError]]:
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

    def open_parts(self, camera_id: str) -> list[OpenPart]:
        return sorted(self._all(lambda spool: spool.open_parts(camera_id)), key=lambda part: part.segment_id)

    def sealed(self, camera_id: str) -> list[Path]:
        return sorted(self._all(lambda spool: spool.sealed(camera_id)), key=lambda path: path.name)

    def cameras(self) -> list[str]:
        return sorted(set(self._all(lambda spool: spool.cameras())))

    def quarantined(self) -> Iterator[Path]:
        yield from self._all(lambda spool: spool.quarantined())

    def _first(self, ask: Callable[[Spool], T | None]) -> T | None:
        """A disk that answers with an error hides what lies on it, never what lies on another."""
        failure: OSError | None = None
        for spool in self.volumes:
            try:
                found = ask(spool)
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
        for spool in self.volumes:
            try:
                found += ask(spool)
            except OSError:
                if len(self.volumes) == 1:
                    raise
        return found


def _answer(spool: Spool, question: _Question[str]) -> str | TiergateError:
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
