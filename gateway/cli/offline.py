"""What works on this machine's files without a running node, audited as ``os:<login>``.

Whoever can write these files can do it anyway; the record says that it was done this way.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Collection

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.ids import LOGIN_PATTERN
from config.redact import Secret
from config.settings import Settings
from gateway.access.ids import fresh_id
from gateway.access.passwords import Passwords, check_strength
from gateway.cli import context
from gateway.ops import own_catalog
from gateway.ops.actor import operator
from storage.audit import log as audit
from storage.catalog import people, places, sessions
from storage.catalog.engine import Catalog

#: Of the first user of a node, who gives every right from then on.
FIRST_ROLES = ("system_admin", "security_admin", "audit_admin", "duty")
_ADDS_PEOPLE = "security_admin"


def note_unread_journal(keys: Collection[str]) -> None:
    """Beside what a rebuild or restore shows: holds may be among what is not known."""
    if keys:
        context.note(
            f"The store's journal cannot be read whole (unreadable objects: {len(keys)}): holds, classes and areas "
            "that only these tell of are not known here. Mend the store and run this again, or enter them anew, before "
            "tiergate serve.",
            f"存储日志中有 {len(keys)} 个对象无法读出：仅记录于其中的保全令、类别和区域未能恢复。"
            "请修复存储后重新执行本命令，或重新登记，然后再运行 tiergate serve。",
        )


def reset_password(settings: Settings, login: str, password: Secret | str) -> None:
    """Sets a password, ends the user's sessions. Raises cli.unknown_user, access.password_weak, ops.catalog_missing."""
    secret = password if isinstance(password, Secret) else Secret(password)
    check_strength(secret, login)
    digest = Passwords().hash_now(secret)
    now_ms = wall_ms(make_clock(settings))
    own_catalog.require(settings)
    catalog = Catalog(settings.catalog_url)

    def write(connection: Connection) -> None:
        user = people.user_by_login(connection, login)
        if user is None:
            raise TiergateError(Kind.NOT_FOUND, "cli.unknown_user", login=login[:60])
        people.change_user(connection, user.id, {"password_hash": digest, "must_change": False})
        sessions.end_sessions_of(connection, user.id, now_ms)
        audit.append(connection, now_ms, operator(), "user.reset_password", f"user:{login}", {})

    try:
        catalog.write(write)
    finally:
        catalog.close()


def add_first(settings: Settings, login: str, person: str, password: Secret | str) -> people.User:
    """The first user of a catalog that has nobody who could add one, as after `store rebuild` without a backup.

    Raises cli.first_user, cli.not_node_user, cli.administrator_there, access.name_taken, access.password_weak,
    ops.catalog_missing.
    """
    check_first(login, person)
    _require_node_user(settings)
    secret = password if isinstance(password, Secret) else Secret(password)
    check_strength(secret, login)
    clock = make_clock(settings)
    now_ms = wall_ms(clock)
    digest = Passwords().hash_now(secret)
    made = people.User(fresh_id(clock), login, person.strip(), None, "", FIRST_ROLES, digest, False, now_ms, None)
    own_catalog.require(settings)
    catalog = Catalog(settings.catalog_url)

    def write(connection: Connection) -> None:
        there = administrator(connection)
        if there is not None:
            raise TiergateError(Kind.CONFLICT, "cli.administrator_there", login=there.login)
        people.add_user(connection, made)
        node = settings.node
        places.seed_regions(connection, node.region, node.tier, node.name, now_ms)  # a store without journal has none
        details = {"login": made.login, "name": made.name, "roles": list(made.roles)}
        audit.append(connection, now_ms, operator(), "user.add_first", made.id, details)

    try:
        catalog.write(write)
    finally:
        catalog.close()
    return made


def check_first(login: str, person: str) -> None:
    """Raises cli.first_user."""
    if not re.fullmatch(LOGIN_PATTERN, login) or not person.strip():
        raise TiergateError(Kind.INVALID, "cli.first_user")


def administrator(connection: Connection) -> people.User | None:
    """Somebody who can sign in and add people."""
    users = people.users(connection).values()
    return next((u for u in users if _ADDS_PEOPLE in u.roles and u.disabled_ms is None and not u.wall), None)


def nobody_administers(settings: Settings) -> bool:
    catalog = Catalog(settings.catalog_url)
    try:
        return catalog.read(administrator) is None
    finally:
        catalog.close()


def _require_node_user(settings: Settings) -> None:
    """Raises cli.not_node_user. Not even root: the catalog's files must stay the node's."""
    owner = settings.paths.keys_dir.stat().st_uid
    if owner != os.geteuid():
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise TiergateError(Kind.ENVIRONMENT, "cli.not_node_user", user=name)
