"""gateway.cli: the `tiergate` command. One file per noun; imports are lazy, so that ``--help`` is quick.

Belongs here: reading arguments, calling the API (or files, for the commands that work without a running node),
printing. Does not belong here: decisions. `init serve doctor store backup restore upgrade`, `alarm`, `secrets rotate`,
`token rotate-key`, `link certificate|rotate-certificate` and `user reset-password|add-first` work on this machine's
files, and what they change is audited as ``os:<login>``; `export verify` and `audit verify FILE` need no node at all.
Everything else is a call to the API as the user of ``tiergate login``.
"""

from __future__ import annotations

import io
import sys


def main() -> None:
    """The console script. Exit codes: 0 done, 1 refused or found, 2 usage, 3 environment, 4 not signed in."""
    from gateway.cli.app import run
    from gateway.ops.dumps import no_core_dump

    no_core_dump()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Chinese still gets the rest
    sys.exit(run(sys.argv[1:]))
