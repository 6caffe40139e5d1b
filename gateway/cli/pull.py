"""`tiergate pull`: a lower node's video, on demand, under a mechanism."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named
from gateway.cli.lease import COLUMNS

app = typer.Typer()

Cameras = Annotated[
    list[str], typer.Argument(metavar="CAMERA…", help="A lower node's cameras, by name or 20-digit id.")
]
Case = Annotated[str, typer.Option(help="Case or incident number.")]
Why = Annotated[str, typer.Option(help="Why, in words.")]
Minutes = Annotated[int, typer.Option(help="How long.")]
From = Annotated[str | None, typer.Option("--from", help="Recorded range: start, as 2026-11-24T15:20:00+08:00.")]
To = Annotated[str | None, typer.Option("--to", help="Recorded range: end, written alike.")]


def _pull(mechanism: str, cameras: list[str], case: str, reason: str, minutes: int, **more: str | None) -> None:
    body = {
        "mechanism": mechanism,
        "cameras": named.each("lower camera", cameras),
        "case": case,
        "reason": reason,
        "minutes": minutes,
    }
    context.show(client.post("/pulls", body | {k: v for k, v in more.items() if v is not None}), COLUMNS)


@app.command(help="Emergency: at once, confirmed by a second person within 30 minutes.")
def emergency(
    camera: Cameras, case: Case, reason: Why, minutes: Minutes = 30, from_: From = None, to: To = None
) -> None:
    _pull("emergency", camera, case, reason, minutes, **{"from": from_, "to": to})


@app.command(help="Start a pull under a named mechanism (supervision needs an approver).")
def start(
    mechanism: Annotated[str, typer.Argument(help="emergency or supervision.")],
    camera: Cameras,
    case: Case,
    reason: Why,
    approver: Annotated[str | None, typer.Option(help="Login of who approved.")] = None,
    minutes: Minutes = 30,
    from_: From = None,
    to: To = None,
) -> None:
    _pull(mechanism, camera, case, reason, minutes, approver=approver, **{"from": from_, "to": to})


@app.command("list", help="Running pulls.")
def list_() -> None:
    context.show(client.everything("/pulls"), COLUMNS)


@app.command(help="Extend a running pull; the minutes count from now, and the lower node decides.")
def renew(
    lease: Annotated[str, typer.Argument(help="Its case number, or the id of its lease.")],
    reason: Why,
    minutes: Minutes = 30,
) -> None:
    answer = client.post(named.at("pull", lease) + "/renew", {"reason": reason, "minutes": minutes})
    context.show(answer, COLUMNS)


@app.command(help="End a pull; its temporary cache goes at once.")
def stop(lease: Annotated[str, typer.Argument(help="Its case number, or the id of its lease.")]) -> None:
    client.delete(named.at("pull", lease))
    context.say("ended", "已结束")
