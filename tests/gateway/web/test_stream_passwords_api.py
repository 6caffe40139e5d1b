"""Stream passwords as administrators handle them: shown once, never wider than their owner, revocable."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access import resources
from gateway.access.principals import within
from storage.catalog import grants, people, stream_passwords
from storage.catalog.tables import audit
from tests.gateway.web.matrix import Maker, make_cameras
from tests.gateway.web.site import Site, site_in
from tiering.access import Facts, Function, decide


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path, rtsp={"listen": "10.1.2.3:8554"}) as made:
        made.user("admin", ("security_admin",))
        yield made


@pytest.fixture
def make(site: Site) -> Maker:
    return Maker(site, make_cameras(site))


@pytest.fixture
async def admin(site: Site, make: Maker) -> AsyncIterator[httpx.AsyncClient]:
    async with await site.sign_in("admin") as client:
        yield client


def body(owner: str, camera: str, **more: Any) -> dict[str, Any]:
    return {"owner_kind": "user", "owner": owner, "label": "recorder", "cameras": [camera]} | more


async def test_it_is_shown_once_and_the_list_and_the_audit_name_it_without_its_secret(
    site: Site, make: Maker, admin: httpx.AsyncClient
) -> None:
    site.user("watcher", ("operator",))
    made = (await admin.post("/api/v1/stream-passwords", json=body("watcher", make.cameras["mine"]))).json()
    assert (made["username"], made["state"], made["owner_name"]) == (made["id"], "valid", "Watcher")
    assert made["urls"] == [f"rtsp://10.1.2.3:8554/{make.cameras['mine']}/main"]
    assert len(made["password"]) == 26 and "@" not in made["urls"][0]
    [listed] = (await admin.get("/api/v1/stream-passwords")).json()["items"]
    assert listed == {k: v for k, v in made.items() if k not in ("username", "password", "urls")} | {
        "owner_name": "watcher"
    }
    again = (await admin.post(f"/api/v1/stream-passwords/{made['id']}/revoke")).json()
    assert (again["state"], again["revoked_by"]) == ("revoked", "admin")
    assert (await admin.post(f"/api/v1/stream-passwords/{made['id']}/revoke")).json()["revoked_ms"] == again[
        "revoked_ms"
    ]
    assert (await admin.post("/api/v1/stream-passwords/01K0/revoke")).status_code == 404
    rows = site.catalog.read(lambda c: list(c.execute(audit.select())))
    actions = [row.action for row in rows if row.action.startswith("stream_password.")]
    assert actions == ["stream_password.create", "stream_password.revoke"]
    assert made["password"] not in repr(rows)


async def test_the_addresses_are_of_streams_that_the_owner_may_have(
    site: Site, make: Maker, admin: httpx.AsyncClient
) -> None:
    site.user("inspector", ("inspection",))
    made = (await admin.post("/api/v1/stream-passwords", json=body("inspector", make.cameras["mine"]))).json()
    assert made["urls"] == [f"rtsp://10.1.2.3:8554/{make.cameras['mine']}/sub"]


async def test_what_its_owner_may_not_it_is_not_made_for(site: Site, make: Maker, admin: httpx.AsyncClient) -> None:
    site.user("watcher", ("operator",))
    site.user("keeper", ("analysis",))
    new = site.user("new", ("operator",))
    site.catalog.write(lambda c: people.change_user(c, new, {"must_change": True}))
    gone = site.user("gone", ("operator",))
    site.catalog.write(lambda c: people.change_user(c, gone, {"disabled_ms": site.now_ms()}))
    _, at_wall = make.person("hall", "operator", wall=True)
    make.shift(at_wall, site.user("on duty", ("operator",)))
    token, revoked, still = make.row("VMS"), make.row("old"), make.row("stills", "mine", "snapshot")
    site.catalog.write(lambda c: grants.revoke_token(c, revoked.jti, "admin", site.now_ms()))
    mine, known = make.cameras["mine"], make.cameras
    by_token = {"owner_kind": "token", "unmarked_basis": "agreement 7"}
    for asked, status, code in (
        (body("watcher", known["unknown"]), 409, "access.stream_beyond"),
        (body("watcher", known["removed"]), 409, "access.stream_beyond"),
        (body("watcher", known["secret"]), 409, "access.stream_beyond"),
        (body("keeper", mine), 409, "access.stream_beyond"),
        (body("nobody", mine), 404, "access.user_unknown"),
        # Who stands at a wall now is not its account.
        (body("hall", mine, unmarked_basis="agreement 7"), 409, "access.nobody_on_duty"),
        (body("new", mine), 409, "access.must_change"),
        (body("gone", mine), 409, "access.user_disabled"),
        (body(token.jti, known["other"], **by_token), 409, "access.stream_beyond"),
        (body(still.jti, mine, **by_token), 409, "access.stream_beyond"),
        (body(revoked.jti, mine, **by_token), 409, "access.token_revoked"),
        (body("01K0", mine, **by_token), 409, "access.token_bad"),
        (body(token.jti, mine, owner_kind="token"), 422, "access.stream_unmarked_basis"),
        (body(token.jti, mine, owner_kind="token", unmarked_basis="  "), 422, "access.stream_unmarked_basis"),
        (body("watcher", mine, expires="30s"), 422, "access.stream_password_expiry"),
        (body("watcher", mine, expires="400d"), 422, "access.stream_password_expiry"),
        (body("watcher", mine, networks=["10.1.2.3/8"]), 422, "access.grant_malformed"),
        (body("watcher", mine, cameras=[]), 422, "web.body_malformed.too_short"),
    ):
        answer = await admin.post("/api/v1/stream-passwords", json=asked)
        assert (answer.status_code, answer.json()["code"]) == (status, code), asked
    assert (await admin.get("/api/v1/stream-passwords")).json()["items"] == []
    good = await admin.post("/api/v1/stream-passwords", json=body(token.jti, mine, **by_token))
    assert good.status_code == 201 and good.json()["owner_name"] == "VMS (教育局)"


async def test_its_reach_is_its_owners_within_it_at_every_moment(
    site: Site, make: Maker, admin: httpx.AsyncClient
) -> None:
    """Each function, camera, stream and network: never more than the owner, never more than the password says."""
    row = make.row("VMS", "mine", "live", "playback", networks=["10.1.0.0/16"])
    made = (
        await admin.post(
            "/api/v1/stream-passwords",
            json=body(
                row.jti, make.cameras["mine"], owner_kind="token", unmarked_basis="agreement", max_stream="sub",
                networks=["10.1.2.0/24"], expires="1h",
            ),
        )
    ).json()  # fmt: skip
    principals, now_ms = site.services.principals, site.now_ms()
    holder = site.catalog.read(lambda c: principals.by_stream_password(c, made["id"], now_ms))
    cameras = site.catalog.read(lambda c: resources.load(c, None, now_ms))
    allowed = {
        (function.value, name, stream, client)
        for function in Function
        for name, id_ in make.cameras.items()
        for stream in ("main", "sub")
        for client in ("10.1.2.9", "10.1.3.9", "10.9.9.9")
        if decide(holder, function, cameras.get(id_), now_ms, Facts(stream, client=client, unmarked=True)).allow
    }
    assert allowed == {("live", "mine", "sub", "10.1.2.9")}
    facts = Facts("sub", client="10.1.2.9", unmarked=True)
    late = decide(holder, Function.LIVE, cameras[make.cameras["mine"]], now_ms + 3_600_000, facts)
    assert not late.visible
    stored = site.catalog.read(lambda c: stream_passwords.by_id(c, [made["id"]])[made["id"]])
    owner = site.catalog.read(lambda c: principals.again(c, {"kind": "token", "id": row.jti}, now_ms))
    assert within(owner, stored).expires_ms == made["expires_ms"] < row.expires_ms


def test_the_commands_make_list_and_revoke_one(site: Site, make: Maker, told: Any) -> None:
    site.user("watcher", ("operator",))
    mine, other = make.cameras["mine"], make.cameras["other"]
    out = told(
        "stream-password", "create", "--for", "user:watcher", "--cameras", f"{mine},{other}", "--label", "recorder",
        "--until", "8h", "--network", "10.0.0.0/8", "--max-stream", "sub", "--json",
    )  # fmt: skip
    made = json.loads(out)
    assert made["cameras"] == [mine, other] and made["networks"] == ["10.0.0.0/8"] and made["password"]
    listed = told("stream-password", "list")
    assert made["id"] in listed and made["password"] not in listed
    assert json.loads(told("stream-password", "revoke", made["id"], "--json"))["state"] == "revoked"
