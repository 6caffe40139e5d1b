"""`tiergate serve`: runs the node in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

from gateway.cli import context


def command() -> int:
    from gateway.processes import supervisor

    context.settings()  # a bad file is one sentence here instead of a child's failure
    return supervisor.run(context.config_path())
