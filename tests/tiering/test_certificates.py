"""The certificate of a relay while it changes: states, statements, and what a linked node takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from config.crypto import DEFAULT_SUITE, key_id, sign
from config.errors import TiergateError
from config.units import HOUR_MS
from tests.tiering.test_wire import NOW, PUBLIC, Signer
from tiering.certificates import Certificates, Said, Statement, taken

A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))


def code(text: str, signature: str, node: str = Signer.node_id, public: bytes = PUBLIC) -> str:
    with pytest.raises(TiergateError) as refused:
        Statement.read(text, signature, node, public)
    return refused.value.reason.code


def test_one_is_announced_then_shown_and_the_one_before_ends() -> None:
    first = Certificates(A, A)
    assert first.statement("n" * 16) is None and first.is_taken(None, 0) is None
    coming = first.begin(B, HOUR_MS, NOW)
    said = coming.statement("n" * 16)
    assert said is not None and (said.shown, said.other, said.until_ms) == (A, B, None)
    assert coming.show(NOW + 5).statement("n" * 16) == Statement("n" * 16, NOW + 5, B, A, NOW + 5 + HOUR_MS)
    assert first.show(NOW) == first, "nothing comes"
    again = coming.show(NOW + 5).begin(C, 0, NOW + 6).statement("n" * 16)
    assert again is not None and (again.shown, again.other, again.until_ms) == (B, C, None), "A is over"
    assert Certificates.from_json(json.loads(json.dumps(coming.as_json()))) == coming


def test_statements_are_later_and_later_whatever_the_clock_does() -> None:
    coming, back = Certificates(A, A).begin(B, 0, NOW), NOW - HOUR_MS
    made = (coming, coming.show(back), coming.show(back).begin(C, 0, back), coming.withdraw(back))
    assert [state.issued_ms for state in made] == [NOW, NOW + 1, NOW + 2, NOW + 1]


def test_who_knows_what_it_must() -> None:
    coming = Certificates(A, A).begin(B, 0, NOW)
    assert [coming.is_taken(told, 0) for told in (None, NOW - 1, NOW, NOW + 1)] == [False, False, True, False]
    assert coming.is_taken(None, NOW + 1) is False, "paired with the one that is still shown"
    shown = coming.show(NOW + 10)
    assert [shown.is_taken(told, 0) for told in (None, NOW, NOW + 10)] == [False, True, True]
    assert [shown.is_taken(None, NOW + at) for at in (10, 11)] == [False, True], "paired with the new one"
    assert coming.withdraw(NOW + 1).is_taken(None, 0) is None


def test_the_file_says_what_shall_be_shown() -> None:
    first = Certificates(A, A)
    assert first.follow(A, NOW) is first
    coming = first.follow(B, NOW)
    assert (coming.coming, coming.file) == (B, B)
    assert coming.follow(C, NOW).coming == C, "another one, before everybody had the last"
    back = coming.follow(A, NOW + 1)
    assert (back.coming, back.file, back.shown) == (None, A, A)
    made_here = replace(first, file=B).begin(C, 0, NOW)
    assert made_here.follow(A, NOW).coming == C, "what the file never held is not withdrawn with it"
    assert made_here.follow(C, NOW).issued_ms == made_here.issued_ms, "announced already"


@pytest.mark.fault("S14", "S26")
def test_a_statement_is_of_the_node_that_signed_it_and_of_nobody_else() -> None:
    signer = Signer()
    statement = Statement(signer.node_id, NOW, A, B, NOW + 5)
    text, signature = statement.signed(signer)
    assert Statement.read(text, signature, signer.node_id, PUBLIC) == statement
    assert code(text.replace(str(NOW), str(NOW + 1)), signature) == "tier.certificate_statement"
    assert code(text, "") == "tier.certificate_statement"
    other = DEFAULT_SUITE.public_key(bytes(32))
    assert code(text, signature, key_id(other), other) == "tier.certificate_statement"
    assert code(text, sign(bytes(32), text.encode()).as_text()) == "tier.certificate_statement"
    plain = signer.sign(text.encode()).as_text()
    assert code(text, plain) == "tier.certificate_statement", "signed as something else"
    of_another = Statement(key_id(other), NOW, A).signed(signer)
    assert code(*of_another) == "tier.certificate_statement", "about another node, by a key that is known"
    broken = replace(statement, shown=b"short").signed(signer)
    assert code(*broken) == "tier.body_malformed"


def test_what_a_node_takes() -> None:
    assert taken(None, B, None, NOW) is None, "paired without a certificate"
    assert taken(A, None, None, NOW) == (A,)
    assert taken(A, B, None, NOW) == (A, B)
    assert [taken(A, B, NOW, at) for at in (NOW - 1, NOW)] == [(A, B), (A,)]


def test_a_half_of_an_exchange_is_bounded() -> None:
    said = Said("t", "s", 5)
    assert Said.from_json(said.as_json()) == said and Said.from_json({}) == Said(None, None, None)
    for bad in ({"statement": "x" * 1001}, {"held_ms": -1}, {"held_ms": True}, {"signature": 5}):
        with pytest.raises(TiergateError):
            Said.from_json(bad)
