"""Hands news of alarms to whoever the administrator named: a program, a web address. One at a time, in order.

A hook that does not take a piece of news gets it again, with the same id, before any later one. The web address gets a
signature (`Tiergate-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">`), so that its receiver can tell
our words from anybody's and old ones from new.

Belongs here: delivery. Does not belong here: what is news (`gateway.ops.alarms`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from config.errors import Kind, TiergateError
from config.settings import Alarms as Settings
from gateway.ops.alarms import News

TIMEOUT_S = 10.0

#: Takes the message and the time in Unix seconds, or raises TiergateError.
Hook = Callable[[Mapping[str, Any], int], None]


def hooks(settings: Settings) -> dict[str, Hook]:
    """By name, those that are set."""
    found: dict[str, Hook] = {}
    if settings.command:
        found["command"] = lambda message, at_s: run_command(settings.command, message)
    if settings.webhook is not None:
        found["webhook"] = lambda message, at_s: post(settings, message, at_s)
    return found


def message(news: News, node_id: str, node_name: str) -> dict[str, Any]:
    """What a hook gets. Both sentences are in it; a receiver that knows no code shows one of them."""
    return {
        "id": news.id,
        "node": {"id": node_id, "name": node_name},
        "alarm": news.turn,
        "at_ms": news.at_ms,
        "since_ms": news.since_ms,
        "check": news.check,
        "level": news.level,
        "reason": news.reason,
        "next": news.next,
    }


def run_command(command: tuple[str, ...], message: Mapping[str, Any]) -> None:
    """The program reads JSON from its standard input and ends with 0. It gets no secret of ours in its environment.

    Raises ops.alarm_command.
    """
    try:
        done = subprocess.run(
            command,
            input=json.dumps(message, ensure_ascii=False).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        problem = f"> {TIMEOUT_S:.0f} s"
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        if done.returncode == 0:
            return
        problem = f"exit {done.returncode}"
    raise TiergateError(Kind.ENVIRONMENT, "ops.alarm_command", command=command[0], problem=problem)


def signature(secret: str, body: bytes, at_s: int) -> str:
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={mac.hexdigest()}"


def post(settings: Settings, message: Mapping[str, Any], at_s: int) -> None:
    """Redirects are not followed: an alarm goes where the administrator sent it. Raises ops.alarm_webhook."""
    body = json.dumps(message, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "tiergate"}
    if settings.secret:
        headers["Tiergate-Signature"] = signature(settings.secret.reveal(), body, at_s)
    try:
        verify: ssl.SSLContext | bool = True
        if settings.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(settings.ca_file))
        with httpx.Client(timeout=TIMEOUT_S, verify=verify, trust_env=False) as client:
            answer = client.post(str(settings.webhook), content=body, headers=headers)
    except (httpx.HTTPError, OSError) as error:
        problem = type(error).__name__
    else:
        if answer.is_success:
            return
        problem = f"HTTP {answer.status_code}"
    raise TiergateError(Kind.ENVIRONMENT, "ops.alarm_webhook", problem=problem)
