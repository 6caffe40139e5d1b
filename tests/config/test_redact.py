"""Secrets stay hidden however they are handled (I10), and no credential survives redaction."""

from __future__ import annotations

import copy
import json
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.redact import HIDDEN, Secret, redact_text, split_credentials, with_credentials

CANARY = "canary-p@ss%21/密码"


@pytest.mark.fault("S4")
def test_no_way_of_printing_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)
    logging.getLogger("x").warning("%s %r", secret, [secret])
    shown = f"{secret} {secret!r} {secret!s:>20} {[secret]} {{'a': {secret}}}" + caplog.text
    assert "canary" not in shown
    for fails in (lambda: json.dumps(secret), lambda: pickle.dumps(secret), lambda: copy.deepcopy(secret)):
        with pytest.raises(TypeError):
            fails()
    assert secret.reveal() == CANARY


@pytest.mark.fault("S4")
@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:canary@10.0.0.1/s",
        "open rtsp://admin:can@ary:x@10.0.0.1:554/s failed",
        "rtsp://canary@10.0.0.1/",
        "http://h/x?token=canary&a=1",
        "GET /a?a=1&secret=canary HTTP/1.1",
        "Authorization: Bearer canary.canary.canary",
        "authorization: Basic Y2FuYXJ5OmNhbmFyeQ==canary",
        'did you mean "rtsp://u:canary@h/p"?',
    ],
)
def test_foreign_texts_lose_their_credentials(text: str) -> None:
    assert "canary" not in redact_text(text)


@pytest.mark.parametrize(
    ("url", "clean", "user", "password"),
    [
        ("rtsp://a:b@h:554/s?x=1", "rtsp://h:554/s?x=1", "a", "b"),
        ("rtsp://a:p%40ss%21@h/s", "rtsp://h/s", "a", "p@ss!"),
        ("rtsp://a:p@ss@h/s", "rtsp://h/s", "a", "p@ss"),
        ("rtsp://h/s", "rtsp://h/s", None, None),
        ("rtsp://a@h/s", "rtsp://h/s", "a", None),
    ],
)
def test_credentials_come_out_of_a_url(url: str, clean: str, user: str | None, password: str | None) -> None:
    found, name, secret = split_credentials(url)
    assert (found, name, secret and secret.reveal()) == (clean, user, password)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_account_survives_the_way_into_a_url_and_back(user: str, password: str) -> None:
    try:
        (user + password).encode()
    except UnicodeEncodeError:
        return
    url = with_credentials("rtsp://10.0.0.1:554/s", user, Secret(password))
    clean, name, secret = split_credentials(url)
    assert secret is not None
    assert (clean, name, secret.reveal()) == ("rtsp://10.0.0.1:554/s", user, password)


@pytest.mark.fault("S11")
def test_a_long_text_of_a_device_costs_its_length_and_not_its_square() -> None:
    """An expression that goes back over what it has read would take hours here; nothing else is measured."""
    long = "a" * (1 << 20)
    assert redact_text(f"{long}://u:secret@h {long}") == f"{long}://{HIDDEN}@h {long}"
    for piece in ("a", "a://", "a:", "token=", "bearer ", " ", "@", "?token", "a.b+c-"):
        assert redact_text(piece * ((1 << 20) // len(piece)))
