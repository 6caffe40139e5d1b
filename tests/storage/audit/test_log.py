"""The audit chain: whatever is changed, removed, inserted or reordered is found, at its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from config import crypto
from storage.audit import log
from storage.audit.log import Entry
from storage.catalog.engine import Catalog

PRIVATE = bytes(range(32))
PUBLIC = crypto.DEFAULT_SUITE.public_key(PRIVATE)

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
details = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
acts = st.lists(st.tuples(st.integers(0, 2**45), words, words, words, details), min_size=2, max_size=12)


def chain(acts: list[tuple[int, str, str, str, Any]]) -> list[Entry]:
    made: list[Entry] = []
    previous = log.GENESIS
    for seq, (at_ms, actor, action, subject, value) in enumerate(acts, 1):
        digest = log.entry_digest(seq, at_ms, actor, action, subject, value, previous)
        made.append(Entry(seq, at_ms, actor, action, subject, value, previous, digest))
        previous = digest
    return made


def mutations(entries: list[Entry], data: st.DataObject) -> list[Entry]:
    """One change that is not a cut of the end."""
    changed = list(entries)
    at = data.draw(st.integers(0, len(entries) - 1), "where")
    entry = entries[at]
    kind = data.draw(st.sampled_from(["field", "remove", "swap", "repeat", "shift", "forge"]), "kind")
    if kind == "field":
        name = data.draw(
            st.sampled_from(["at_ms", "actor", "action", "subject", "details", "previous", "digest", "seq"])
        )
        value = getattr(entry, name)
        other: Any
        if isinstance(value, bytes):
            other = bytes([value[0] ^ 1]) + value[1:]
        elif name in ("at_ms", "seq"):
            other = value + data.draw(st.integers(1, 1000))
        elif name == "details":
            other = data.draw(details.filter(lambda d: log.canonical_json(d) != log.canonical_json(value)))
        else:
            other = data.draw(words.filter(lambda w: w != value))
        changed[at] = replace(entry, **{name: other})
    elif kind == "remove":
        del changed[min(at, len(entries) - 2)]
    elif kind == "swap":
        to = (at + 1) % len(entries)
        changed[at], changed[to] = changed[to], changed[at]
    elif kind == "repeat":
        changed.insert(at, entry)
    elif kind == "shift":  # the border between two fields moves
        joined = entry.actor + entry.action
        cut = data.draw(st.integers(0, len(joined)).filter(lambda n: n != len(entry.actor)) if joined else st.just(0))
        if not joined:
            return mutations(entries, data)
        changed[at] = replace(entry, actor=joined[:cut], action=joined[cut:])
    else:  # with a digest of its own that fits: the next entry shows it
        at = min(at, len(entries) - 2)
        entry = replace(entries[at], actor=entries[at].actor + "x")
        fields = (entry.seq, entry.at_ms, entry.actor, entry.action, entry.subject, entry.details, entry.previous)
        changed[at] = replace(entry, digest=log.entry_digest(*fields))
    return changed


@given(acts)
def test_an_untouched_chain_is_whole(acts: list[tuple[int, str, str, str, Any]]) -> None:
    assert log.verify(chain(acts)) is None
    assert log.verify_export(log.export(chain(acts))).whole


@pytest.mark.fault("S18")
@settings(max_examples=200)
@given(acts, st.data())
def test_any_mutation_is_found(acts: list[tuple[int, str, str, str, Any]], data: st.DataObject) -> None:
    entries = chain(acts)
    changed = mutations(entries, data)
    first = next(i for i, (a, b) in enumerate(zip_longest(entries, changed)) if a != b)
    bad = log.verify(changed)
    assert bad is not None
    assert first + 1 <= bad <= first + 2
    exported = log.verify_export(log.export(changed))
    # an export may be a part of a log, and says from where
    assert not exported.whole or exported.first_seq != 1


@pytest.mark.fault("S18")
@given(acts, st.data())
def test_a_cut_end_is_shown_by_a_checkpoint(acts: list[tuple[int, str, str, str, Any]], data: st.DataObject) -> None:
    entries = chain(acts)
    last = entries[-1]
    statement = log._statement(last.seq, last.digest, 5)
    made = log.Checkpoint(last.seq, last.digest, 5, PUBLIC, crypto.sign(PRIVATE, statement))
    whole = log.verify_export(log.export(entries, [made]), PUBLIC)
    assert (whole.bad, whole.checkpoints) == (None, 1)
    kept = data.draw(st.integers(1, len(entries) - 1))
    assert log.verify_export(log.export(entries[:kept], [made]), PUBLIC).bad == f"checkpoint: seq {last.seq}"


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    yield catalog
    catalog.close()


def fill(catalog: Catalog, count: int = 5) -> None:
    for number in range(count):
        value = {"n": number, "t": (1, 2)}
        append = partial(log.append, actor="os:test", action="hold.add", subject=f"第{number}号", details=value)
        catalog.write(partial(append, now_ms=1000 + number))


def test_what_was_appended_verifies_and_reads_back(catalog: Catalog) -> None:
    fill(catalog)
    assert catalog.read(log.verify_catalog) is None
    newest = catalog.read(lambda c: log.tail(c, 2))
    assert [e.seq for e in newest] == [5, 4]
    assert newest[0].details == {"n": 4, "t": [1, 2]}
    assert [e.seq for e in catalog.read(lambda c: log.entries(c, 3))] == [4, 5]
    assert catalog.read(lambda c: log.tail(c, action="hold."))[0].seq == 5
    assert catalog.read(lambda c: log.tail(c, action="hold.release")) == []


def test_a_reader_finds_who_acted_by_login_or_by_actor(catalog: Catalog) -> None:
    for number, actor in enumerate(("user:li", "user:li wall:hall", "user:lin", "keeper", "token:li"), 1):
        catalog.write(partial(log.append, now_ms=number, actor=actor, action="camera.add", subject="gate", details={}))

    def found(actor: str) -> list[int]:
        return [entry.seq for entry in catalog.read(lambda c: log.tail(c, actor=actor))]

    assert found("li") == found("user:li") == [2, 1]
    assert (found("wall:hall"), found("keeper"), found("token:li")) == ([2], [4], [5])


@pytest.mark.fault("S19")
def test_an_act_that_is_rolled_back_leaves_no_record(catalog: Catalog) -> None:
    fill(catalog, 1)

    def act(connection: Any) -> None:
        log.append(connection, 1, "a", "b.c", "d", {})
        raise RuntimeError("the act failed")

    with pytest.raises(RuntimeError):
        catalog.write(act)
    assert catalog.read(log.head)[0] == 1


@pytest.mark.parametrize(
    ("statement", "bad"),
    [
        ("UPDATE audit SET actor = 'os:other' WHERE seq = 3", 3),
        ("UPDATE audit SET details = '{\"n\": 99}' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 4", 4),
        ("UPDATE audit SET at_ms = at_ms + 1 WHERE seq = 5", 5),
    ],
)
def test_a_hand_in_the_database_is_found(catalog: Catalog, statement: str, bad: int) -> None:
    fill(catalog)
    catalog.write(lambda c: c.execute(text(statement)))
    assert catalog.read(log.verify_catalog) == bad


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_text_makes_the_verifier_fall_over(lines: list[str]) -> None:
    log.verify_export(lines)
    log.verify_export(['{"kind":"tiergate-audit","format":"tiergate-audit-1"}', *lines])


def test_part_of_a_log_verifies_by_itself(catalog: Catalog) -> None:
    fill(catalog)
    part = catalog.read(lambda c: log.entries(c, 2))
    verdict = log.verify_export(log.export(part))
    assert (verdict.whole, verdict.first_seq, verdict.last_seq, verdict.entries) == (True, 3, 5, 3)
