"""Words for reasons of the command line: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "cli.usage": ("{problem}", "{problem}"),
    "cli.api": ("The node answered {status} {title}.", "节点返回 {status} {title}。"),
    "cli.node_not_running": (
        "No tiergate is running here; start it with `tiergate serve`, or name another with --url.",
        "本机没有运行 tiergate；请用 tiergate serve 启动，或用 --url 指定其他节点。",
    ),
    "cli.not_by_url": (
        "This command works on the files of the node on this machine: run it there, without --url.",
        "本命令直接处理本机节点的文件：请在该节点所在机器上执行，不要使用 --url。",
    ),
    "cli.not_permitted": (
        "{path} may not be used by the user {user}; run this as the node's user, for example "
        "`sudo -u tiergate tiergate …`.",
        "用户 {user} 无权使用 {path}；请以节点所属用户执行，例如 sudo -u tiergate tiergate …。",
    ),
    "cli.os": (
        "{path} cannot be used: {problem}.",
        "无法使用 {path}（{problem}）。",
    ),
    "cli.number": (
        "{option} must be a number from {least} to {most}.",
        "{option} 须为 {least} 到 {most} 之间的数字。",
    ),
    "cli.unreachable": (
        "The node does not answer ({problem}).",
        "节点没有响应（{problem}）。",
    ),
    "cli.url_malformed": (
        "--url must be the address of a node, for example https://centre.example:8443.",
        "--url 须为节点地址，例如 https://centre.example:8443。",
    ),
    "cli.certificate": (
        "The node's certificate is not trusted ({problem}); put the path of its ca.crt (in its keys folder) into TIERGATE_CA.",
        "节点证书不受信任（{problem}）；请将其 keys 目录中 ca.crt 的路径写入环境变量 TIERGATE_CA。",
    ),
    "cli.ca_unreadable": (
        "TIERGATE_CA names no readable certificate file.",
        "TIERGATE_CA 指定的文件不存在或不是证书。",
    ),
    "cli.token_malformed": (
        "TIERGATE_TOKEN is not a token; paste it whole, on one line.",
        "TIERGATE_TOKEN 不是有效令牌；请完整粘贴为一行。",
    ),
    "cli.not_text": (
        "What was typed is not valid text (UTF-8).",
        "输入的内容不是有效文本（UTF-8）。",
    ),
    "cli.not_a_node": (
        "What answers there is not a tiergate node.",
        "该地址的应答方不是 tiergate 节点。",
    ),
    "cli.file_not_text": (
        "{path} is not a text file in UTF-8.",
        "{path} 不是 UTF-8 文本文件。",
    ),
    "cli.csv_header": (
        "{path} needs a first line that names its columns, at least {columns}.",
        "{path} 首行须为列名，至少包含 {columns}。",
    ),
    "cli.csv_malformed": (
        "Line {line} of {path} is not CSV: {problem}.",
        "{path} 第 {line} 行不是有效 CSV：{problem}。",
    ),
    "cli.policy_malformed": (
        "{path} is no policy ({problem}): it holds a table per class, [classes.NAME] with months and, above the "
        "ceiling, legal_basis.",
        "{path} 不是有效的保存策略（{problem}）：每个类别一张表 [classes.类别]，含 months，超过上限时另含 legal_basis。",
    ),
    "cli.command_unknown": (
        "There is no command {given}. Nearest: {near}; `{command} --help` lists all.",
        "没有命令 {given}。相近的有：{near}；运行 {command} --help 查看全部。",
    ),
    "cli.option_unknown": (
        "There is no option {option}; `{command} --help` lists them.",
        "没有选项 {option}；运行 {command} --help 查看全部选项。",
    ),
    "cli.option_missing": (
        "{option} is missing; see `{command} --help`.",
        "缺少 {option}；用法见 {command} --help。",
    ),
    "cli.option_empty": (
        "{option} needs a value; see `{command} --help`.",
        "{option} 缺少取值；用法见 {command} --help。",
    ),
    "cli.option_bad": (
        "The value of {option} is not valid: {problem}; see `{command} --help`.",
        "{option} 的取值无效（{problem}）；用法见 {command} --help。",
    ),
    "cli.option_choice": ("{option} must be one of: {choices}.", "{option} 只能是以下之一：{choices}。"),
    "cli.usage_bad": (
        "{problem}; see `{command} --help`.",
        "命令写法有误（{problem}）；用法见 {command} --help。",
    ),
    "cli.defect": (
        "This is a defect of tiergate ({problem}); the same command with TIERGATE_DEBUG=1 shows where.",
        "这是 tiergate 自身的缺陷（{problem}）；设置 TIERGATE_DEBUG=1 后重新执行可查看位置。",
    ),
    "cli.file_exists": (
        "{path} exists already; nothing was overwritten.",
        "{path} 已存在，未覆盖。",
    ),
    "cli.file_unreadable": (
        "{path} does not exist or cannot be read.",
        "{path} 不存在或无法读取。",
    ),
    "cli.name_unknown": (
        "There is no {noun} {given}. Nearest: {near}; `tiergate {command}` shows all.",
        "没有{noun}“{given}”。相近的有：{near}；运行 tiergate {command} 查看全部。",
    ),
    "cli.name_ambiguous": (
        "{given} may be each of {count} entries ({noun}); give the id of one: {candidates}.",
        "“{given}”对应 {count} 个{noun}，请改用编号：{candidates}。",
    ),
    "cli.not_signed_in": (
        "You are not signed in here, or no longer: `tiergate login NAME`.",
        "尚未登录或登录已失效：请运行 tiergate login 用户名。",
    ),
    "cli.not_signed": ("Nothing was signed.", "未签发。"),
    "cli.file_unwritable": (
        "{path} cannot be written; name another file with -o.",
        "无法写入 {path}；请用 -o 指定其他文件。",
    ),
    "cli.already_initialised": (
        "{path} exists already: this node is initialised.",
        "{path} 已存在：本节点已初始化。",
    ),
    "cli.first_user": (
        "The first user needs a login of letters, digits and . _ @ - that begins with a letter or digit (at most 60 "
        "characters), and a name.",
        "首个用户须有登录名（字母、数字和 . _ @ -，以字母或数字开头，最多 60 个字符）和姓名。",
    ),
    "cli.administrator_there": (
        "There is an administrator: {login}, who adds people by `tiergate user add`. If the password is lost: "
        "`tiergate user reset-password {login}`.",
        "已有管理员 {login}，可用 tiergate user add 添加用户；如密码遗失，请用 tiergate user reset-password {login}。",
    ),
    "cli.not_node_user": (
        "This is for the user {user} alone, whom the node's keys belong to: `sudo -u {user} tiergate …`.",
        "仅限节点密钥所属用户 {user} 执行：sudo -u {user} tiergate …。",
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
