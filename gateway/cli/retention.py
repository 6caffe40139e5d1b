"""`tiergate retention`: how long footage stays, what a change would delete, why something is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import client, context, named, policy_file

app = typer.Typer()


@app.command(help="Classes with their floors and ceilings, and the last sweep.")
def show() -> None:
    answer = client.get("/retention")
    if context.GLOBALS.json:
        context.show(answer)
        return
    context.table(answer["classes"], ["name", "months", "min_days", "ceiling_months", "for_hold"])
    context.show(answer["sweep"])


_DAYS = typer.Option(help="Instead of --months; whole months only, a month is 30 days.")
_BASIS = typer.Option("--legal-basis", help="Needed above the ceiling.")
_FILE = typer.Option("--file", exists=True, dir_okay=False, readable=True, help="Policy in TOML: months of classes.")


@app.command("set", help="Change the months of a class, within its floor and ceiling. Shorter waits 7 days.")
def set_(
    class_: Annotated[str, typer.Argument(metavar="CLASS")],
    months: Annotated[int | None, typer.Option(help="Months of the Asia/Shanghai calendar.")] = None,
    days: Annotated[int | None, _DAYS] = None,
    legal_basis: Annotated[str | None, _BASIS] = None,
) -> None:
    body = {"months": months, "days": days, "legal_basis": legal_basis}
    context.show(client.put(f"/retention/{client.part(class_)}", body))


@app.command(help="What goes when: now, or as if a class kept another length; whether that may be, and who must agree.")
def plan(
    at: Annotated[str | None, typer.Option(help="As of this time; default now.")] = None,
    class_: Annotated[str | None, typer.Option("--class", help="With --months or --days: what if.")] = None,
    months: Annotated[int | None, typer.Option()] = None,
    days: Annotated[int | None, _DAYS] = None,
    legal_basis: Annotated[str | None, _BASIS] = None,
    file: Annotated[Path | None, _FILE] = None,
) -> None:
    if file is not None:
        if (at, class_, months, days, legal_basis) != (None, None, None, None, None):
            raise context.usage("--file stands alone. / --file 不与其他选项同用。")
        _policy(file, yes=False)
        return
    change = {"class": class_, "months": months, "days": days, "legal_basis": legal_basis}
    answer = client.get("/retention/plan", at=at, **change)
    if context.GLOBALS.json:
        context.show(answer)
    else:
        context.table(answer["items"], ["camera_id", "class", "segments", "bytes", "first_ms", "last_ms", "reason"])
        context.show(answer["total"])
        for said in (answer["change_refused"], answer["change_needs"]):
            if said is not None:
                context.show(said[context.language()])
    if answer["change_refused"] is not None:
        raise typer.Exit(1)


@app.command(help="Will the store hold what the classes promise, and when is it full? --add plans cameras to come.")
def forecast(
    add: Annotated[int, typer.Option(help="With so many more cameras, also before the first.")] = 0,
    mbit: Annotated[
        float,
        typer.Option(help="Bit rate of each of them, Mbit/s.", callback=context.within("--mbit", 0.001, 1000)),
    ] = 4.0,
    class_: Annotated[str, typer.Option("--class", help="Class of each of them.")] = "default",
) -> None:
    answer = client.get("/retention/forecast", add=add, bit_rate_bps=round(mbit * 1e6), **{"class": class_})
    if context.GLOBALS.json:
        context.show(answer)
    else:
        context.table(answer["items"], ["camera_id", "class", "count", "bytes_per_day", "stay_days", "basis"])
        context.show(answer["reason"][context.language()])
    if answer["full_ms"] is not None:
        raise typer.Exit(1)


@app.command(help="Which rule keeps the footage of a camera at a time, and when it goes.")
def explain(
    target: Annotated[
        str,
        typer.Argument(metavar="CAMERA@TIME", help="For example 东门@2026-11-24T15:20:00+08:00; name or id."),
    ],
) -> None:
    camera, at = target.rpartition("@")[::2] if "@" in target else (target, "")
    context.show(client.get("/retention/explain", camera=named.one("camera", camera), at=at or None))


@app.command(
    help="Rules of the buckets themselves, or with --file the months of classes: how they differ; --yes sets them."
)
def apply(
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    file: Annotated[Path | None, _FILE] = None,
) -> None:
    if file is not None:
        _policy(file, yes)
        return
    answer = client.post("/retention/apply", yes=yes)
    if context.GLOBALS.json:
        context.show(answer)
    else:
        rules = [{"bucket": b["bucket"]} | rule for b in answer["buckets"] for rule in b["rules"]]
        context.table(rules, ["bucket", "change", "id", "prefix", "abort_days", "expire_days"])
        for bucket in answer["buckets"]:
            if bucket["problem"] is not None:
                context.show(bucket["problem"][context.language()])
        context.show(answer["reason"][context.language()])
    if any(bucket["problem"] is not None for bucket in answer["buckets"]):
        raise typer.Exit(1)


def _policy(file: Path, yes: bool) -> None:
    """One refused change stops all of them: half a policy is nobody's policy."""
    items = policy_file.foresee(policy_file.read(file))
    refused = any(item["refused"] is not None for item in items)
    applied = yes and not refused
    whole = policy_file.carry_out(items) if applied else True
    if context.GLOBALS.json:
        context.show({"items": items, "applied": applied})
    elif items:
        columns = ["class", "from_months", "waiting_months", "months", "remove_segments", "remove_bytes", "refused"]
        context.table(items, [*columns, "needs", "outcome"])
    if not items:
        context.say("the classes are as the file says", "各类别与文件一致")
    elif refused:
        context.say("refused: nothing was changed", "已拒绝：未作任何更改")
    elif not yes:
        context.say(
            "nothing was changed; `retention apply --file … --yes` sets them",
            "未作更改；retention apply --file … --yes 执行",
        )
    if refused or not whole:
        raise typer.Exit(1)


@app.command(help="Delete what is due. --dry-run is the same sweep without the deed.")
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    confirm: Annotated[
        int | None, typer.Option(help="So many segments may go although the last plan did not expect them.")
    ] = None,
    time_is: Annotated[
        str | None,
        typer.Option(help="After this machine's clock jumped: what another clock, as your watch, shows now."),
    ] = None,
) -> None:
    answer = client.post("/retention/sweep", dry_run=dry_run, confirm=confirm, time_is=time_is)
    context.show(answer)
    if "notice" in answer:
        context.note(answer["notice"]["en"], answer["notice"]["zh"])
    elif answer["refused"]:
        raise typer.Exit(1)
