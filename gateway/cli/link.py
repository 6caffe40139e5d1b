"""`tiergate link`: pairing with nodes above and below."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import client, context, named

app = typer.Typer()

_COLUMNS = [
    "id",
    "peer_name",
    "peer_role",
    "peer_tier",
    "peer_region",
    "url",
    "capacity_bps",
    "bytes_per_day",
    "bytes_left",
    "last_seen_ms",
    "suspended_ms",
    "knows_certificate",
    "problem",
]


@app.command("list", help="Links of this node.")
def list_() -> None:
    context.show(client.everything("/links"), _COLUMNS)


@app.command(help="Make a one-time code for another node: it becomes our `upper` or `lower`.")
def invite(peer_role: Annotated[str, typer.Argument(metavar="upper|lower")]) -> None:
    context.show(client.post("/links/invite", {"peer_role": peer_role}))


@app.command(help="Accept the code another node made.")
def accept(code: Annotated[str, typer.Argument(help="The code.")]) -> None:
    context.show(client.post("/links/accept", {"code": code}))


@app.command("set", help="Change a link's capacity, kind or daily quota of pictures.")
def set_(
    link: Annotated[str, typer.Argument(help="The other node's name, or the link's id.")],
    capacity_bps: Annotated[int | None, typer.Option(help="Capacity of the line in bit/s.")] = None,
    kind: Annotated[str | None, typer.Option(help="dedicated, shared or diode.")] = None,
    bytes_per_day: Annotated[
        int | None, typer.Option(help="Bytes of our pictures that the upper node may be given in any 24 hours.")
    ] = None,
) -> None:
    body = {"capacity_bps": capacity_bps, "kind": kind, "bytes_per_day": bytes_per_day}
    context.show(client.patch(named.at("link", link), {k: v for k, v in body.items() if v is not None}))


@app.command(help="Suspend a link (or --resume): running pulls stop; the other side is told.")
def suspend(
    link: Annotated[str, typer.Argument(help="The other node's name, or the link's id.")],
    resume: Annotated[bool, typer.Option("--resume")] = False,
) -> None:
    context.show(client.patch(named.at("link", link), {"suspended": not resume}))


@app.command(help="Remove a link for good.")
def remove(link: Annotated[str, typer.Argument(help="The other node's name, or the link's id.")]) -> None:
    client.delete(named.at("link", link))
    context.say("removed", "已删除")


@app.command(
    help="Which certificate this node's relay shows, which one comes, and which linked nodes know it. Reads this"
    " machine's catalog."
)
def certificate() -> None:
    from gateway.ops import relay_rotation

    _tell(relay_rotation.look(context.settings()))


@app.command(
    "rotate-certificate",
    help="Change the relay's certificate, which linked nodes pin, without pairing again and beside the running node;"
    " may be killed and run again. The next one (from relay.tls_cert if a new one is there, else made under this node's"
    " own CA) is announced to linked nodes; when all that call this one know it, the relay shows it. Run it as the user"
    " of the node.",
)
def rotate_certificate(
    overlap: Annotated[
        str,
        typer.Option(
            help="How long the old one is still taken after that: 12h, 7d; 0s when somebody may have its key."
        ),
    ] = "1d",
    finish: Annotated[bool, typer.Option("--finish", help="Show now what was announced.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --finish: also if nodes do not know it; they must be paired again.")
    ] = False,
) -> None:
    from config.units import parse_duration_ms
    from gateway.ops import relay_rotation
    from gateway.ops.actor import operator

    if finish:
        _tell(relay_rotation.finish(context.settings(), operator(), force))
        return
    done = relay_rotation.begin(context.settings(), operator(), parse_duration_ms(overlap))
    _tell(done)
    if done["resumed"]:
        context.say("A change was under way already, and no other was begun.", "此前已有更换正在进行，未开始新的更换。")


def _tell(state: dict[str, Any]) -> None:
    """What is known, and in plain words what it waits for."""
    if context.GLOBALS.json:
        context.show(state)
    else:
        context.show({name: value for name, value in state.items() if name != "links"})
        context.show({"items": state["links"]}, ["id", "peer_name", "peer_role", "knows_certificate", "last_seen_ms"])
    left = [link for link in state["links"] if link["knows_certificate"] is False and link["peer_role"] == "upper"]
    names = ", ".join(link["peer_name"] for link in left)
    if left and state["coming"] is None:
        context.note(f"These nodes must be paired again: {names}.", f"以下节点须重新对接：{names}。")
    elif left:
        context.note(f"Waited for: {names}.", f"正在等待以下节点得知：{names}。")
