"""Words for reasons of the command line: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "cli.usage": ("{problem}", "{problem}"),
    "cli.api": ("The node answered {status} {title}.", "节点返回 {status} {title}。"),
    "cli.node_not_running": (
        "No tiergate is running here; start it with `tiergate serve`, or name another with --url.",
        "本机没有运行 tiergate；请用 tiergate serve 启动，或用 --url 指定其他节点。",
    ),
    "cli.unreachable": (
        "The node does not answer ({problem}).",
        "节点没有响应（{problem}）。",
    ),
    "cli.file_exists": (
        "{path} exists already; nothing was overwritten.",
        "{path} 已存在，未覆盖。",
    ),
    "cli.already_initialised": (
        "{path} exists already: this node is initialised.",
        "{path} 已存在：本节点已初始化。",
    ),
    "cli.password_missing": (
        "No password: type it at the prompt, or give it on standard input with --password-stdin.",
        "缺少密码：请在提示处输入，或用 --password-stdin 从标准输入提供。",
    ),
    "cli.unknown_user": (
        "There is no user {login}.",
        "没有用户 {login}。",
    ),
    "cli.tier_scope_broken": (
        "{count} object(s) of lower tiers have no lease, necessity or hold behind them.",
        "有 {count} 个下级对象没有租约、必要性记录或保全令。",
    ),
    "cli.audit_broken": (
        "The audit chain breaks at entry {seq}.",
        "审计链在第 {seq} 条处断裂。",
    ),
}
