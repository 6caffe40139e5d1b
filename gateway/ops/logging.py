"""Logs: one JSON object per line on stderr, with the request or lease it belongs to, and nothing secret in it.

Belongs here: the format, the context, the redaction. Does not belong here: what is worth a line (each room), metrics.
`bind(lease="…")` in a task or thread marks every line written below it; the id travels to other processes and nodes in
the header `Tiergate-Trace`, so that one pull can be followed through all of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TextIO

from config.redact import redact_text

_context: ContextVar[Mapping[str, str]] = ContextVar("tiergate_log_context", default=MappingProxyType({}))

#: What `logging` puts on every record; everything else was given as `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@contextlib.contextmanager
def bind(**fields: str) -> Iterator[None]:
    """Adds `fields` (trace, lease, camera, …) to every line of this task or thread until the block ends."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class JsonFormatter(logging.Formatter):
    """`ts level process logger message` first, then context, then `extra`, then a redacted traceback."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "ts": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": redact_text(record.getMessage()),
            **_context.get(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[name] = value if isinstance(value, int | float | bool | type(None)) else redact_text(str(value))
        if record.exc_info:
            line["error"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class PatientHandler(logging.Handler):
    """Writes in a thread of its own: whoever logs never waits for whoever reads.

    A pipe that nobody drains (a container's log driver, a pager) would else hold up what it fills from: cameras.
    Lines beyond `WAITING_MAX` are given up and counted; the count is told when the reader is back.
    """

    WAITING_MAX = 10_000

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(self.WAITING_MAX)
        self._lost = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._lost += 1

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                self._stream.write(line + "\n")
                if self._lost:
                    lost, self._lost = self._lost, 0
                    told = {"level": "warning", "message": "log lines lost", "count": lost}
                    self._stream.write(json.dumps(told) + "\n")
                self._stream.flush()
            self._lines.task_done()

    def flush(self) -> None:
        """What waits is written, unless the reader sleeps."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, 2.0)


def finish() -> None:
    """Writes what waits; for a process that is about to end. `logging.shutdown` flushes Python's own handler of last
    resort as well, which waits for a reader that sleeps, and would wait for ever."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def configure(process: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Once per process, before anything logs. `process` names it in every line, for example ``recorder-0``."""
    handler = PatientHandler(sys.stderr) if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    logging.captureWarnings(True)
    # Libraries that tell of every request or statement, some with URLs in full.
    for name in ("uvicorn.access", "httpx", "httpcore", "libav", "sqlalchemy", "zeep", "aioice", "aiortc"):
        logging.getLogger(name).setLevel(max(logging.WARNING, _LEVELS[level]))
