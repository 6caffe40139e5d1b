"""`tiergate secrets`: the key that seals cameras' accounts. On this machine's files, audited."""

from __future__ import annotations

import typer

from gateway.cli import context

app = typer.Typer()


@app.callback()
def _group() -> None:
    """Keeps the noun a group while it has one command."""


@app.command(
    help="Exchange the sealing key and seal all accounts of cameras anew. Beside the running node, whose cameras do not"
    " notice; may be killed and run again. Run it as the user of the node. Backups made before hold the old key and"
    " what it sealed."
)
def rotate() -> None:
    from gateway.ops import rotation
    from gateway.ops.actor import operator

    done = rotation.rotate_sealing(context.settings(), operator())
    context.show(done.as_json())
    if done.resumed:
        context.say(
            "An exchange that had been broken off was finished; run the command again for another one.",
            "已完成此前中断的密钥更换；如需再次更换，请重新运行本命令。",
        )
    if done.unreadable:
        context.note(
            f"{done.unreadable} accounts that no camera uses open with no key; they stay as they are.",
            f"{done.unreadable} 个无摄像机使用的账号无法用任何密钥打开，未作改动。",
        )
