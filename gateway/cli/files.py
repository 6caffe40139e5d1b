"""Files that people hand in: read whole, judged before anything is sent, faults as one sentence. Files that people get:
whole, or not there.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from config.errors import Kind, TiergateError


def read_text(path: Path) -> str:
    """UTF-8, with or without the mark that spreadsheets put first. Raises cli.file_not_text, cli.file_unreadable."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise TiergateError(Kind.INVALID, "cli.file_unreadable", path=path) from exc
    except UnicodeDecodeError as exc:
        raise TiergateError(Kind.INVALID, "cli.file_not_text", path=path) from exc


def read_csv(path: Path, one_of: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, filled cells by column) of each row that is not empty.

    The first line must name at least one of `one_of`. Raises cli.csv_header, cli.csv_malformed.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)), restkey="", restval="")
    try:
        named = {(name or "").strip() for name in reader.fieldnames or ()}
        if named.isdisjoint(one_of):
            raise TiergateError(Kind.INVALID, "cli.csv_header", path=path, columns=" / ".join(one_of))
        for row in reader:
            extra = row.pop("", None)
            if extra:
                problem = f"{len(row)} columns, {len(row) + len(extra)} cells"
                raise TiergateError(Kind.INVALID, "cli.csv_malformed", path=path, line=reader.line_num, problem=problem)
            cells = {k.strip(): v for k, v in row.items() if v}
            if cells:
                yield reader.line_num, cells
    except csv.Error as exc:
        raise TiergateError(
            Kind.INVALID, "cli.csv_malformed", path=path, line=reader.line_num + 1, problem=exc
        ) from exc


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """To be written into: it has its name when it is whole and on the disk; what is broken off leaves `.part` at most.
    Never over a file that is there. Raises cli.file_exists, OSError."""
    part = target.with_name(target.name + ".part")
    if target.exists():
        raise TiergateError(Kind.CONFLICT, "cli.file_exists", path=target)
    try:
        file = part.open("xb")
    except FileExistsError:
        raise TiergateError(Kind.CONFLICT, "cli.file_exists", path=part) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    except BaseException as exc:
        part.unlink(missing_ok=True)
        if isinstance(exc, OSError) and exc.filename is None:  # a write that fails does not say where
            exc.filename = str(target)
        raise
