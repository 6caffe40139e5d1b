"""`tiergate logout`: ends the session here and on the node."""

from __future__ import annotations

from gateway.cli import client, context


def command() -> None:
    try:
        client.delete("/session")
    finally:
        client.keep_session(None)
    context.say("signed out", "已退出")
