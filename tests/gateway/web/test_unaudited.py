"""What the audit log cannot take is not done (FAULTS S19): the disk refuses its row, and nothing else has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in

REFUSE = "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        made.user("li", ("operator",))
        yield made


def rows(site: Site) -> dict[str, list[Any]]:
    """Every table, but what a request itself leaves behind (when a session was last used)."""

    def read(c: Any) -> dict[str, list[Any]]:
        names = [n for (n,) in c.execute(text("SELECT name FROM sqlite_master WHERE type='table'"))]
        return {n: c.execute(text(f'SELECT * FROM "{n}"')).all() for n in names if n != "session"}

    return site.catalog.read(read)


@pytest.fixture
async def acts(site: Site) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, tuple[str, str, Any]]]]:
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1, sharing="departments")
        unit = (await admin.post("/api/v1/departments", json={"name": "教育局"})).json()["id"]
        token = {"department_id": unit, "label": "x", "cameras": [camera], "functions": ["live"], "expires": "8h"}
        issued = (await admin.post("/api/v1/tokens", json=token)).json()["jti"]
        li = next(u for u in (await admin.get("/api/v1/users")).json()["items"] if u["login"] == "li")["id"]
        now_ms = site.now_ms()
        held = {"cameras": [camera], "from": now_ms - 60_000, "to": now_ms, "case_no": "A-1", "reason": "打架"}
        path = f"/api/v1/cameras/{camera}"
        place = {"name": "车站", "document_no": "文 2", "cameras": [camera]}
        area = (await admin.post("/api/v1/areas", json=place)).json()["id"]
        owned = await add_camera(admin, 2, recorded_by="owner")
        attested = {"days": 30, "attested_by": "教育局", "document": "函 1", "valid_until": now_ms + 86_400_000}
        yield (
            admin,
            {
                "register a camera": ("POST", "/api/v1/cameras", {"url": "rtsp://10.0.0.9/main", "name": "b"}),
                "change a camera": ("PATCH", path, {"name": "c"}),
                "issue a token": ("POST", "/api/v1/tokens", token),
                "revoke a token": ("POST", f"/api/v1/tokens/{issued}/revoke", None),
                "change a person": ("PATCH", f"/api/v1/users/{li}", {"roles": ["duty"]}),
                "change a class": ("PUT", "/api/v1/retention/key", {"months": 4, "legal_basis": "市令 5"}),
                "hold footage": ("POST", "/api/v1/holds", held),
                "add a unit": ("POST", "/api/v1/departments", {"name": "城管局"}),
                "add an area": ("POST", "/api/v1/areas", {"name": "学校", "document_no": "文 1", "cameras": [camera]}),
                "change an area": ("PATCH", f"/api/v1/areas/{area}", {"regions": ["210211001003"]}),
                "end an area": ("DELETE", f"/api/v1/areas/{area}", None),
                "attest an owner's recorder": ("POST", f"/api/v1/cameras/{owned}/attestations", attested),
                "ask an owner's recorder": ("POST", f"/api/v1/cameras/{owned}/owner-checks", {"at": now_ms - 60_000}),
                "remove a camera": ("DELETE", path, None),
            },
        )


@pytest.mark.fault("S19")
async def test_an_act_whose_record_cannot_be_written_is_not_done(site: Site, acts: Any) -> None:
    admin, wanted = acts
    before = rows(site)
    site.catalog.write(lambda c: c.execute(text(REFUSE)))
    for name, (method, path, body) in wanted.items():
        answer = await admin.request(method, path, json=body)
        assert answer.status_code >= 500 and "disk" not in answer.text, (name, answer.status_code, answer.text)
        after = rows(site)
        assert {n for n in after if after[n] != before[n]} == set(), name
    site.catalog.write(lambda c: c.execute(text("DROP TRIGGER full")))
    for name, (method, path, body) in wanted.items():  # else they would have been refused for another reason
        answer = await admin.request(method, path, json=body)
        assert answer.status_code < 300, (name, answer.status_code, answer.text)
