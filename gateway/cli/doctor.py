"""`tiergate doctor`: what is wrong and what to do next; works with and without a running node."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import context

_MARKS = {"ok": "✓", "warn": "!", "bad": "✗"}


def command(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes long: the walk over the audit log.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also print what is in order.")] = False,
) -> None:
    from config.clock import make_clock
    from config.reasons import text
    from gateway.ops import doctor

    settings = context.settings()
    findings = list(doctor.examine(settings, make_clock(settings), quick))
    wrong = [finding for finding in findings if finding.level != "ok"]
    if context.GLOBALS.json:
        context.show({"ok": not wrong, "findings": [finding.as_json() for finding in findings]})
    else:
        language = context.language()
        for finding in findings if everything else wrong:
            print(f"{_MARKS[finding.level]} {finding.check}: {text(finding.reason, language)}")
            if finding.next is not None:
                print(f"    → {text(finding.next, language)}")
        if not wrong:
            context.say(f"all {len(findings)} checks passed", f"全部 {len(findings)} 项检查通过")
    if wrong:
        raise typer.Exit(1)
