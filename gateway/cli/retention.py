"""`tiergate retention`: how long footage stays, what a change would delete, why something is kept."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context

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
) -> None:
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
    mbit: Annotated[float, typer.Option(help="Bit rate of each of them, Mbit/s.")] = 4.0,
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
        str, typer.Argument(metavar="CAMERA@TIME", help="For example 2102…0001@2026-11-24T15:20:00+08:00.")
    ],
) -> None:
    camera, _, at = target.partition("@")
    context.show(client.get("/retention/explain", camera=camera, at=at or None))


@app.command(help="Rules of the buckets themselves: how they differ from the plan; --yes sets them.")
def apply(yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False) -> None:
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


@app.command(help="Delete what is due. --dry-run is the same sweep without the deed.")
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    confirm: Annotated[
        int | None, typer.Option(help="So many segments may go although the last plan did not expect them.")
    ] = None,
) -> None:
    answer = client.post("/retention/sweep", dry_run=dry_run, confirm=confirm)
    context.show(answer)
    if answer["refused"]:
        raise typer.Exit(1)
