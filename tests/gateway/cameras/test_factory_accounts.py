"""Accounts as cameras leave the factory."""

from __future__ import annotations

import pytest

from config.redact import Secret
from gateway.cameras.factory_accounts import is_factory


@pytest.mark.fault("S9")
@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("admin", ""), ("operator", ""), ("admin", "admin"), ("Admin", "admin"), ("888888", "888888"),
        ("service", "service"), ("admin", "12345"), ("ADMIN", "12345"), ("root", "pass"), ("default", "tluafed"),
    ],
)  # fmt: skip
def test_what_makers_deliver_is_known(username: str, password: str) -> None:
    assert is_factory(username, Secret(password))


@pytest.mark.parametrize(
    ("username", "password"),
    [("", ""), ("admin", "12345 "), ("root", "Pass"), ("gate", "12345"), ("admin", "tluafed"), ("viewer", "S@crEt!")],
)
def test_what_somebody_chose_is_not(username: str, password: str) -> None:
    """One of a list is a list, not a judgement: a bad password that nobody delivers is its owner's affair."""
    assert not is_factory(username, Secret(password))
