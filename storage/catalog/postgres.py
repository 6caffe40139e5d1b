"""PostgreSQL under the rules that the catalog's statements were written for, those of SQLite.

- One writer at a time: a write begins with an advisory lock, in READ COMMITTED, so that what it reads is what stands
  (``BEGIN IMMEDIATE``; REPEATABLE READ would look through a snapshot taken before the lock was had). Statements may
  look and then insert.
- A read sees one moment: REPEATABLE READ, READ ONLY.
- Change notice: every write that changed something ends with NOTIFY; each connection listens. The server hands notices
  over outside transactions, so one small read collects them. A new connection counts as a notice: some may be missed.
- A COMMIT whose answer never came (FAULTS B33) is looked up by its transaction id over a new connection: committed is
  success, aborted is done again. Where the server cannot say (a standby took over: another timeline), the error is
  raised, and whoever wrote by ids writes again.

Belongs here: what only PostgreSQL needs. Does not belong here: statements, which are the same for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from config.clock import Deadline
from config.errors import Kind, TiergateError

T = TypeVar("T")

_CHANNEL = "tiergate_catalog"
_WRITE_LOCK = 0x7469_6572_0001  #: "tier" and a number; locks are per database
_MIGRATE_LOCK = 0x7469_6572_0002
_NOTICES = "notices"
READ_ONLY = "25006"  #: SQLSTATE read_only_sql_transaction
#: How long the server is asked for the fate of a transaction that it still calls "in progress".
_OUTCOME_S = 5.0
_SESSION = (
    "synchronous_commit = on",  # an acknowledged row survives power loss
    "idle_in_transaction_session_timeout = 60000",  # a client that is stopped must not keep the lock for ever
    # A client whose machine is gone: its lock ends within half a minute instead of two hours.
    "tcp_keepalives_idle = 10",
    "tcp_keepalives_interval = 5",
    "tcp_keepalives_count = 3",
)
_CONNECT = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "tiergate",
}


class Outcome(Enum):
    COMMITTED = "committed"
    ABORTED = "aborted"  #: nothing of it is there; it may be done again


def make_engine(url: URL, lock_timeout_ms: int) -> Engine:
    """Raises media.catalog_driver when psycopg is not installed."""
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            poolclass=StaticPool,
            connect_args=dict(_CONNECT),
            hide_parameters=True,
        )
    except ModuleNotFoundError as exc:
        raise TiergateError(Kind.ENVIRONMENT, "media.catalog_driver") from exc
    counter = _Notices()
    engine = engine.execution_options(**{_NOTICES: counter})

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for setting in (f"lock_timeout = {lock_timeout_ms}", *_SESSION):
            cursor.execute(f"SET {setting}")
        own_pid = connection.info.backend_pid
        connection.add_notify_handler(lambda notify: counter.add(notify.pid != own_pid))
        cursor.execute(f"LISTEN {_CHANNEL}")
        cursor.close()
        connection.commit()
        counter.add(True)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


@dataclass(slots=True)
class _Notices:
    count: int = 0

    def add(self, counts: bool) -> None:
        self.count += counts


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("tiergate_write", False):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITE_LOCK})
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def notices(connection: Connection) -> int:
    """Commits of others so far, as far as this connection was told."""
    connection.exec_driver_sql("SELECT 1")
    counter: _Notices = connection.get_execution_options()[_NOTICES]
    return counter.count


def hold_migration_lock(connection: Connection) -> None:
    """For as long as the connection lives; waits for whoever has it."""
    connection.exec_driver_sql("SET lock_timeout = 0")
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _MIGRATE_LOCK})
    connection.commit()


# --- writes ---

#: A write without a transaction id has changed nothing: nobody need be told, and its COMMIT has no outcome.
_SEAL = text(
    "SELECT id, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),"
    " CASE WHEN id IS NOT NULL THEN pg_notify(:channel, '') END"
    " FROM (SELECT pg_current_xact_id_if_assigned()::text AS id) AS own"
)
_STATUS = text(
    "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) = :timeline, pg_xact_status(CAST(:id AS xid8))"
)


@dataclass(slots=True)
class _Sealed:
    """What is needed to ask for the fate of a transaction."""

    id: str | None
    timeline: str


def write(engine: Engine, change: Callable[[Connection], T], last: bool = False) -> tuple[Outcome, T]:
    """Runs `change` in a write transaction. ABORTED (and no result worth reading): the connection was lost and nothing
    is written; with `last` that is raised instead. Raises what `change` raises, and the driver's error where the fate
    of the transaction cannot be known."""
    sealed: _Sealed | None = None
    result: Any = None
    try:
        with engine.connect().execution_options(tiergate_write=True) as connection, connection.begin():
            result = change(connection)
            id_, timeline, _ = connection.execute(_SEAL, {"channel": _CHANNEL}).one()
            sealed = _Sealed(id_, timeline)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        outcome = Outcome.ABORTED if sealed is None else _outcome(engine, sealed)
        if outcome is None or (outcome is Outcome.ABORTED and last):
            raise
        return outcome, result
    return Outcome.COMMITTED, result


def _outcome(engine: Engine, sealed: _Sealed) -> Outcome | None:
    """None: nobody can say."""
    if sealed.id is None:
        return Outcome.COMMITTED
    deadline = Deadline(_OUTCOME_S)
    while not deadline.passed:
        try:
            with engine.connect() as connection, connection.begin():
                same_server, status = connection.execute(_STATUS, {"id": sealed.id, "timeline": sealed.timeline}).one()
        except DBAPIError:
            time.sleep(0.1)
            continue
        if not same_server:
            return None
        if status in ("committed", "aborted"):
            return Outcome(status)
        time.sleep(0.05)  # the old connection's server process has not noticed yet
    return None
