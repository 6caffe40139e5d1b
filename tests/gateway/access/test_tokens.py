"""Forged, bent and stale tokens: none is accepted (FAULTS S12)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.clock import ManualClock
from config.errors import Kind, TiergateError
from gateway.access.keys import NodeKeys, ensure_keys, load_keys
from gateway.access.tokens import TYPE, Tokens, plain_words
from storage.catalog.grants import TokenRow
from tests.gateway.web.site import settings_in
from tiering.grants import Grant

JTI = "01K0000000000000000000000A"
GRANT = {"effect": "allow", "resources": {"cameras": ["c"]}, "functions": ["live"], "conditions": {}}


@pytest.fixture
def keys(tmp_path: Path) -> NodeKeys:
    return ensure_keys(settings_in(tmp_path))


def row(clock: ManualClock, **more: Any) -> TokenRow:
    now_ms = clock.wall_ns() // 1_000_000
    return replace(TokenRow(JTI, "dep", "教育局", "x", GRANT, now_ms, now_ms + 3_600_000, "admin"), **more)


def b64(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.fault("S12")
def test_a_token_opens_what_its_row_says_and_nothing_after_its_end(keys: NodeKeys) -> None:
    clock = ManualClock()
    tokens = Tokens(keys, clock)
    issued = row(clock)
    claims = tokens.verify(tokens.sign(issued))
    assert tokens.require(claims, issued) is issued
    for changed in (
        None,
        replace(issued, grant=GRANT | {"functions": ["live", "export"]}),
        replace(issued, department_id="other"),
        replace(issued, expires_ms=issued.expires_ms + 86_400_000),
        replace(issued, revoked_ms=issued.issued_ms),
    ):
        with pytest.raises(TiergateError) as refused:
            tokens.require(claims, changed)
        assert refused.value.kind is Kind.UNAUTHENTICATED
    text = tokens.sign(issued)
    clock.advance(3_601)
    with pytest.raises(TiergateError, match="expired"):
        tokens.verify(text)


@pytest.mark.fault("S12")
def test_sixty_forgeries(keys: NodeKeys) -> None:
    clock = ManualClock()
    tokens = Tokens(keys, clock)
    good = tokens.sign(row(clock))
    head, body, signature = good.split(".")
    header = jwt.get_unverified_header(good)
    claims = jwt.decode(good, options={"verify_signature": False})
    own = Ed25519PrivateKey.from_private_bytes(keys.token)
    thief = Ed25519PrivateKey.generate()

    def signed(key: Any, header_: dict[str, Any], claims_: Any) -> str:
        text = f"{b64(header_)}.{b64(claims_)}"
        return f"{text}.{b64(key.sign(text.encode()))}"

    def hs256(secret: bytes) -> str:
        text = f"{b64(header | {'alg': 'HS256'})}.{b64(claims)}"
        return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    assert tokens.verify(signed(own, header, claims)).jti == JTI  # the helper forges well
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(thief.public_key().public_bytes_raw())}
    forged: list[str] = [
        "", ".", "..", "...", "a.b.c", good + ".", good + "=", " " + good[1:], good + "\n", head, f"{head}.{body}",
        f"{head}.{body}.", f".{body}.{signature}", f"{head}..{signature}", good + good, good.replace(".", ",", 1),
        f"{b64({'alg': 'none', 'typ': TYPE})}.{body}.", f"{b64(header | {'alg': 'none'})}.{body}.{signature}",
        hs256(keys.token_public), hs256(own.public_key().public_bytes_raw()), hs256(b""), hs256(b"secret"),
        signed(thief, header, claims), signed(thief, header | {"jwk": jwk}, claims), "x" * 20_000,
        good[:-2] + ("AA" if good[-2:] != "AA" else "BA"),
        f"{head}.{body}.{b64(b'0' * 64)}", f"{head}.{body}.{b64(b'')}", "\u0435" + good[1:],
    ]  # fmt: skip
    for name in ("jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "cty", "enc"):
        forged.append(signed(own, header | {name: jwk if name == "jwk" else ["exp"]}, claims))
    bent_headers: list[dict[str, Any]] = [
        {"typ": "JWT"}, {"typ": None}, {"kid": "0" * 16}, {"kid": None}, {"alg": "EdDSA "}, {"alg": "ed25519"},
    ]  # fmt: skip
    for change in bent_headers:
        forged.append(signed(own, header | change, claims))
    for name in claims:
        forged.append(signed(own, header, {k: v for k, v in claims.items() if k != name}))
    bent_claims: list[dict[str, Any]] = [
        {"iss": "tiergate:other"}, {"aud": "other"}, {"aud": [claims["aud"], "other"]}, {"exp": "9999999999"},
        {"exp": 1e300}, {"exp": True}, {"exp": claims["exp"] + 0.5}, {"nbf": claims["nbf"] + 3600}, {"nbf": None},
        {"jti": 5}, {"jti": [JTI]}, {"grant": "all"}, {"grant": None}, {"admin": True}, {"sub": 1}, {"exp": 0},
        {"exp": -1}, {"iat": "now"},
    ]  # fmt: skip
    for change in bent_claims:
        forged.append(signed(own, header, claims | change))
    forged.append(signed(own, header, [claims]))
    forged.append(signed(own, header, "claims"))
    deep = f"{b64(header)}.{b64(b'[' * 6000)}"
    forged.append(f"{deep}.{b64(own.sign(deep.encode()))}")
    spaced = f"{b64(header)}.{body[:-1]}{'B' if body[-1] != 'B' else 'C'}"
    forged.append(f"{spaced}.{signature}")
    assert len(forged) >= 60
    for text in forged:
        with pytest.raises(TiergateError) as refused:
            tokens.verify(text)
        assert refused.value.kind is Kind.UNAUTHENTICATED, text[:80]


@pytest.mark.fault("S12")
def test_the_tokens_of_another_node_are_strangers(tmp_path: Path, keys: NodeKeys) -> None:
    clock = ManualClock()
    other = ensure_keys(settings_in(tmp_path / "other"))
    with pytest.raises(TiergateError):
        Tokens(other, clock).verify(Tokens(keys, clock).sign(row(clock)))


@pytest.mark.fault("S5")
def test_keys_are_made_once_and_must_be_private(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(TiergateError, match="init"):
        load_keys(settings)
    first = ensure_keys(settings)
    assert ensure_keys(settings).node_id == first.node_id and "b'" not in repr(first)
    path = settings.paths.keys_dir / "token.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(TiergateError, match="0600"):
        load_keys(settings)


def test_plain_words_name_cameras_and_limits() -> None:
    conditions = {"footage_from_ms": 1_790_000_000_000, "max_stream": "sub", "max_streams": 3}
    grant = Grant.from_json("x", "token", GRANT | {"conditions": conditions})
    words = plain_words(grant, [f"口岸{n}" for n in range(7)], 1_790_003_600_000)
    assert "口岸0" in words["zh"] and "另 2 路" in words["zh"] and "2026-09-21" in words["en"] and "sub" in words["en"]
    assert "At most 3 pictures at once." in words["en"] and "同时打开的画面最多 3 路。" in words["zh"]
