"""A refused sign-in costs the same work whoever it names: passwords tried, statements sent to the catalog (FAULTS S22).

Work is counted and not timed: a count is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import argon2
import pytest
from sqlalchemy import event

from storage.catalog import people
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, site_in


@dataclass
class Work:
    """What one request did, without the values it did it with."""

    passwords: list[str] = field(default_factory=list)  #: cost of each argon2 verification
    statements: list[str] = field(default_factory=list)  #: SQL with placeholders


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        gone = made.user("gone")
        made.catalog.write(lambda c: people.change_user(c, gone, {"disabled_ms": made.now_ms()}))
        yield made


@pytest.fixture
def work(site: Site, monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()
    verify = argon2.PasswordHasher.verify

    def counted(self: argon2.PasswordHasher, hash: str | bytes, password: str | bytes) -> bool:
        done.passwords.append("$".join(str(hash).split("$")[1:4]))  # algorithm, version, and memory, time and lanes
        return verify(self, hash, password)

    def sent(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        done.statements.append(statement)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    event.listen(site.catalog._engine, "before_cursor_execute", sent)
    return done


async def refused(
    site: Site, work: Work, login: str, password: str, path: str = "/api/v1/session", wall: str | None = None
) -> tuple[object, ...]:
    async with site.client(wall, address=f"10.9.9.{len(login)}") as client:
        if wall is not None:
            await client.get("/api/v1/session")  # who the wall is, is known
        work.passwords.clear()
        work.statements.clear()
        answer = await client.post(path, json={"login": login, "password": password})
    assert answer.status_code == (401 if wall is None else 403)
    told = {key: value for key, value in answer.json().items() if key != "instance"}
    return list(work.passwords), list(work.statements), told, sorted(answer.headers)


@pytest.mark.fault("S22")
async def test_whom_a_refused_sign_in_names_changes_neither_its_work_nor_its_answer(site: Site, work: Work) -> None:
    await refused(site, work, "admin", "wrong")  # what is done once per process is done
    known = await refused(site, work, "admin", "wrong")
    assert known == await refused(site, work, "nobody", "wrong")
    assert known == await refused(site, work, "gone", "wrong")
    assert known == await refused(site, work, "gone", PASSWORD)  # disabled: the right password opens nothing
    passwords, statements = known[:2]
    assert isinstance(passwords, list) and len(passwords) == 1
    assert isinstance(statements, list) and any("INSERT INTO audit" in s for s in statements)


@pytest.mark.fault("S22")
async def test_whom_a_refused_sign_on_at_a_wall_names_changes_neither_its_work_nor_its_answer(
    site: Site, work: Work
) -> None:
    hall = site.user("hall")
    site.catalog.write(lambda c: people.change_user(c, hall, {"wall": True}))
    secret, _ = site.catalog.write(lambda c: site.services.sessions.start(c, user_id=hall))

    async def at_wall(login: str, password: str) -> tuple[object, ...]:
        return await refused(site, work, login, password, "/api/v1/session/shift", secret)

    await at_wall("admin", "wrong")
    known = await at_wall("admin", "wrong")
    assert known == await at_wall("nobody", "wrong")
    assert known == await at_wall("gone", PASSWORD)
    assert known == await at_wall("hall", PASSWORD)  # a wall is nobody: its right password opens nothing here
    assert known == await at_wall("hall", "wrong")
    assert isinstance(known[0], list) and len(known[0]) == 1
