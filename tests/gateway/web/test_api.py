"""The API as its callers meet it: signing in, registering, sharing, refusing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage.catalog import cameras
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, add_camera, site_in


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        yield made


async def test_asking_who_one_is_without_signing_in_is_no_failure(site: Site) -> None:
    async with site.client() as nobody:
        answer = await nobody.get("/api/v1/session")
        assert (answer.status_code, answer.json()) == (200, {"kind": None})
        assert (await nobody.get("/api/v1/cameras")).status_code == 401
        assert (await nobody.get("/api/v1/node")).json()["region"] == "210211001003"


@pytest.mark.fault("S3")
async def test_the_cookie_signs_in_and_signing_out_ends_it(site: Site) -> None:
    async with site.client() as client:
        answer = await client.post("/api/v1/session", json={"login": "admin", "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "session" not in answer.json()
        assert (await client.get("/api/v1/cameras")).status_code == 200
        kept = client.cookies["tiergate_session"]
        assert (await client.delete("/api/v1/session")).status_code == 204
        client.cookies.set("tiergate_session", kept)
        answer = await client.get("/api/v1/cameras")
        assert (answer.status_code, answer.json()["code"]) == (401, "access.session_over")


@pytest.mark.fault("S4")
async def test_a_registered_camera_has_an_id_a_tier_and_no_credential_anywhere(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        answer = await admin.post(
            "/api/v1/cameras", json={"url": "rtsp://viewer:S%40crEt%21@10.0.0.9/h264", "name": "东门"}
        )
        assert answer.status_code == 201, answer.text
        camera = answer.json()
        assert len(camera["id"]) == 20 and camera["tier"] == "community" and camera["sharing"] == "none"
        assert camera["streams"]["main"]["url"] == "rtsp://10.0.0.9/h264"
        assert set(camera["functions"]) >= {"live", "playback", "manage", "export"}
        listed = await admin.get("/api/v1/cameras")
        assert [c["id"] for c in listed.json()["items"]] == [camera["id"]]
        audit = await admin.get("/api/v1/audit")
        for text in (answer.text, listed.text, audit.text):
            assert "crEt" not in text and "viewer" not in text
    assert b"S@crEt" not in Path(site.settings.paths.catalog_dir / "catalog.db").read_bytes()
    opened = site.catalog.read(_only_secret(site))
    assert opened == "S@crEt!"


@pytest.mark.fault("S9")
async def test_an_account_as_the_maker_delivers_it_is_said_so_and_not_shown(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        url = "rtsp://admin:12345@10.0.0.9/h264"
        camera = (await admin.post("/api/v1/cameras", json={"url": url, "name": "东门"})).json()
        assert [w["code"] for w in camera["warnings"]] == ["camera.factory_account"]
        assert "12345" not in camera["warnings"][0]["en"].replace(camera["id"], "")
        path = f"/api/v1/cameras/{camera['id']}"
        assert len((await admin.patch(path, json={"name": "西门"})).json()["warnings"]) == 1, "it still has it"
        assert (await admin.patch(path, json={"password": "S@crEt!"})).json()["warnings"] == []
        url = "rtsp://10.0.0.10/h264"
        assert (await admin.post("/api/v1/cameras", json={"url": url, "name": "南门"})).json()["warnings"] == []


def _only_secret(site: Site) -> Callable[[Connection], str]:
    def read(connection: Connection) -> str:
        camera = next(iter(cameras.cameras(connection).values()))
        row = cameras.credentials(connection, [camera.credential_id or ""])[camera.credential_id or ""]
        return site.services.secrets.open(row).reveal()

    return read


async def test_forbidden_places_and_addresses_are_refused(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        for body, code in (
            ({"url": "rtsp://10.0.0.1/a", "site_type": "bathroom"}, "access.place_forbidden"),
            ({"url": "rtsp://10.0.0.1/a", "site_type": "Hotel Room"}, "access.place_forbidden"),
            ({"url": "rtsp://10.0.0.1/a", "site_type": "moon"}, "access.site_type_unknown"),
            ({"url": "rtsp://169.254.169.254/a"}, "camera.address_not_allowed"),
            ({"url": "http://10.0.0.1/a"}, "camera.scheme_refused"),
            ({"url": "file:///etc/passwd"}, "camera."),
            ({"url": "rtsp://10.0.0.1/a", "onvif": "10.0.0.1"}, "web.camera_source"),
            ({"url": "rtsp://10.0.0.1/a", "id": "1"}, "id.camera_malformed"),
            ({"url": "rtsp://10.0.0.1/a", "audio": True}, "access.audio_basis"),
            ({"url": "rtsp://10.0.0.1/a", "region": "999999"}, "access.region_unknown"),
            ({"url": "rtsp://10.0.0.1/a", "surprise": 1}, "web.body_malformed"),
            ({"url": "rtsp://10.0.0.1/a", "name": "a\u202eb"}, "web.body_malformed"),
        ):
            answer = await admin.post("/api/v1/cameras", json=body)
            assert answer.status_code == 422 and answer.json()["code"].startswith(code), (body, answer.text)
            assert answer.json()["en"] and answer.json()["zh"]
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_camera_has_a_schedule_and_loses_it_by_null(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        id_ = await add_camera(admin, 1)
        path = f"/api/v1/cameras/{id_}"
        assert (await admin.get(path)).json()["schedule"] is None
        week = "mon-fri 07:30-19:00, sat 22:00-06:00"
        answer = await admin.patch(path, json={"schedule": week})
        assert (answer.status_code, answer.json()["schedule"]) == (200, week)
        refused = await admin.patch(path, json={"schedule": "mondays"})
        assert (refused.status_code, refused.json()["code"]) == (422, "week.malformed")
        assert (await admin.patch(path, json={"name": "x"})).json()["schedule"] == week
        assert (await admin.patch(path, json={"schedule": None})).json()["schedule"] is None


async def test_a_department_sees_exactly_its_share_until_it_is_revoked(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        shared = await add_camera(admin, 1, sharing="departments")
        other = await add_camera(admin, 2, sharing="departments")
        closed = await add_camera(admin, 3)
        unit = (await admin.post("/api/v1/departments", json={"name": "教育局"})).json()["id"]
        body = {"department_id": unit, "label": "校园周边", "cameras": [closed], "functions": ["live"], "expires": "8h"}
        refused = await admin.post("/api/v1/tokens", json=body)
        assert refused.json()["code"] == "access.token_not_shared"
        issued = await admin.post("/api/v1/tokens", json=body | {"cameras": [shared]})
        assert issued.status_code == 201, issued.text
        assert "口岸 1" in issued.json()["plain"]["zh"]
        listed = (await admin.get("/api/v1/tokens")).text
        assert issued.json()["token"] not in listed
        async with site.client() as page:
            session = await page.post("/api/v1/session", json={"token": issued.json()["token"]})
            assert session.json()["kind"] == "token" and session.json()["functions"] == ["live"]
            seen = (await page.get("/api/v1/cameras")).json()["items"]
            assert [c["id"] for c in seen] == [shared]
            assert "url" not in seen[0]["streams"]["main"] and seen[0]["functions"] == ["live"]
            assert (await page.get(f"/api/v1/cameras/{other}")).status_code == 404
            window = {"from": site.now_ms() - 60_000, "to": site.now_ms()}
            refused = await page.get(f"/api/v1/cameras/{shared}/timeline", params=window)
            assert refused.status_code == 403 and refused.json()["code"] == "access.no_function"
            assert (await admin.post(f"/api/v1/tokens/{issued.json()['jti']}/revoke")).status_code == 200
            over = await page.get("/api/v1/cameras")
            assert (over.status_code, over.json()["code"]) == (401, "access.token_revoked")


async def test_a_camera_that_stops_being_shared_leaves_the_token(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1, sharing="departments")
        unit = (await admin.post("/api/v1/departments", json={"name": "教育局"})).json()["id"]
        body = {"department_id": unit, "label": "x", "cameras": [camera], "functions": ["live"]}
        token = (await admin.post("/api/v1/tokens", json=body)).json()["token"]
        async with site.client(token) as holder:
            assert (await holder.get(f"/api/v1/cameras/{camera}")).status_code == 200
            await admin.patch(f"/api/v1/cameras/{camera}", json={"sharing": "none"})
            assert (await holder.get(f"/api/v1/cameras/{camera}")).status_code == 404


async def test_administrators_see_no_pictures_and_operators_manage_nothing(site: Site) -> None:
    site.user("techie", ("system_admin",))
    site.user("watcher", ("operator",))
    async with await site.sign_in("admin") as admin, await site.sign_in("techie") as techie:
        id_ = await add_camera(admin, 1)
        assert set((await techie.get(f"/api/v1/cameras/{id_}")).json()["functions"]) == {"manage", "status", "catalog"}
        async with await site.sign_in("watcher") as watcher:
            answer = await watcher.patch(f"/api/v1/cameras/{id_}", json={"name": "x"})
            assert (answer.status_code, answer.json()["code"]) == (403, "access.no_function")
            assert (await watcher.get("/api/v1/users")).status_code == 403


async def test_the_last_administrator_stays(site: Site) -> None:
    other = site.user("second", ("security_admin",))
    async with await site.sign_in("second") as second:
        users = (await second.get("/api/v1/users")).json()["items"]
        admin = next(u["id"] for u in users if u["login"] == "admin")
        answer = await second.patch(f"/api/v1/users/{admin}", json={"disabled": True})
        assert (answer.status_code, answer.json()["code"]) == (409, "access.last_admin")
        mine = await second.patch(f"/api/v1/users/{other}", json={"roles": ["duty"]})
        assert mine.json()["code"] == "access.own_roles"


async def test_disabling_a_person_ends_the_session(site: Site) -> None:
    id_ = site.user("watcher", ("operator",))
    async with await site.sign_in("admin") as admin, await site.sign_in("watcher") as watcher:
        assert (await watcher.get("/api/v1/cameras")).status_code == 200
        await admin.patch(f"/api/v1/users/{id_}", json={"disabled": True})
        assert (await watcher.get("/api/v1/cameras")).status_code == 401


async def test_a_person_is_posted_until_an_end_and_an_administrator_never(site: Site) -> None:
    id_, now_ms = site.user("li", ("operator",)), site.now_ms()
    async with await site.sign_in("admin") as admin, await site.sign_in("li") as li:
        unit = (await admin.post("/api/v1/departments", json={"name": "教育局", "region": "210211001003"})).json()["id"]
        camera = await add_camera(admin, 1, sharing="departments")
        grant = {"subject_kind": "department", "subject": unit, "resources": {"cameras": [camera]}}
        assert (await admin.post("/api/v1/grants", json=grant | {"functions": ["catalog"]})).status_code == 201
        await add_camera(admin, 2)

        async def change(user: str, **values: object) -> tuple[int, str | None]:
            answer = await admin.patch(f"/api/v1/users/{user}", json=values)
            return answer.status_code, answer.json().get("code")

        async def seen() -> int:
            return len((await li.get("/api/v1/cameras")).json()["items"])

        assert await seen() == 2
        for until in (now_ms, now_ms + 367 * 86_400_000, None):
            assert await change(id_, posted_to=unit, posted_until=until) == (422, "access.posting_end")
        assert (await change(id_, posted_to="01K0000000000000000000NONE", posted_until=now_ms + 1000))[0] == 422
        administrator = site.user("wang", ("audit_admin",))
        wrong = await change(administrator, posted_to=unit, posted_until=now_ms + 1000)
        assert wrong == (409, "access.posting_admin")
        assert (await change(id_, posted_to=unit, posted_until=now_ms + 60_000))[0] == 200
        assert await change(id_, roles=["security_admin"]) == (409, "access.posting_admin")
        assert await seen() == 1
        listed = {u["id"]: u for u in (await admin.get("/api/v1/users")).json()["items"]}[id_]
        assert (listed["posted_unit"], listed["posted_until_ms"]) == ("教育局", now_ms + 60_000)
        assert "→ 教育局" in (await li.get("/api/v1/session")).json()["unit"]
        site.clock.advance(60)
        assert await seen() == 2  # by itself, although nothing was written
        assert "→" not in (await li.get("/api/v1/session")).json()["unit"]
        assert (await change(id_, posted_to=None))[0] == 200


@pytest.mark.fault("S22")
async def test_ten_wrong_passwords_a_minute_from_one_client_and_the_owner_elsewhere(site: Site) -> None:
    async with site.client(address="10.9.9.9") as guesser, site.client(address="10.1.1.1") as owner:
        codes = [
            (await guesser.post("/api/v1/session", json={"login": "admin", "password": f"wrong {n}"})).status_code
            for n in range(12)
        ]
        assert codes == [401] * 10 + [429] * 2
        mine = await owner.post("/api/v1/session", json={"login": "admin", "password": PASSWORD})
        assert mine.status_code == 200
        site.clock.advance(61)
        again = await guesser.post("/api/v1/session", json={"login": "nobody", "password": "wrong"})
        assert (again.status_code, again.json()["code"]) == (401, "access.bad_login")


@pytest.mark.fault("S22")
async def test_wrong_passwords_from_many_addresses_are_counted_by_network_and_by_name(site: Site) -> None:
    async def sign_in(address: str, login: str, password: str = "wrong") -> str:
        async with site.client(address=address) as client:
            answer = await client.post("/api/v1/session", json={"login": login, "password": password})
            return str(answer.json().get("code", "ok"))

    assert await sign_in("10.1.1.1", "admin", PASSWORD) == "ok"
    house = [await sign_in(f"2001:db8::{n}", "admin") for n in range(12)]
    assert house == ["access.bad_login"] * 10 + ["access.too_many_tries"] * 2
    for login, before in (("admin", 90), ("nobody", 100)):
        guessed = [await sign_in(f"10.{len(login)}.{n}.9", login) for n in range(before + 2)]
        assert guessed == ["access.bad_login"] * before + ["access.too_many_tries_account"] * 2
    assert await sign_in("10.2.2.2", "admin", PASSWORD) == "access.too_many_tries_account"
    assert await sign_in("10.1.1.1", "admin", PASSWORD) == "ok"
    site.clock.advance(61)
    assert await sign_in("10.2.2.2", "admin", PASSWORD) == "ok"


@pytest.mark.fault("S22")
async def test_the_first_password_is_changed_before_anything_else(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        body = {"login": "new", "name": "新人", "roles": ["operator"], "password": PASSWORD}
        assert (await admin.post("/api/v1/users", json=body)).status_code == 201
    async with await site.sign_in("new") as new:
        assert (await new.get("/api/v1/cameras")).json()["code"] == "access.must_change"
        changed = await new.post("/api/v1/session/password", json={"old": PASSWORD, "new": "another good 2"})
        assert changed.status_code == 204, changed.text
        assert (await new.get("/api/v1/cameras")).status_code == 200


@pytest.mark.fault("S25")
async def test_other_sites_are_refused(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        for headers, status in (
            ({"Origin": "http://evil.test"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://node.test.evil"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": "http://node.test"}, 201),
        ):
            answer = await admin.post("/api/v1/regions", json={"code": "210211", "name": "甘井子区"}, headers=headers)
            assert answer.status_code == status, (headers, answer.text)


@pytest.mark.fault("S3", "S25")
async def test_headers_protect_and_nothing_is_cached(site: Site) -> None:
    async with site.client() as client:
        answer = await client.get("/api/v1/node")
        assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "no-referrer"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "strict-transport-security" not in answer.headers
        page = await client.get("/")
        assert page.status_code == 200 and "text/html" in page.headers["content-type"]
        for path in ("/page/..%2f..%2fapp.py", "/page/%2e%2e/app.py", "/page/.hidden", "/page//etc/passwd", "/nowhere"):
            assert (await client.get(path)).status_code == 404, path


@pytest.mark.fault("S23", "S24")
async def test_failures_are_problems_without_internals(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await site.sign_in("admin") as admin:
        assert (await admin.put("/api/v1/cameras")).status_code == 405
        large = await admin.post("/api/v1/regions/import", content=b"x" * (1 << 20) + b"y")
        assert (large.status_code, large.json()["code"]) == (413, "web.body_too_large")

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100_000

        large = await admin.post("/api/v1/regions/import", content=chunks())
        assert (large.status_code, large.json()["code"]) == (413, "web.body_too_large")
        broken = await admin.post("/api/v1/regions", content=b"{", headers={"Content-Type": "application/json"})
        assert broken.status_code == 422 and broken.json()["code"] == "web.body_malformed.json"

        def explode(*_: object) -> None:
            raise RuntimeError("the secret of the machine")

        monkeypatch.setattr("storage.catalog.places.regions", explode)
        answer = await admin.get("/api/v1/regions")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "secret" not in answer.text and "Traceback" not in answer.text


@pytest.mark.fault("S23")
async def test_lists_have_pages(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        ids = [await add_camera(admin, n) for n in range(1, 6)]
        first = (await admin.get("/api/v1/cameras", params={"limit": 2})).json()
        second = (await admin.get("/api/v1/cameras", params={"limit": 2, "cursor": first["next"]})).json()
        third = (await admin.get("/api/v1/cameras", params={"limit": 2, "cursor": second["next"]})).json()
        assert [c["id"] for p in (first, second, third) for c in p["items"]] == ids and third["next"] is None
        found = (await admin.get("/api/v1/cameras", params={"q": "口岸 3"})).json()["items"]
        assert [c["id"] for c in found] == [ids[2]]
        assert (await admin.get("/api/v1/cameras", params={"region": "2102"})).json()["items"] != []
        assert (await admin.get("/api/v1/cameras", params={"region": "11"})).json()["items"] == []


async def test_metrics_know_cameras_and_leave_out_what_is_unknown(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        await add_camera(admin, 1)
        text = (await admin.get("/metrics")).text
        assert 'tiergate_cameras{state="enabled"} 1.0' in text and "tiergate_camera_online" not in text
    async with site.client(address="10.3.3.3") as stranger:
        assert (await stranger.get("/metrics")).status_code == 401
