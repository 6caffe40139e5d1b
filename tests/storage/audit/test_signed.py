"""Signed heads in a store: a log that was cut is never signed over, whatever its catalog says; an honest one always."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from config import crypto
from config.errors import TiergateError
from config.units import DAY_MS, HOUR_MS
from storage.audit import log, signed
from storage.audit.signed import CUT, MARK, Excuse, Signer
from storage.catalog import facts
from storage.catalog.engine import Catalog
from storage.catalog.tables import audit
from storage.keys import dated_key
from storage.objects.base import ObjectInfo
from storage.objects.folder import FolderStore
from tests.storage.audit.holding import holds

NODE, KEY, THIEF = "node", bytes(range(32)), bytes(range(32, 64))
PUBLIC = crypto.DEFAULT_SUITE.public_key(KEY)
START_MS, MINUTE_MS = 1_790_000_000_000, 60_000


class Forgetful(FolderStore):
    """A folder that may keep an object and lose the answer."""

    loses_answers = False

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        done = super().put_bytes(key, data)
        if self.loses_answers:
            raise TimeoutError("no answer")
        return done


class Node:
    """A catalog, a store and a keeper's hand, minute by minute."""

    def __init__(self, folder: Path, catalog_url: str) -> None:
        self.catalog = Catalog(catalog_url)
        self.store = Forgetful(folder / "objects")
        self.store.ensure()
        self.now_ms = START_MS
        self.signer = self.another_signer()

    def another_signer(self) -> Signer:
        return Signer(self.catalog, self.store, NODE, KEY)

    def act(self, count: int = 1) -> None:
        for _ in range(count):
            self.catalog.write(lambda c: log.append(c, self.now_ms, "user:li", "look.at", "东门", {}))

    def minute(self) -> str | None:
        self.now_ms += MINUTE_MS
        return self.signer.write(self.now_ms)

    @contextlib.contextmanager
    def store_away(self) -> Iterator[None]:
        away = self.store.root.rename(self.store.root.with_name("away"))
        yield
        away.rename(self.store.root)

    def restart(self) -> None:
        self.signer = self.another_signer()

    def lived(self) -> None:
        """Forty entries, heads of the first twenty and of all."""
        for _ in range(2):
            self.act(20)
            assert self.minute() is not None

    def cut(self, after_seq: int) -> None:
        self.catalog.write(lambda c: c.execute(delete(audit).where(audit.c.seq > after_seq)))

    def set_mark(self, value: Any) -> None:
        self.catalog.write(lambda c: facts.forget(c, MARK) if value is None else facts.set(c, MARK, value))

    def fact(self, key: str) -> Any:
        return self.catalog.read(lambda c: facts.get(c, key))

    def told(self) -> list[dict[str, int]]:
        return [entry.details for entry in self.catalog.read(lambda c: log.entries(c, action=CUT))]

    def heads(self) -> list[tuple[int, int]]:
        return [(name.seq, name.at_ms) for name in signed.names(self.store, NODE)]

    def judged(self) -> signed.Standing:
        return signed.judge(self.catalog.read, self.store, NODE, PUBLIC, self.now_ms)

    def review(self) -> None:
        cut = self.judged().cut
        self.catalog.write(lambda c: signed.review(c, NODE, KEY, cut, "user:wang", "the disk was bad", self.now_ms))

    def in_order(self) -> None:
        """A keeper goes on signing, and nothing was accused."""
        self.act()
        assert self.minute() is not None
        assert self.judged().cut is None and self.told() == [] and self.fact(CUT) is None


@pytest.fixture
def node(tmp_path: Path, catalog_url: str) -> Iterator[Node]:
    made = Node(tmp_path, catalog_url)
    yield made
    made.catalog.close()


# --- cuts ------------------------------------------------------------------------------------------------------------

MARKS: dict[str, Callable[[Node], object]] = {
    "left": lambda node: None,
    "set back": lambda node: node.set_mark({"seq": 20, "at_ms": START_MS + MINUTE_MS}),
    "set ahead": lambda node: node.set_mark({"seq": 99, "at_ms": START_MS + DAY_MS}),
    "deleted": lambda node: node.set_mark(None),
    "bent": lambda node: node.set_mark("none"),
}


@pytest.mark.fault("S18")
@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("restarts", [False, True], ids=["the same keeper", "another keeper"])
def test_over_a_cut_log_nothing_is_signed_and_it_is_told_once(node: Node, mark: str, restarts: bool) -> None:
    node.lived()
    before = node.heads()
    node.cut(20)
    MARKS[mark](node)
    if restarts:
        node.restart()
    told = {"from_seq": 21, "to_seq": 40, "signed_ms": START_MS + 2 * MINUTE_MS}
    assert node.judged().as_json() == {"state": "cut", **told}
    for _ in range(3):
        assert node.minute() is None
        node.act()  # what people do is recorded all the same
    assert node.heads() == before
    assert node.told() == [told]
    assert node.fact(CUT) == {**told, "found_ms": START_MS + 3 * MINUTE_MS}
    assert node.catalog.read(log.head)[0] == 20 + 1 + 3
    assert node.catalog.read(log.verify_catalog) is None


@pytest.mark.fault("S18")
@pytest.mark.parametrize("after_seq", [0, 5, 20, 33, 39])
def test_of_any_cut_it_is_told_from_where_on_nothing_is_proven(node: Node, after_seq: int) -> None:
    node.lived()
    node.cut(after_seq)
    assert node.minute() is None
    found = node.judged().cut
    assert found is not None and (found.from_seq, found.to_seq) == (21 if after_seq >= 20 else 1, 40)


@pytest.mark.fault("S18")
def test_a_log_filled_up_to_its_length_again_is_cut_all_the_same(node: Node) -> None:
    node.lived()
    node.cut(20)
    node.act(20)
    assert node.catalog.read(log.head)[0] == 40
    assert node.minute() is None and node.told() != []


@pytest.mark.fault("S18")
def test_who_takes_fact_and_entry_away_is_told_of_again(node: Node) -> None:
    node.lived()
    node.cut(20)
    assert node.minute() is None
    for _ in range(2):
        node.cut(20)
        node.catalog.write(lambda c: facts.forget(c, CUT))
        assert node.minute() is None
        assert len(node.told()) == 1 and node.fact(CUT) is not None


@pytest.mark.fault("S18")
@pytest.mark.parametrize("restarts", [False, True], ids=["the same keeper", "another keeper"])
def test_a_cut_while_the_store_was_away_for_days_is_found_when_it_is_back(node: Node, restarts: bool) -> None:
    node.lived()
    with node.store_away():
        node.act(5)
        with pytest.raises(TiergateError):
            node.minute()
        node.cut(20)
        node.set_mark(None)
        node.now_ms += 5 * DAY_MS
        with pytest.raises(TiergateError):
            node.minute()
    if restarts:
        node.restart()
    assert node.minute() is None and [one["to_seq"] for one in node.told()] == [40]


@pytest.mark.fault("S18")
def test_a_cut_is_found_though_a_clock_that_ran_ahead_has_signed_too(node: Node) -> None:
    node.act(10)
    node.now_ms += 365 * DAY_MS
    assert node.minute() is not None
    node.now_ms = START_MS
    node.lived()
    node.cut(40)
    assert node.minute() is None
    found = node.judged().cut
    assert found is not None and (found.from_seq, found.to_seq) == (31, 50)


def signature_of(seq: int, at_ms: int, key: bytes) -> log.Checkpoint:
    """A head of an entry that never was."""
    statement = log._statement(seq, bytes(32), at_ms)
    return log.Checkpoint(seq, bytes(32), at_ms, crypto.DEFAULT_SUITE.public_key(key), crypto.sign(key, statement))


def forge(node: Node, details: dict[str, Any], action: str) -> None:
    node.catalog.write(lambda c: log.append(c, node.now_ms, "os:root", action, NODE, details))


@pytest.mark.fault("S18")
@pytest.mark.parametrize("action", [signed.RESTORED, signed.REVIEWED])
@pytest.mark.parametrize("forgery", ["in words", "by another key", "of another log", "widened"])
def test_an_entry_without_the_nodes_word_excuses_nothing(node: Node, action: str, forgery: str) -> None:
    node.lived()
    real = node.catalog.read(lambda c: log.entries(c, 19, 1))[0].digest
    node.cut(20)
    excuse = Excuse(20, real, 40, node.now_ms)
    details = {
        "in words": {"last_signed": {"seq": 40}, "excuses": {"after_seq": 20}},
        "by another key": {"excuses": excuse.signed(THIEF)},
        "of another log": {"excuses": Excuse(20, bytes(32), 40, node.now_ms).signed(KEY)},
        "widened": {"excuses": Excuse(20, real, 30, node.now_ms).signed(KEY) | {"to_seq": 40}},
    }[forgery]
    forge(node, details, action)
    assert node.minute() is None and len(node.told()) == 1


@pytest.mark.fault("S18")
def test_a_review_is_signed_and_a_cut_behind_it_is_another_one(node: Node) -> None:
    node.lived()
    node.cut(20)
    assert node.minute() is None
    node.review()
    assert node.fact(CUT) is None
    assert node.judged().cut is None and node.judged().newest is not None
    assert node.minute() is not None  # the same keeper
    node.restart()
    node.act()
    assert node.minute() is not None  # and another
    (entry,) = node.catalog.read(lambda c: log.entries(c, action=signed.REVIEWED))
    node.cut(entry.seq - 1)  # the review and the words with it
    assert node.minute() is None
    found = node.judged().cut
    assert found is not None and found.from_seq == 21
    assert node.fact(CUT)["to_seq"] == 40  # of what was signed lately and of what was reviewed before


def test_without_a_cut_there_is_nothing_to_review(node: Node) -> None:
    node.lived()
    with pytest.raises(TiergateError) as caught:
        node.review()
    assert caught.value.reason.code == "ops.audit_not_cut"


def test_what_was_put_back_is_an_alarm_until_it_is_reviewed(node: Node) -> None:
    node.lived()
    rows = node.catalog.read(lambda c: [dict(row._mapping) for row in c.execute(audit.select())])
    node.cut(20)
    assert node.minute() is None
    node.cut(20)
    node.catalog.write(lambda c: c.execute(audit.insert(), rows[20:]))
    assert node.minute() is None or node.judged().cut is None
    node.act()
    assert node.minute() is not None
    assert node.fact(CUT) is not None
    node.review()
    assert node.fact(CUT) is None


# --- honest logs -----------------------------------------------------------------------------------------------------


def test_a_fresh_node_signs_at_once_and_each_hour_of_silence(node: Node) -> None:
    assert node.minute() is not None  # nothing has happened yet: that is signed too
    node.in_order()
    assert node.minute() is None
    node.now_ms += HOUR_MS
    assert node.minute() is not None
    node.in_order()


def test_a_crash_between_head_and_mark(node: Node) -> None:
    node.lived()
    mark = node.fact(MARK)
    node.act()
    assert node.minute() is not None
    node.set_mark(mark)
    node.restart()
    node.in_order()


def test_a_lost_answer(node: Node) -> None:
    node.lived()
    node.act()
    node.store.loses_answers = True
    with pytest.raises(TimeoutError):
        node.minute()
    node.store.loses_answers = False
    node.in_order()
    node.store.loses_answers = True
    node.act()
    with pytest.raises(TimeoutError):
        node.minute()
    node.store.loses_answers = False
    node.cut(node.catalog.read(log.head)[0] - 1)  # what the store has is more than the keeper was told
    assert node.minute() is None and node.told() != []


@pytest.mark.parametrize("days", [1, 5, 800])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_store_that_was_away_for_days(node: Node, days: int, restarts: bool) -> None:
    node.lived()
    with node.store_away():
        for _ in range(3):
            node.act(3)
            with pytest.raises(TiergateError):
                node.minute()
            node.now_ms += days * DAY_MS // 3
    if restarts:
        node.restart()
    node.in_order()


def test_two_keepers_that_take_turns(node: Node) -> None:
    both = [node.signer, node.another_signer()]
    for turn in (0, 1, 1, 0, 1, 0, 0, 1):
        node.signer = both[turn]
        node.in_order()


@pytest.mark.parametrize("step_ms", [365 * DAY_MS, 3 * DAY_MS, -HOUR_MS, -5 * DAY_MS, -400 * DAY_MS])
def test_a_clock_that_steps_and_comes_back(node: Node, step_ms: int) -> None:
    node.lived()
    for step in (step_ms, -step_ms):
        node.now_ms += step
        node.in_order()
        node.restart()
        node.in_order()


def test_another_store_that_knows_nothing_and_one_with_rubbish(node: Node, tmp_path: Path) -> None:
    node.lived()
    node.store = Forgetful(tmp_path / "new")
    node.store.ensure()
    node.restart()
    prefix = signed.checkpoint_prefix(NODE)
    at_ms = node.now_ms + MINUTE_MS - 1
    forged = signature_of(99, at_ms, THIEF).as_json()
    other = signature_of(7, at_ms, KEY).as_json()  # signed by the node, of another entry and for another name
    for key, data in (
        (f"{prefix}2026/09/22/x.json", b"no json"),
        (dated_key(prefix, at_ms, 98), b"no json"),
        (dated_key(prefix, at_ms, 99), log.canonical_json(forged)),
        (dated_key(prefix, at_ms, 97), log.canonical_json(other)),
    ):
        node.store.put_bytes(key, data)
    node.in_order()


@pytest.mark.fault("S18")
def test_no_honest_life_is_accused_and_after_it_every_cut_is_found(
    node: Node, counted: Callable[[object], None]
) -> None:
    """Minutes, restarts, turns, outages, lost answers, steps of the clock, reviews, in any order."""
    dice = random.Random(18)
    cuts = minutes = 0
    for _ in range(25):
        for _ in range(dice.randrange(2, 14)):
            what = dice.choice(("act", "minute", "minute", "restart", "lost", "away", "mark", "clock", "quiet"))
            node.now_ms += MINUTE_MS
            if what == "act":
                node.act(dice.randrange(1, 4))
            elif what == "restart":
                node.restart()
            elif what == "mark":
                node.set_mark(None)
            elif what == "clock":
                node.now_ms += dice.choice((-1, 1)) * dice.choice((HOUR_MS, 3 * DAY_MS, 40 * DAY_MS))
            elif what == "quiet":
                node.now_ms += dice.choice((HOUR_MS, 3 * DAY_MS))
            elif what == "away":
                with node.store_away():
                    node.act()
                    with pytest.raises(TiergateError):
                        node.minute()
            else:
                node.store.loses_answers = what == "lost"
                if what == "lost":
                    node.act()
                    with pytest.raises(TimeoutError):
                        node.minute()
                    node.store.loses_answers = False
                else:
                    node.minute()
            minutes += 1
            assert node.judged().cut is None, what
        node.act()
        assert node.minute() is not None
        seq = node.catalog.read(log.head)[0]
        node.cut(dice.randrange(max(0, seq - 6), seq))
        MARKS[dice.choice(list(MARKS))](node)
        if dice.random() < 0.5:
            node.restart()
        assert node.minute() is None
        assert node.judged().cut is not None
        cuts += 1
        node.review()
        node.act(8)
        assert node.minute() is not None
        assert node.judged().cut is None
    counted(f"honest turns {minutes}, accused 0; cuts {cuts}, found {cuts}")


def test_a_changed_entry_before_the_head_is_the_chains_matter(node: Node) -> None:
    node.lived()
    node.catalog.write(lambda c: c.execute(update(audit).where(audit.c.seq == 3).values(actor="user:x")))
    assert node.catalog.read(log.verify_catalog) == 3
    assert node.judged().cut is None


# --- heads for others ------------------------------------------------------------------------------------------------


def for_others(node: Node) -> signed.HeadSigner:
    return signed.HeadSigner(node.catalog, node.store, NODE, PUBLIC, partial(crypto.sign, KEY))


@pytest.mark.fault("S18")
@pytest.mark.parametrize("filled_up", [False, True])
def test_nobody_is_given_a_head_over_a_log_that_lost_what_was_signed(node: Node, filled_up: bool) -> None:
    node.lived()
    given = for_others(node).write(node.now_ms)
    assert node.catalog.read(partial(holds, made=given, trusted_key=PUBLIC)) and given.seq == 40
    node.cut(20)
    if filled_up:
        node.act(25)
    with pytest.raises(TiergateError) as refused:
        for_others(node).write(node.now_ms)
    assert refused.value.reason.code == "ops.audit_cut"
    assert {k: refused.value.reason.params[k] for k in ("from", "to")} == {"from": 21, "to": 40}
    node.review()
    assert for_others(node).write(node.now_ms).seq == node.catalog.read(log.head)[0]


@pytest.mark.fault("S18")
def test_nobody_is_given_a_head_while_the_store_cannot_say_what_was_signed(node: Node) -> None:
    node.lived()
    with node.store_away(), pytest.raises(TiergateError):
        for_others(node).write(node.now_ms)
    assert for_others(node).write(node.now_ms).seq == 40


def test_a_node_that_has_signed_nothing_yet_gives_its_head(node: Node) -> None:
    node.act(3)
    assert for_others(node).write(node.now_ms).seq == 3
    assert node.heads() == []  # the keeper's alone are kept
