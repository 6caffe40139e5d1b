"""Digest access authentication, on the examples of the standards and against what an attacker would vary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import digest
from gateway.access.digest import Secrets, fits, parse

#: RFC 7616 §3.9.1.
RFC_7616 = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_the_standard_fits(algorithm: str, response: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "REALM", "http-auth@example.org")
    secrets = Secrets.of("Mufasa", "Circle of Life")
    answer = parse(RFC_7616.format(algorithm=algorithm, response=response))
    assert answer is not None and answer.count == 1
    assert fits(answer, "GET", secrets)
    assert not fits(answer, "PUT", secrets)
    assert not fits(answer, "GET", Secrets.of("Mufasa", "Circle of life"))
    for field in ("nonce", "uri", "nc", "cnonce", "response"):
        assert not fits(replace(answer, **{field: getattr(answer, field)[:-1] + "0"}), "GET", secrets), field
    other: digest.Algorithm = "MD5" if algorithm == "SHA-256" else "SHA-256"
    assert not fits(replace(answer, algorithm=other), "GET", secrets)
    assert not fits(replace(answer, qop=None), "GET", secrets)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic dXNlcjpwYXNz",
        "Digest",
        'Digest username="a"',
        'Digest username="a", realm="other", nonce="n", uri="u", response="r"',
        'Digest username="a", realm="tiergate", nonce="n", uri="u", response="r", algorithm=MD5-sess',
        'Digest username="a", realm="tiergate", nonce="n", uri="u", response="r", qop=auth-int, nc=00000001',
        'Digest username="a", realm="tiergate", nonce="n", uri="u", response="r", qop=auth, nc=1',
        'Digest username="a", username="b", realm="tiergate", nonce="n", uri="u", response="r"',
        'Digest username="a, realm="tiergate", nonce="n", uri="u", response="r"',
        'Digest username="a", realm="tiergate", nonce="n", uri="u", response="r", x="' + "y" * 2_000 + '"',
    ],
)
def test_what_is_no_answer_to_our_challenge_is_none(value: str) -> None:
    assert parse(value) is None


def test_an_old_client_without_algorithm_is_taken_for_md5() -> None:
    answer = parse('digest username="a\\"b",realm=tiergate , nonce="n" ,uri="u",response=AB')
    assert answer is not None
    assert (answer.username, answer.algorithm, answer.count, answer.response) == ('a"b', "MD5", None, "ab")


@given(st.text(max_size=300))
def test_no_text_makes_it_raise(value: str) -> None:
    parse(value)
    parse("Digest " + value)
