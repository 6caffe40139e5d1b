"""`tiergate restore`: the node of a backup on this machine, with its identity, agreed with its store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.redact import Secret
from gateway.cli import context
from gateway.cli.backup import PassphraseFile, read_passphrase


def command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The backup.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder for the node's data, where it is another than on the old machine.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put a node that is here aside; nothing is deleted.")
    ] = False,
    without_store: Annotated[
        bool, typer.Option("--without-store", help="The store is lost too: take the backup as it is.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    from gateway.cli.offline import note_unread_journal
    from gateway.ops import backup_work
    from gateway.ops.actor import operator

    passphrase = read_passphrase(passphrase_file, Secret(""), repeat=False)
    done = backup_work.restore_node(
        context.config_path().resolve(), file, passphrase, operator(), data=data, replace=replace,
        with_store=not without_store,
    )  # fmt: skip
    context.show(done.as_json())
    if done.agreed is not None:
        note_unread_journal(done.agreed.unread)
    if done.dropped:
        classes = ", ".join(sorted(change.class_name for change in done.dropped))
        context.say(
            f"Changes that waited for their week are dropped, as they may have been taken back after the backup. Ask "
            f"again for those that are still wanted: {classes}.",
            f"等待生效的保存期变更已作废（备份之后可能已撤回）：仍需变更的请重新提出（{classes}）。",
        )
    context.say(
        "People sign in again. Tokens and users that were withdrawn after the backup are valid again: look at "
        "`tiergate token list` and `tiergate user list` first. The old machine must never run again.",
        "所有人须重新登录。备份之后撤销的令牌和停用的用户又恢复有效："
        "运行 tiergate serve 前请检查 tiergate token list 与 tiergate user list。旧机器不得再次运行。",
    )
