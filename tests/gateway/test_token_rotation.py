"""The key that signs tokens is exchanged beside the node: the old one is taken for a while, then no more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from config.crypto import unb64
from config.errors import TiergateError
from config.load import toml
from config.units import DAY_MS, HOUR_MS
from gateway.access import token_keys
from gateway.access.ids import fresh_id
from gateway.access.keys import load_keys
from gateway.access.token_keys import KeyBook, OldKey, TokenKey
from gateway.access.tokens import TYPE, Tokens
from gateway.cli import app
from gateway.ops import rotation
from gateway.ops.rotation import TokenKeyExchanged, rotate_token
from gateway.web.app import build as build_app
from gateway.web.compose import make_services
from storage.audit import log as audit
from storage.catalog import grants, places
from storage.catalog.engine import Catalog
from storage.catalog.grants import TokenRow
from tests.gateway.knife import Knife
from tests.gateway.web.site import ALL_ROLES, REGION, Site, add_camera, site_in


class Process(Site):
    """Another web process of the same node."""

    def __init__(self, site: Site) -> None:
        self.clock, self.settings, self.passwords = site.clock, site.settings, site.passwords
        self.catalog = Catalog(site.settings.catalog_url)
        self.services = make_services(
            self.settings, self.clock, self.catalog, load_keys(self.settings), "web-2", self.passwords
        )
        self.app = build_app(self.services)


class Office:
    """A node with a department and a camera that is shared with it."""

    def __init__(self, site: Site) -> None:
        self.site, self.unit, self.camera, self.bearer = site, fresh_id(site.clock), "", ""
        site.catalog.write(lambda c: places.add_department(c, self.unit, "教育局", REGION, site.now_ms()))
        site.user("admin", ALL_ROLES)

    async def open(self) -> None:
        async with await self.site.sign_in("admin") as admin:
            self.camera = await add_camera(admin, 1, sharing="departments")
            # Kept: signing in again would tell the process that the catalog moved.
            self.bearer = admin.headers["Authorization"].removeprefix("Bearer ")

    async def issue(self, expires: str = "30d", process: Site | None = None) -> str:
        async with (process or self.site).client(self.bearer) as admin:
            body = {"department_id": self.unit, "label": "门口", "cameras": [self.camera], "functions": ["catalog"]}
            answer = await admin.post("/api/v1/tokens", json=body | {"expires": expires})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def rotate(self, overlap_ms: int = HOUR_MS) -> TokenKeyExchanged:
        return rotate_token(self.site.settings, "os:test", overlap_ms)


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    with site_in(tmp_path) as site:
        monkeypatch.setattr(rotation, "make_clock", lambda _: site.clock)
        yield Office(site)


async def ask(process: Site, token: str) -> str:
    """ "" when the token opens, else the reason why not."""
    async with process.client(token) as holder:
        answer = await holder.get("/api/v1/cameras")
    return "" if answer.status_code == 200 and len(answer.json()["items"]) == 1 else str(answer.json()["code"])


async def key_set(process: Site) -> dict[str, bytes]:
    async with process.client() as nobody:
        answer = await nobody.get("/api/v1/tokens/jwks.json")
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    keys = answer.json()["keys"]
    assert all((k["kty"], k["crv"], k["alg"], k["use"]) == ("OKP", "Ed25519", "EdDSA", "sig") for k in keys)
    return {k["kid"]: unb64(k["x"]) for k in keys}


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def session_of(process: Site, token: str) -> httpx.AsyncClient:
    async with process.client() as nobody:
        answer = await nobody.post("/api/v1/session", json={"token": token, "bearer": True})
    assert answer.status_code == 200, answer.text
    return process.client(answer.json()["session"])


@pytest.mark.fault("S26")
async def test_the_old_key_is_taken_until_its_window_ends_and_then_refused_by_every_way_in(office: Office) -> None:
    await office.open()
    first, other = office.site, Process(office.site)
    old = await office.issue()
    assert await ask(first, old) == "" == await ask(other, old)
    page = await session_of(other, old)
    assert list(await key_set(first)) == [kid(old)]
    for process in (first, other):
        await process.services.watch.poll()  # as its task does twice a second

    done = office.rotate()
    assert (done.before, done.cut, done.resumed) == (kid(old), 1, False)
    new = await office.issue(process=other)
    assert kid(new) == done.key != kid(old)
    # No process was started anew, and the first has not even looked at the catalog again.
    assert await ask(first, new) == "" == await ask(other, new)
    for process in (first, other):
        await process.services.watch.poll()
        assert await ask(process, old) == ""
        keys = await key_set(process)
        assert list(keys) == [kid(new), kid(old)]
        for token in (old, new):  # whoever is shown a token can judge its signature by the set
            public = Ed25519PublicKey.from_public_bytes(keys[kid(token)])
            jwt.decode(token, public, algorithms=["EdDSA"], options={"verify_aud": False, "verify_exp": False,
                       "verify_nbf": False, "verify_iat": False})  # fmt: skip
    principal = await first.services.principals.of_credential(old)
    assert principal.expires_ms == done.until_ms

    first.clock.advance(3_599)
    assert await ask(first, old) == "" == await ask(other, old)
    assert (await page.get("/api/v1/cameras")).status_code == 200
    first.clock.advance(1)
    assert await ask(first, old) == "access.token_key_over" == await ask(other, old)
    assert (await page.get("/api/v1/cameras")).status_code == 401
    async with first.client() as nobody:
        answer = await nobody.post("/api/v1/session", json={"token": old, "bearer": True})
    assert (answer.status_code, answer.json()["code"]) == (401, "access.token_key_over")
    # Running pictures are decided again by their principals.
    now_ms = first.now_ms()
    assert first.catalog.read(lambda c: first.services.principals.reload(c, [principal], now_ms)) == {}
    assert await ask(first, new) == "" == await ask(other, new)
    assert list(await key_set(other)) == [kid(new)]
    await page.aclose()
    other.close()


@pytest.mark.fault("S26")
async def test_a_session_that_a_token_opened_ends_with_the_window_of_its_key(office: Office) -> None:
    await office.open()
    token = await office.issue()
    page = await session_of(office.site, token)
    assert await ask(office.site, token) == ""
    await office.site.services.watch.poll()
    office.rotate()
    await office.site.services.watch.poll()
    assert (await page.get("/api/v1/cameras")).status_code == 200
    office.site.clock.advance(3_600)
    answer = await page.get("/api/v1/cameras")
    assert (answer.status_code, answer.json()["code"]) == (401, "access.token_key_over")
    assert await ask(office.site, token) == "access.token_key_over", "also where no token of the new key was seen"
    await page.aclose()


@pytest.mark.fault("S12", "S26")
async def test_a_stolen_key_that_was_exchanged_signs_nothing_new(office: Office) -> None:
    await office.open()
    stolen = Ed25519PrivateKey.from_private_bytes(load_keys(office.site.settings).token)
    old = await office.issue()
    office.site.clock.advance(1)
    office.rotate(30 * DAY_MS)
    new = await office.issue()
    claims = jwt.decode(new, options={"verify_signature": False})
    forged = jwt.encode(claims, stolen, algorithm="EdDSA", headers={"typ": TYPE, "kid": kid(old)})
    assert await ask(office.site, forged) == "access.token_bad"
    named_new = jwt.encode(claims, stolen, algorithm="EdDSA", headers={"typ": TYPE, "kid": kid(new)})
    assert await ask(office.site, named_new) == "access.token_bad"
    assert await ask(office.site, old) == "" == await ask(office.site, new)


@pytest.mark.fault("S26")
async def test_a_shorter_window_cuts_those_of_all_keys_before(office: Office) -> None:
    await office.open()
    first = await office.issue()
    office.site.clock.advance(1)
    office.rotate(30 * DAY_MS)
    second = await office.issue()
    office.site.clock.advance(1)
    assert office.rotate(0).cut == 2
    third = await office.issue()
    assert len({kid(first), kid(second), kid(third)}) == 3
    found = [await ask(office.site, token) for token in (first, second, third)]
    assert found == ["access.token_key_over", "access.token_key_over", ""]
    with pytest.raises(TiergateError, match="366 days"):
        office.rotate(367 * DAY_MS)


@pytest.mark.fault("S26")
async def test_killed_at_every_step_tokens_are_issued_and_taken_and_the_next_run_finishes(office: Office) -> None:
    await office.open()
    running = Process(office.site)
    with Knife(None) as whole:
        office.rotate()
    resumed = 0
    for place in range(1, whole.places + 1):
        before = await office.issue("60d")
        office.site.clock.advance(1)
        with Knife(place):
            office.rotate(30 * DAY_MS)
        started = Process(office.site)
        made = [await office.issue("60d", process) for process in (running, started)]
        for process in (office.site, running, started):
            found = [await ask(process, token) for token in (before, *made)]
            assert found == ["", "", ""], place
        office.site.clock.advance(1)
        done = office.rotate(30 * DAY_MS)
        resumed += done.resumed
        folder = office.site.settings.paths.keys_dir
        assert not (folder / "token.next.key").exists()
        after = await office.issue("60d", running)
        assert kid(after) == done.key == next(iter(await key_set(started)))
        for process in (office.site, running, started):
            found = [await ask(process, token) for token in (before, *made, after)]
            assert found == ["", "", "", ""], place
        started.close()
    assert resumed == 2, "after the transaction, before the key has its name"
    entries = office.site.catalog.read(lambda c: audit.entries(c, action="token.rotate_key"))
    assert len({entry.subject for entry in entries}) == len(entries) > whole.places
    running.close()


def test_a_row_says_which_key_signed_it() -> None:
    a, b, c = OldKey("a", b"", 100, 900), OldKey("b", b"", 200, 800), TokenKey("c", b"")
    book = KeyBook(c, (a, b))
    assert [book.signer(at) for at in (99, 100, 199, 200, 999)] == [a, b, b, c, c]
    assert (KeyBook().signer(5), KeyBook().earliest_ms, book.earliest_ms) == (None, 0, 200)
    row = TokenRow("j", "d", "u", "l", {}, 150, 850, "x")
    assert book.cut(row) == replace(row, expires_ms=800)
    assert [book.cut(r) is r for r in (replace(row, expires_ms=700), replace(row, issued_ms=250))] == [True, True]
    assert list(book.published(800)) == [c, a]


def test_what_a_token_needs_is_not_asked_of_a_clock_that_was_set_back(office: Office) -> None:
    """Tokens issued before an exchange are the old key's although the exchange is dated earlier."""
    row = TokenRow(fresh_id(office.site.clock), office.unit, "教育局", "x", {}, office.site.now_ms() + 60_000,
                   office.site.now_ms() + HOUR_MS, "admin")  # fmt: skip
    office.site.catalog.write(lambda c: grants.add_token(c, row))
    office.rotate(DAY_MS)
    book = office.site.catalog.read(token_keys.read)
    signer = book.signer(row.issued_ms)
    assert isinstance(signer, OldKey) and book.earliest_ms == row.issued_ms + 1


def test_a_signing_key_that_is_nowhere_is_named(office: Office) -> None:
    tokens = Tokens(load_keys(office.site.settings), office.site.clock)
    tokens.learn(KeyBook(TokenKey("0" * 16, bytes(32))))
    row = TokenRow("j", "d", "u", "l", {}, 150, 850, "x")
    with pytest.raises(TiergateError) as refused:
        tokens.sign(row)
    assert refused.value.reason.code == "access.token_key_gone"


async def test_the_command_says_how_many_tokens_the_window_cuts(
    office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await office.open()
    old = await office.issue()
    config = tmp_path / "tiergate.toml"
    tables: dict[str, Any] = {
        "paths": {"data": str(tmp_path)}, "node": {"name": "x", "region": REGION, "tier": "community"},
    }  # fmt: skip
    config.write_text(toml(tables))
    assert app.run(["--config", str(config), "--lang", "en", "token", "rotate-key", "--overlap", "12h"]) == 0
    told = capsys.readouterr()
    assert kid(old) in told.out and "1 tokens would have worked longer" in told.err
    await office.site.services.watch.poll()
    assert await ask(office.site, await office.issue()) == ""
