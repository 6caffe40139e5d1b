"""Readers of foreign bytes against a million broken inputs each: an answer or the reader's own error, nothing else; and
no input that costs more than in proportion to its size. (FAULTS S11)

``scripts/torture parsers [--points N]`` takes a million of each, the suite some thousands, each time others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable
from functools import partial

import pytest

from tests.torture.parsers import Counted, Mutator, Reader, readers, work

pytestmark = pytest.mark.fault("S11")

QUICK = "TIERGATE_TORTURE_QUICK" in os.environ
MANY = int(os.environ.get("TIERGATE_TORTURE_POINTS", "100000" if QUICK else "1000000"))
FEW = 10_000
#: Twice as long an input may take so much more work. In proportion would be 2; n² would be 4.
MOST_GROWTH = 2.6
READERS = readers()

each = pytest.mark.parametrize("name", sorted(READERS))


@each
@pytest.mark.parametrize("inputs", [FEW, pytest.param(MANY, marks=pytest.mark.torture)], ids=["few", "many"])
def test_a_reader_answers_or_refuses_with_its_own_error(
    name: str, inputs: int, counted: Callable[[object], None]
) -> None:
    reader, seed = READERS[name], random.SystemRandom().randrange(2**32)
    answered = 0
    mutated = Mutator(seed, reader.seeds)
    for number in range(inputs):
        data = next(mutated)
        try:
            reader.read(data)
            answered += 1
        except reader.refuses:
            pass
        except Exception as other:
            pytest.fail(f"{name}, seed {seed}, input {number}: {other!r} of {data[:400]!r}")
    counted(f"{name}: seed {seed}, {inputs} inputs, {answered} answered, {inputs - answered} refused")
    assert answered, "every input was refused: the reader was hardly tried"


@each
def test_real_input_is_answered(name: str) -> None:
    for seed in READERS[name].seeds:
        READERS[name].read(seed)


def _longer(data: bytes, at: int, span: int, copies: int) -> bytes:
    return data[:at] + data[at : at + span] * copies * 20 + data[at + span :]


def _with_long_lists(value: object, copies: int) -> object:
    if isinstance(value, dict):
        return {name: _with_long_lists(one, copies) for name, one in value.items()}
    return value * copies if isinstance(value, list) else value


def _longer_document(document: object, copies: int) -> bytes:
    return json.dumps(_with_long_lists(document, copies)).encode()


def _growth(reader: Reader, longer: Callable[[int], bytes]) -> float:
    """How much more work an input of twice as many copies is, the lesser of two doublings."""
    costs = [work(reader.read, longer(copies)) for copies in (50, 100, 200)]
    return min(costs[1] / costs[0], costs[2] / costs[1])


@each
def test_no_piece_repeated_costs_more_than_in_proportion(name: str, counted: Callable[[object], None]) -> None:
    reader, draw = READERS[name], random.Random(11)
    worst = 0.0
    for _ in range(12):
        data = draw.choice(reader.seeds)
        at, span = draw.randrange(len(data)), draw.choice((1, 2, 4, 8, 24))
        worst = max(worst, _growth(reader, partial(_longer, data, at, span)))
    for data in reader.seeds:
        if data.startswith(b"{"):  # pieces of a document make no document
            worst = max(worst, _growth(reader, partial(_longer_document, json.loads(data))))
    counted(f"{name}: twice as long costs at most {worst:.2f} times the work")
    assert worst < MOST_GROWTH


@each
def test_a_mebibyte_of_one_piece_is_read(name: str) -> None:
    """What libraries in C do in a reader takes no lines and copies nothing that is seen: an expression of `re` that
    goes back over what it has read would take hours here."""
    reader = READERS[name]
    for piece in (b"a", b" ", b"0", b"\0", b"\xff", b"[", b"a://", b"-", b"\0\0\1", b"\n", b"=,:;@/"):
        for before in (b"", reader.seeds[0]):
            with contextlib.suppress(reader.refuses):
                reader.read(before + piece * ((1 << 20) // len(piece)))


def test_a_reader_that_is_quadratic_or_that_fails_otherwise_is_caught() -> None:
    def copies_its_rest(data: bytes) -> None:
        while data:
            data = data[1:]

    assert _growth(Reader(copies_its_rest, (b"x",)), lambda copies: b"x" * copies) > 3
    assert work(lambda data: data[2:5], b"abcdefg") >= 3 and isinstance(Counted(b"x")[:1], Counted)
    assert len({next(mutated) for mutated in [Mutator(1, (b"abcdefgh",))] for _ in range(100)}) > 50
