"""The crypto seam and times: one value has one text; what was changed does not open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import crypto
from config.errors import TiergateError
from config.units import format_time_ms, parse_duration_ms, parse_time_ms

KEY = bytes(range(32))


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_a_signature_holds_for_its_message_and_no_other(message: bytes, where: int) -> None:
    signed = crypto.sign(KEY, message)
    public = crypto.DEFAULT_SUITE.public_key(KEY)
    assert crypto.verify(public, message, crypto.Signed.from_text(signed.as_text()))
    changed = bytearray(message + b"\0")
    changed[where % len(changed)] ^= 1
    assert not crypto.verify(public, bytes(changed), signed)
    other = crypto.DEFAULT_SUITE.public_key(bytes(32))
    assert not crypto.verify(other, message, signed)


def test_a_signature_of_an_unknown_suite_is_refused() -> None:
    signed = crypto.sign(KEY, b"m")
    public = crypto.DEFAULT_SUITE.public_key(KEY)
    assert not crypto.verify(public, b"m", crypto.Signed("none", signed.key_id, signed.signature))


@pytest.mark.fault("S5")
def test_a_sealed_box_opens_only_with_key_nonce_and_binding() -> None:
    suite, nonce = crypto.DEFAULT_SUITE, bytes(12)
    sealed = suite.seal(KEY, nonce, b"secret", b"camera-1")
    assert suite.open(KEY, nonce, sealed, b"camera-1") == b"secret"
    for key, nonce_, box, binding in (
        (bytes(32), nonce, sealed, b"camera-1"),
        (KEY, b"1" * 12, sealed, b"camera-1"),
        (KEY, nonce, sealed[:-1], b"camera-1"),
        (KEY, nonce, sealed, b"camera-2"),
    ):
        with pytest.raises(TiergateError):
            suite.open(key, nonce_, box, binding)


@given(st.binary(max_size=60))
def test_one_value_has_one_text(data: bytes) -> None:
    assert crypto.unb64(crypto.b64(data)) == data


@pytest.mark.fault("S12")
@pytest.mark.parametrize("text", ["AA==", "AB", "A", "AA\n", "+/+/", "ＡＡ"])
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        crypto.unb64(text)


@given(st.integers(946_684_800_000, 253_370_764_799_999))
def test_times_survive_the_way_out_and_back(moment_ms: int) -> None:
    assert parse_time_ms(format_time_ms(moment_ms)) == moment_ms == parse_time_ms(format_time_ms(moment_ms, local=True))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-24T15:20:00",
        "2026-13-01T00:00:00Z",
        "2026-11-24",
        "1",
        "-5",
        "9" * 16,
        "1790000000",
        "２０２６",
    ],
)
def test_absurd_times_are_refused(text: str) -> None:
    with pytest.raises(TiergateError):
        parse_time_ms(text)


@pytest.mark.parametrize(
    ("text", "value_ms"), [("30s", 30_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000), ("250ms", 250)]
)
def test_durations(text: str, value_ms: int) -> None:
    assert parse_duration_ms(text) == value_ms
