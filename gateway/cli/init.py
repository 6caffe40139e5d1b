"""`tiergate init`: makes a node out of nothing: settings, directories, keys, certificates, catalog, first user.

Loses nothing: it refuses where a node is already.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from config.clock import make_clock
from config.errors import Kind, TiergateError
from config.ids import region_code
from config.load import DEFAULT_FILE, load, toml
from config.redact import Secret
from config.settings import build, is_loopback, split_listen
from gateway.cli import context
from gateway.cli.files import read_text

_STATE = Path("/var/lib/tiergate")  #: where the data of the settings under /etc lie
_DIGITS_TIER = {4: "city", 6: "district", 9: "street", 12: "community"}


def command(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything; default: beside the settings file, for the one under /etc /var/lib/tiergate."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of this centre, as people and other nodes see it.")] = "tiergate",
    region: Annotated[str, typer.Option(help="Division code of the region it serves.")] = "210211001003",
    tier: Annotated[str | None, typer.Option(help="city, district, street or community; default by the code.")] = None,
    listen: Annotated[
        str, typer.Option(help="Address for people. Not loopback: TLS with a private CA made now.")
    ] = "127.0.0.1:8080",
    relay_listen: Annotated[str, typer.Option(help="Address for other nodes.")] = "127.0.0.1:8090",
    login: Annotated[str, typer.Option(help="Login of the first user.")] = "admin",
    person: Annotated[str, typer.Option(help="Name of that person, as it stands in the register.")] = "管理员",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the first password instead of making one.")
    ] = False,
    camera_network: Annotated[
        list[str] | None, typer.Option(help="Network in which cameras live; may be given again.")
    ] = None,
    catalog_url_file: Annotated[
        Path | None, typer.Option(help="File with the URL of an empty PostgreSQL database; default: SQLite.")
    ] = None,
) -> None:
    from gateway.cli.offline import check_first

    path = context.config_path().resolve()
    if path.exists():
        raise TiergateError(Kind.CONFLICT, "cli.already_initialised", path=path)
    folder = (data or (_STATE if path == DEFAULT_FILE else path.parent)).resolve()
    code = region_code(region)
    tables: dict[str, dict[str, object]] = {
        "node": {
            "name": name,
            "region": code,
            "tier": tier or _DIGITS_TIER.get(len(code), "city"),
            "language": context.language(),
        },
        "paths": {"data": str(folder)},
        "web": {"listen": listen},
        "relay": {"listen": relay_listen},
    }
    if catalog_url_file is not None:
        tables["catalog"] = {"url": read_text(catalog_url_file).strip()}
    if camera_network:
        tables["cameras"] = {"allowed_networks": list(camera_network)}
    hosts = _outside_hosts(listen, relay_listen)
    if hosts:
        certificates = {"tls_cert": str(folder / "keys" / "tls.crt"), "tls_key": str(folder / "keys" / "tls.key")}
        for section in ("web", "relay"):
            tables[section] |= certificates
    check_first(login, person)
    build(tables)  # every value is judged before the first file is written
    password = sys.stdin.readline().rstrip("\n") if password_stdin else secrets.token_urlsafe(12)
    if not password:
        raise TiergateError(Kind.INVALID, "cli.password_missing")
    _make(path, folder, tables, hosts, login, person.strip(), Secret(password))
    answer = {"config": str(path), "data": str(folder), "login": login, "url": _url(listen, bool(hosts))}
    context.show(answer if password_stdin else answer | {"password": password})
    context.say(
        "Note the password: it is not shown again. Start the node with `tiergate serve`.",
        "请记下密码，以后不再显示。用 tiergate serve 启动节点。",
    )


def _outside_hosts(*listens: str) -> list[str]:
    try:
        return [host for host, _ in map(split_listen, listens) if not is_loopback(host)]
    except ValueError as exc:
        raise TiergateError(Kind.INVALID, "settings.bad_value", key="listen", problem=str(exc)) from exc


def _url(listen: str, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{listen}"


def _make(
    path: Path,
    folder: Path,
    tables: dict[str, dict[str, object]],
    hosts: list[str],
    login: str,
    person: str,
    password: Secret,
) -> None:
    from gateway.access.ids import fresh_id
    from gateway.access.keys import ensure_keys
    from gateway.access.passwords import Passwords, check_strength
    from gateway.cli.offline import FIRST_ROLES
    from gateway.ops.actor import operator
    from gateway.ops.certificates import make_private_ca
    from storage.audit import log as audit
    from storage.catalog import node, people, places
    from storage.catalog.engine import Catalog
    from storage.catalog.migrate import migrate
    from storage.volume import fsync_folder, write_synced

    check_strength(password, login)
    for part in ("spool", "objects", "catalog", "keys", "run"):
        (folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    write_synced(fresh, toml(tables).encode())
    settings = load(fresh, {})
    keys = ensure_keys(settings)
    if hosts:
        make_private_ca(settings.paths.keys_dir, str(tables["node"]["name"]), hosts)
    migrate(settings.catalog_url)
    clock = make_clock(settings)
    now_ms = clock.wall_ns() // 1_000_000
    catalog = Catalog(settings.catalog_url)
    try:

        def write(connection: Connection) -> None:
            node.own(connection, keys.node_id)
            places.seed_regions(connection, settings.node.region, settings.node.tier, settings.node.name, now_ms)
            digest = Passwords().hash_now(password)
            people.add_user(
                connection,
                people.User(fresh_id(clock), login, person, None, "", FIRST_ROLES, digest, False, now_ms, None),
            )
            audit.append(connection, now_ms, operator(), "node.init", keys.node_id, {"login": login})

        catalog.write(write)
    finally:
        catalog.close()
    os.replace(fresh, path)  # the settings file appears last: half a node is never taken for a whole one
    fsync_folder(path.parent)
