"""Nobody widens their own rights, by whatever way: by name, by a role, by their unit, by a token for it, by moving to
another one, by taking back a denial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.audit import log as audit
from tests.gateway.web.site import REGION, Site, site_in
from tiering.access import Principal, widens_own

LIVE: dict[str, Any] = {"resources": {"all_own": True}, "functions": ["live"]}


def code(answer: Any) -> str:
    return str(answer.json()["code"]) if answer.status_code >= 400 else "ok"


async def ways(site: Site) -> dict[str, str]:
    """What becomes of each way."""
    site.user("root", ("security_admin",))
    async with await site.sign_in("root") as root:
        units = []
        for name in ("技术科", "治安科"):
            made = await root.post("/api/v1/departments", json={"name": name})
            assert made.status_code == 201, made.text
            units.append(made.json()["id"])
    own = site.user("giver", ("security_admin",), units[0])
    other = site.user("other", ("operator",), units[1])
    subjects = {
        "me": ("user", own), "my role": ("role", "security_admin"), "my unit": ("department", units[0]),
        "other": ("user", other),
    }  # fmt: skip
    async with await site.sign_in("root") as root, await site.sign_in("giver") as giver:

        async def taken_back(whom: str, effect: str = "deny") -> str:
            """A grant of another administrator."""
            kind, subject = subjects[whom]
            body = {"subject_kind": kind, "subject": subject, "effect": effect, **LIVE}
            made = await root.post("/api/v1/grants", json=body)
            assert made.status_code == 201, made.text
            return code(await giver.delete(f"/api/v1/grants/{made.json()['id']}"))

        async def token(unit: str, path: str = "/api/v1/tokens") -> str:
            body = {"department_id": unit, "label": "x", "regions": [REGION], "functions": ["live"]}
            return code(await giver.post(path, json=body))

        async def give(kind: str, subject: str, effect: str = "allow") -> str:
            body = {"subject_kind": kind, "subject": subject, "effect": effect, **LIVE}
            return code(await giver.post("/api/v1/grants", json=body))

        return {
            "by name": await give("user", own),
            "by a role": await give("role", "security_admin"),
            "by the unit": await give("department", units[0]),
            "a denial": await give("department", units[0], "deny"),
            "somebody else": await give("user", other),
            "another role": await give("role", "operator"),
            "another unit": await give("department", units[1]),
            "by moving": code(await giver.patch(f"/api/v1/users/{own}", json={"department_id": units[1]})),
            "by leaving": code(await giver.patch(f"/api/v1/users/{own}", json={"department_id": None})),
            "by a denial of me": await taken_back("me"),
            "by a denial of the role": await taken_back("my role"),
            "by a denial of the unit": await taken_back("my unit"),
            "somebody else's denial": await taken_back("other"),
            "what I was given": await taken_back("me", "allow"),
            "by a token": await token(units[0]),
            "by a token, looked at before": await token(units[0], "/api/v1/tokens/preview"),
            "another unit's token": await token(units[1]),
            "another name": code(await giver.patch(f"/api/v1/users/{own}", json={"name": "新名"})),
        }


@pytest.mark.fault("S17")
async def test_under_full_governance_every_way_is_closed(tmp_path: Path) -> None:
    with site_in(tmp_path, node={"governance": "full"}) as site:
        found = await ways(site)
        assert found == {way: "access.own_rights" if way.startswith("by ") else "ok" for way in found}
        acts = [e.action for e in site.catalog.read(lambda c: audit.entries(c)) if e.actor == "user:giver"]
        # None that was refused.
        assert (acts.count("grant.add"), acts.count("grant.revoke"), acts.count("token.issue")) == (4, 2, 1)


async def test_where_one_person_is_everybody_only_their_own_name_is_closed(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        found = await ways(site)
        assert found == {way: "access.own_rights" if way == "by name" else "ok" for way in found}


@pytest.mark.parametrize(
    ("kind", "subject", "own"),
    [
        ("user", "u1", True), ("user", "u2", False), ("role", "security_admin", True), ("role", "operator", False),
        ("department", "d1", True), ("department", "d2", False), ("department", "u1", False), ("user", "d1", False),
    ],
)  # fmt: skip
def test_whose_rights_a_grant_widens(kind: str, subject: str, own: bool) -> None:
    giver = Principal("user", "u1", "giver", "Giver", "unit", "d1", roles=frozenset({"security_admin"}))
    assert widens_own(giver, kind, subject) is own
    nowhere = Principal("user", "u1", "giver", "Giver", "unit", roles=frozenset({"security_admin"}))
    assert not widens_own(nowhere, "department", "d1")
