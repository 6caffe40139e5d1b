"""The parts of a web process that this room makes. `gateway.compose` adds those of the others to `Services.parts`."""

from __future__ import annotations

from config.clock import Clock
from config.settings import Settings
from gateway.access.keys import NodeKeys
from gateway.access.looks import Looks
from gateway.access.media_sessions import MediaSessions
from gateway.access.passwords import LoginLimit, Passwords
from gateway.access.principals import Principals
from gateway.access.register import Registers
from gateway.access.secrets import Secrets
from gateway.access.sessions import Sessions
from gateway.access.tokens import Tokens
from gateway.access.watch import CatalogWatch
from gateway.web.limits import RateLimits
from gateway.web.services import Services
from storage.catalog.engine import Catalog


def make_services(
    settings: Settings,
    clock: Clock,
    catalog: Catalog,
    keys: NodeKeys,
    process: str = "web",
    passwords: Passwords | None = None,
) -> Services:
    """Ready parts, nothing started yet. `process` names this process in the register."""
    watch = CatalogWatch(catalog)
    tokens = Tokens(keys, clock)
    principals = Principals(catalog, clock, tokens, watch, settings.node.name)
    registers = Registers(catalog, clock, settings.paths.run_dir, process)
    looks = Looks(catalog, clock, principals, registers, watch)
    return Services(
        settings=settings,
        clock=clock,
        catalog=catalog,
        watch=watch,
        keys=keys,
        secrets=Secrets(keys),
        passwords=passwords or Passwords(),
        login_limit=LoginLimit(clock),
        limits=RateLimits(settings.web, clock),
        sessions=Sessions(clock, settings.web.session_hours),
        tokens=tokens,
        principals=principals,
        registers=registers,
        looks=looks,
        media_sessions=MediaSessions(catalog, clock, principals, looks, registers),
    )
