"""Hands in an exported log, and in the table before the export: whatever touches an entry before the last checkpoint
that left the machine is found by the file, the kept checkpoints and the public key alone (FAULTS S18).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from config import crypto
from storage.audit import log
from storage.audit.log import Checkpoint, Entry, ExportVerdict
from storage.catalog.engine import Catalog
from storage.catalog.tables import audit
from tests.storage.audit.holding import holds

KEY, THIEF = bytes(range(32)), bytes(range(32, 64))
PUBLIC = crypto.DEFAULT_SUITE.public_key(KEY)
ENTRIES, EACH = 14, 4  #: a checkpoint leaves after each four entries; the last two entries are behind the last one
ACTIONS = ("hold.add", "hold.release", "grant.add", "token.issue", "retention.set", "user.change")


def chained(values: list[tuple[int, str, str, str, Any]], previous: bytes = log.GENESIS, seq: int = 0) -> list[Entry]:
    made: list[Entry] = []
    for at_ms, actor, action, subject, details in values:
        seq += 1
        digest = log.entry_digest(seq, at_ms, actor, action, subject, details, previous)
        made.append(Entry(seq, at_ms, actor, action, subject, details, previous, digest))
        previous = digest
    return made


def signed(entry: Entry, key: bytes) -> Checkpoint:
    statement = log._statement(entry.seq, entry.digest, entry.at_ms)
    return Checkpoint(
        entry.seq, entry.digest, entry.at_ms, crypto.DEFAULT_SUITE.public_key(key), crypto.sign(key, statement)
    )


def world(dice: random.Random) -> tuple[list[Entry], list[Checkpoint]]:
    values = [
        (
            1_790_000_000_000 + n * 1000, f"user:{dice.choice('abcd')}", dice.choice(ACTIONS),
            f"第{dice.randrange(9)}号",
            {"n": dice.randrange(9), "原因": dice.choice("甲乙"), "list": [dice.randrange(3)] * dice.randrange(3)},
        )
        for n in range(ENTRIES)
    ]  # fmt: skip
    entries = chained(values)
    return entries, [signed(entries[n - 1], KEY) for n in range(EACH, ENTRIES + 1, EACH)]


def values_of(entries: list[Entry]) -> list[tuple[int, str, str, str, Any]]:
    return [(e.at_ms, e.actor, e.action, e.subject, e.details) for e in entries]


# --- hands: each takes whole entries and checkpoints of the file and gives what the file shall be ---------------------

Hand = Callable[[random.Random, list[Entry], list[Checkpoint], int], tuple[list[Entry], list[Checkpoint]]]


def other(dice: random.Random, entry: Entry) -> Entry:
    """`entry`, something in it changed."""
    field = dice.choice(("at_ms", "actor", "action", "subject", "details"))
    value = getattr(entry, field)
    if field == "at_ms":
        return replace(entry, at_ms=value + dice.choice((-1, 1, 3_600_000)))
    if field == "details":
        return replace(entry, details={**value, dice.choice(("n", "x")): dice.randrange(100, 200)})
    return replace(entry, **{field: value + dice.choice(("x", " ", "\u200b"))})


def change(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    return [*entries[:at], other(dice, entries[at]), *entries[at + 1 :]], made


def change_and_digest(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    e = other(dice, entries[at])
    digest = log.entry_digest(e.seq, e.at_ms, e.actor, e.action, e.subject, e.details, e.previous)
    return [*entries[:at], replace(e, digest=digest), *entries[at + 1 :]], made


def drop(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    return [*entries[:at], *entries[at + 1 :]], made


def insert_one(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    return [*entries[:at], other(dice, entries[at]), *entries[at:]], made


def repeat(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    return [*entries[: at + 1], *entries[at:]], made


def swap(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    to = (at + dice.randrange(1, len(entries))) % len(entries)
    mixed = list(entries)
    mixed[at], mixed[to] = mixed[to], mixed[at]
    return mixed, made


def cut_end(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    """With the checkpoints that would show it."""
    return entries[:at], [c for c in made if c.seq <= at]


def cut_beginning(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    return entries[at + 1 :], [c for c in made if c.seq > at + 1]


def chain_anew(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    """Whole to look at: changed, chained from there on, and the checkpoints behind it left out."""
    before = entries[at - 1].digest if at else log.GENESIS
    fresh = chained(values_of([other(dice, entries[at]), *entries[at + 1 :]]), before, at)
    return [*entries[:at], *fresh], [c for c in made if c.seq <= at]


def chain_and_sign_anew(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    """By a key that is not the node's."""
    fresh, kept = chain_anew(dice, entries, made, at)
    return fresh, [*kept, *(signed(fresh[c.seq - 1], THIEF) for c in made if c.seq > at)]


def chain_without(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    before = entries[at - 1].digest if at else log.GENESIS
    return [*entries[:at], *chained(values_of(entries[at + 1 :]), before, at)], [c for c in made if c.seq <= at]


def forge_whole(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    """Another log altogether."""
    return chained(values_of(list(reversed(entries)))), []


def move_checkpoint(dice: random.Random, entries: list[Entry], made: list[Checkpoint], at: int) -> Any:
    fresh, _ = chain_anew(dice, entries, made, at)
    one = dice.choice(made)
    return fresh, [replace(one, digest=fresh[one.seq - 1].digest)]


HANDS: tuple[Hand, ...] = (
    change, change_and_digest, drop, insert_one, repeat, swap, cut_end, cut_beginning, chain_anew, chain_and_sign_anew,
    chain_without, forge_whole, move_checkpoint,
)  # fmt: skip


# --- hands in the text of the file -----------------------------------------------------------------------------------

Pen = Callable[[random.Random, str], str]


def flip(dice: random.Random, line: str) -> str:
    at = dice.randrange(1, len(line) - 1)
    letter = dice.choice([c for c in "0123456789abcdefxyz" if c != line[at].lower()])
    return line[:at] + letter + line[at + 1 :]


def fraction(dice: random.Random, line: str) -> str:
    """A number that a reader sees otherwise and a careless verifier cuts."""
    return line.replace('"at_ms":179', '"at_ms":1.79').replace('000,"details"', '999e12,"details"')


def text_for_number(dice: random.Random, line: str) -> str:
    value = json.loads(line)
    return json.dumps(value | {"at_ms": str(value["at_ms"])}) + "\n"


def half(dice: random.Random, line: str) -> str:
    value = json.loads(line)
    return json.dumps(value | {"at_ms": value["at_ms"] + 0.5}) + "\n"


def note(dice: random.Random, line: str) -> str:
    return json.dumps(json.loads(line) | {"note": "approved"}) + "\n"


def twice(dice: random.Random, line: str) -> str:
    return '{"actor":"user:somebody",' + line[1:]


def cut_line(dice: random.Random, line: str) -> str:
    return line[: dice.randrange(1, len(line) - 1)] + "\n"


PENS: tuple[Pen, ...] = (flip, fraction, text_for_number, half, note, twice, cut_line)


# --- the runs --------------------------------------------------------------------------------------------------------


def judged(entries: list[Entry], inside: list[Checkpoint], kept: list[Checkpoint]) -> ExportVerdict:
    return log.verify_export(log.export(entries, inside), PUBLIC, kept)


@pytest.mark.fault("S18")
@pytest.mark.parametrize(
    "times", [pytest.param(3_000, id="few"), pytest.param(10_000, marks=pytest.mark.torture, id="many")]
)
def test_no_hand_in_a_file_goes_unseen(times: int, counted: Callable[[object], None]) -> None:
    dice, tried, seen = random.Random(18), Counter[str](), Counter[str]()
    missed: list[str] = []
    for number in range(times):
        entries, kept = world(dice)
        at = dice.randrange(kept[-1].seq)
        turn = number % (len(HANDS) + len(PENS))
        if turn < len(HANDS):
            name = HANDS[turn].__name__
            verdict = judged(*HANDS[turn](dice, entries, kept, at), kept)
        else:
            pen = PENS[turn - len(HANDS)]
            lines, name = list(log.export(entries, kept)), pen.__name__
            lines[at + 1] = pen(dice, lines[at + 1])
            verdict = log.verify_export(lines, PUBLIC, kept)
        tried[name] += 1
        seen[name] += not verdict.whole
        if verdict.whole:
            missed.append(f"{name} at {at}")
    counted(f"tamperings {tried.total()} of {len(tried)} kinds, seen {seen.total()}")
    assert missed == []
    assert set(tried) == {how.__name__ for how in HANDS + PENS}


@pytest.mark.fault("S18")
def test_an_untouched_log_is_never_accused_and_may_have_gone_on() -> None:
    dice = random.Random(19)
    for _ in range(300):
        entries, kept = world(dice)
        verdict = judged(entries, kept, kept)
        assert verdict.whole and verdict.entries == ENTRIES and verdict.checkpoints == 2 * len(kept), verdict
        assert judged(entries, [], kept).whole  # the checkpoints inside prove nothing that those outside do not
        assert judged(entries, kept, kept[:1]).whole


@pytest.mark.parametrize(
    "hand", [cut_end, cut_beginning, chain_anew, chain_without, forge_whole], ids=lambda h: h.__name__
)
def test_without_what_left_the_machine_such_a_hand_is_not_seen(hand: Hand) -> None:
    """Why checkpoints must leave: the file alone cannot know. What is found above is found by them."""
    dice = random.Random(20)
    unseen = 0
    for _ in range(50):
        entries, kept = world(dice)
        bent, inside = hand(dice, entries, kept, dice.randrange(kept[-1].seq))
        unseen += log.verify_export(log.export(bent, inside), PUBLIC).whole
    assert unseen >= 40


@pytest.mark.fault("S18")
def test_a_thief_cannot_bring_checkpoints_of_their_own() -> None:
    entries, _ = world(random.Random(21))
    theirs = signed(entries[3], THIEF)
    assert judged(entries, [], [theirs]).bad == "signature: anchor 4"
    assert judged(entries, [theirs], []).bad == f"signature: line {ENTRIES + 2}"


def test_kept_checkpoints_are_read_from_their_own_file_or_an_earlier_export() -> None:
    entries, kept = world(random.Random(22))
    alone = [json.dumps(made.as_json()) for made in kept]
    assert log.read_checkpoints(["", *alone]) == kept
    assert log.read_checkpoints(log.export(entries, kept)) == kept
    for bad in ([], ["[]"], ['{"kind":"note"}'], [alone[0][:-1]], list(log.export(entries))):
        with pytest.raises(ValueError):
            log.read_checkpoints(bad)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    yield catalog
    catalog.close()


@pytest.mark.fault("S18")
def test_no_hand_in_the_table_goes_unseen_in_its_export(catalog: Catalog, counted: Callable[[object], None]) -> None:
    """With the database's own tools, the chain made to fit again."""
    dice, seen, kept = random.Random(23), 0, list[Checkpoint]()
    for n in range(ENTRIES):
        catalog.write(lambda c, n=n: log.append(c, 1_790_000_000_000 + n, "os:test", "hold.add", f"第{n}号", {"n": n}))  # type: ignore[misc]  # bound now
        if n == ENTRIES - 3:
            kept = [catalog.read(lambda c: log.checkpoint(c, KEY, 1_790_000_100_000))]
    whole = catalog.read(lambda c: log.entries(c))
    assert judged(whole, kept, kept).whole
    for number in range(60):
        at = dice.randrange(kept[0].seq)
        bent, _ = HANDS[number % len(HANDS)](dice, whole, kept, at)

        def put(connection: Any, bent: list[Entry] = bent) -> None:
            connection.execute(delete(audit))
            for place, e in enumerate(bent, 1):  # the table holds each seq once: a repeated one gets its place
                row = dict(e.as_json(), previous=e.previous, digest=e.digest, seq=place)
                connection.execute(insert(audit).values(row))

        catalog.write(put)
        rows = catalog.read(lambda c: log.entries(c))
        broken = catalog.read(log.verify_catalog) is not None or not catalog.read(lambda c: holds(c, kept[0], PUBLIC))
        assert broken == (not judged(rows, [], kept).whole), HANDS[number % len(HANDS)].__name__
        seen += broken
    catalog.write(lambda c: c.execute(update(audit).values(actor="os:other")))
    assert not judged(catalog.read(lambda c: log.entries(c)), [], kept).whole
    counted(f"tables bent 60, seen {seen}")
    assert seen == 60
