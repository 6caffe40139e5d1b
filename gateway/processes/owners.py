"""One round of asking owners' recorders, as a process: what parses answers of foreign devices has nothing else to lose.

Started by the keeper when somebody's turn has come (`gateway.processes.asking`), it writes each camera's answers as it
has them and ends. It holds camera accounts, as recorders do, and no key of the store.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import stat
import sys
import threading
from pathlib import Path

from config.clock import make_clock
from config.errors import Kind, TiergateError
from config.load import load, settings_path
from gateway.access.keys import load_keys
from gateway.access.secrets import Secrets
from gateway.cameras.owner_recorder import OwnerRecorders
from gateway.ingest.logins import Logins
from gateway.ops import logging as logs
from gateway.ops.dumps import no_core_dump
from gateway.ops.locks import OWNERS_LOCK, alone
from gateway.ops.owner_checks import Round
from storage.catalog.engine import Catalog

_log = logging.getLogger(__name__)


def run(config: Path) -> None:
    """Raises access.keys_missing and what the catalog raises; what a device does is an answer."""
    settings = load(config)
    logs.configure("owners", settings.log.level)
    with alone(settings.paths.run_dir / OWNERS_LOCK, "retention.check_running"):
        clock = make_clock(settings)
        catalog = Catalog(settings.catalog_url)
        logins = Logins(clock, settings.paths.run_dir / "logins")
        recorders = OwnerRecorders(settings, clock, logins)
        try:
            asyncio.run(Round(settings, clock, catalog, Secrets(load_keys(settings)), recorders).run())
        finally:
            catalog.close()


def main(argv: list[str] | None = None) -> int:
    no_core_dump()
    parser = argparse.ArgumentParser(prog="tiergate-owners")
    parser.add_argument("--config")
    arguments = parser.parse_args(argv)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_end_with_parent, daemon=True, name="parent").start()
    try:
        run(settings_path(arguments.config))
    except TiergateError as error:
        _log.error("cannot ask", extra={"code": error.reason.code, "reason": str(error)})
        return 0 if error.kind is Kind.CONFLICT else error.exit_code  # another round is under way: that one asks
    except Exception:
        _log.exception("the round failed")
        return 1
    finally:
        logs.finish()
    return 0


def _end_with_parent() -> None:
    """Its pipe closes with the keeper, however that ends."""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
