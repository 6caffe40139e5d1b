"""`tiergate token`: scoped tokens for departments."""

from __future__ import annotations

from typing import Annotated

import typer

from config.errors import Kind, TiergateError
from gateway.cli import client, context, named

app = typer.Typer()


@app.command("list", help="Tokens that were issued; never the tokens themselves.")
def list_() -> None:
    context.show(client.everything("/tokens"), ["jti", "department", "label", "expires_ms", "revoked_ms"])


@app.command(help="Issue a token. It is shown once.")
def issue(
    department: Annotated[str, typer.Argument(help="Department, by name or id.")],
    label: Annotated[str, typer.Option(help="What it is for.")],
    camera: Annotated[list[str], typer.Option(help="Camera, by name or id; may be given again.")],
    function: Annotated[
        list[str], typer.Option(help="live, playback, snapshot, export, ptz, status, catalog; may be given again.")
    ],
    expires: Annotated[str, typer.Option(help="How long it works: 8h, 30d.")] = "30d",
    footage_from: Annotated[
        str | None, typer.Option("--from", help="Earliest footage, as 2026-11-24T15:20:00+08:00.")
    ] = None,
    footage_to: Annotated[str | None, typer.Option("--to", help="Latest footage, written alike.")] = None,
    max_stream: Annotated[str | None, typer.Option(help="`sub` to give sub streams only.")] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="At most so many pictures at once, all who use the token together.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Network it may be used from, 10.1.2.0/24; may be given again.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after the plain words.")] = False,
) -> None:
    body = {
        "department_id": named.one("department", department),
        "label": label,
        "cameras": named.each("own camera", camera),
        "functions": function,
        "expires": expires,
        "footage_from": footage_from,
        "footage_to": footage_to,
        "max_stream": max_stream,
        "max_streams": max_streams,
        "networks": network,
    }
    body = {k: v for k, v in body.items() if v is not None}
    if not yes and not context.GLOBALS.json:
        plain = client.post("/tokens/preview", body)["plain"]
        context.show(plain[context.language()])
        if not typer.confirm(context.words("Sign it?", "确认签发？")):
            raise TiergateError(Kind.CONFLICT, "cli.not_signed")
    context.show(client.post("/tokens", body))


@app.command(
    "rotate-key",
    help="Exchange the key that signs tokens, on this machine's files and beside the running node; may be killed and"
    " run again. Tokens that the old key signed work until they end or the window does. Run it as the user of the"
    " node.",
)
def rotate_key(
    overlap: Annotated[
        str, typer.Option(help="How long the old key is still taken: 12h, 30d; 0s when somebody may have it.")
    ] = "30d",
) -> None:
    from config.units import parse_duration_ms
    from gateway.ops import rotation
    from gateway.ops.actor import operator

    done = rotation.rotate_token(context.settings(), operator(), parse_duration_ms(overlap))
    context.show(done.as_json())
    if done.resumed:
        context.say(
            "An exchange that had been broken off was finished, with the window that was given then; run the command"
            " again for another one.",
            "已完成此前中断的密钥更换，过渡期以当时为准；如需再次更换，请重新运行本命令。",
        )
    if done.cut:
        context.note(
            f"{done.cut} tokens would have worked longer: issue them anew before the window ends.",
            f"{done.cut} 个令牌的有效期超出过渡期，请在其结束前重新签发。",
        )


@app.command(help="Revoke a token: running pictures stop within seconds.")
def revoke(jti: Annotated[str, typer.Argument(help="Its label, or its id.")]) -> None:
    context.show(client.post(named.at("token", jti) + "/revoke"))
