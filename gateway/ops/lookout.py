"""The keeper's look at everything that `doctor` checks: alarms into catalog and audit log, news to the hooks.

Belongs here: the sequence of one look. Does not belong here: what an alarm is (`gateway.ops.alarms`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import TiergateError
from config.ids import ulid
from config.settings import Settings
from config.units import HOUR_MS
from gateway.ops import alarms, doctor
from gateway.ops.alarm_hooks import Hook, message
from gateway.ops.alarms import Alarms, News
from gateway.ops.findings import Answer
from storage.audit import log as audit
from storage.catalog import facts
from storage.catalog.engine import Catalog

_log = logging.getLogger(__name__)

ACTOR = "keeper"
#: What `doctor.SLOW` names is asked so often; between, its last word stands. What could not be asked is not put off.
SLOW_EVERY_MS = HOUR_MS


class Lookout:
    def __init__(
        self, catalog: Catalog, settings: Settings, clock: Clock, node_id: str, hooks: Mapping[str, Hook]
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._node_id = node_id
        self._hooks = hooks
        self._slow: dict[str, tuple[int, Answer]] = {}  #: by check, when it is asked again, and its last word

    def look(self) -> None:
        """Raises the last trouble of a hook, after everything else is done."""
        answers = self._answers()
        now_ms = wall_ms(self._clock)
        before = read(self._catalog)
        after, news = alarms.look(
            before, answers, now_ms, _ids(now_ms), self._hooks.keys(), self._settings.alarms.least
        )
        after = alarms.only_for(after, self._hooks.keys())

        def write(connection: Connection) -> None:
            facts.set(connection, alarms.FACT, after.as_json())
            for one in news:
                details = {"level": one.level, "since_ms": one.since_ms, "reason": one.reason}
                audit.append(connection, now_ms, ACTOR, f"alarm.{one.turn}", one.check, details)

        if after != before:
            self._catalog.write(write)
        for one in news:
            _log.warning("alarm", extra={"turn": one.turn, "check": one.check, "code": one.reason["code"]})
        self._deliver(after)

    def _answers(self) -> list[Answer]:
        now_ns = self._clock.monotonic_ns()
        rest = {name: said for name, (next_ns, said) in self._slow.items() if now_ns < next_ns}
        answers = list(doctor.answers(self._settings, self._clock, quick=True, wanted=lambda name: name not in rest))
        for answer in answers:
            if answer.check in doctor.SLOW and answer.whole:
                self._slow[answer.check] = (now_ns + SLOW_EVERY_MS * 1_000_000, answer)
        return [*answers, *rest.values()]

    def _deliver(self, state: Alarms) -> None:
        """In order, hook by hook; what one hook does not take waits there and holds up no other."""
        trouble: TiergateError | None = None
        for name, hook in self._hooks.items():
            done: list[str] = []
            for news in [news for news in state.waiting if name in news.waits_for]:
                try:
                    hook(self._message(news), wall_ms(self._clock) // 1000)
                except TiergateError as error:
                    trouble = error
                    break
                done.append(news.id)
            if done:
                state = alarms.taken(state, name, done)
                self._catalog.write(partial(facts.set, key=alarms.FACT, value=state.as_json()))
        if trouble is not None:
            raise trouble

    def _message(self, news: News) -> dict[str, object]:
        return message(news, self._node_id, self._settings.node.name)


def read(catalog: Catalog) -> Alarms:
    """The alarms as the keeper last left them."""
    return Alarms.from_json(catalog.read(lambda c: facts.get(c, alarms.FACT)))


def _ids(now_ms: int) -> Iterator[str]:
    while True:
        yield ulid(now_ms, os.urandom(10))
