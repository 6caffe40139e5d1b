"""Words for reasons that belong to no single room: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "internal": (
        "Something failed inside tiergate; it is in the log under {error_id}.",
        "系统内部出错，日志编号 {error_id}。",
    ),
    "settings.no_such_key": (
        "The settings have no key {key}; docs/reference/settings.md lists all of them.",
        "配置中没有 {key} 这一项；全部配置项见 docs/reference/settings.md。",
    ),
    "settings.unknown_key": (
        "The settings have no key {key}; did you mean {nearest}?",
        "配置中没有 {key} 这一项；是否想写 {nearest}？",
    ),
    "settings.bad_value": (
        "The setting {key} is not valid: {problem}.",
        "配置项 {key} 无效：{problem}。",
    ),
    "settings.plain_http": (
        "{key}.listen = {listen} is not loopback, and pictures and passwords do not go over plain HTTP: set {key}.tls_cert and {key}.tls_key (`tiergate init --listen` makes them), or {key}.allow_plain_http = true behind a TLS proxy.",
        "{key}.listen = {listen} 不是本机回环地址，画面与密码不得经明文 HTTP 传输：请设置 {key}.tls_cert 和 {key}.tls_key（tiergate init --listen 会自动生成），或在 TLS 代理之后设 {key}.allow_plain_http = true。",
    ),
    "clock.test_not_allowed": (
        "The settings name a test clock (clock.test_file) and do not allow it (clock.allow_test_clock). Neither belongs on a node in service.",
        "配置中指定了测试时钟（clock.test_file），但未允许使用（clock.allow_test_clock）。正式运行的节点不应设置这两项。",
    ),
    "clock.test_file_missing": (
        "The file of the test clock cannot be read: {path}",
        "无法读取测试时钟文件：{path}",
    ),
    "settings.file_missing": (
        "There is no settings file at {path}; run `tiergate init` first.",
        "找不到配置文件 {path}；请先运行 tiergate init。",
    ),
    "settings.file_unreadable": (
        "The settings file {path} cannot be read: {problem}.",
        "无法读取配置文件 {path}：{problem}。",
    ),
    "week.malformed": (
        "{text} is no window of the week; write for example: mon-fri 07:30-19:00, sat 08:00-12:00.",
        "{text} 不是有效的每周时段；例如：mon-fri 07:30-19:00, sat 08:00-12:00。",
    ),
    "id.camera_malformed": (
        "A camera id has 20 digits (GB/T 28181); {value} does not.",
        "摄像机编号须为 20 位数字（GB/T 28181），{value} 不符合。",
    ),
    "id.camera_type_unknown": (
        "Digits 11 to 13 of a camera id name its type; {type} in {value} is not a known one.",
        "摄像机编号第 11 至 13 位为类型码；{value} 中的 {type} 不是已知类型。",
    ),
    "id.region_malformed": (
        "A region code has 2, 4, 6, 9 or 12 significant digits; {value} does not.",
        "区划代码须为 2、4、6、9 或 12 位有效数字，{value} 不符合。",
    ),
    "time.malformed": (
        "{value} is not a time; write RFC 3339 with a zone (2026-11-24T15:20:00+08:00) or epoch milliseconds.",
        "{value} 不是有效时间；请使用带时区的 RFC 3339 格式（2026-11-24T15:20:00+08:00）或毫秒时间戳。",
    ),
    "time.month_malformed": (
        "{value} is no month; write for example 2026-11.",
        "{value} 不是有效的月份；例如：2026-11。",
    ),
    "time.range_empty": (
        "The range ends at or before its start.",
        "时间范围的结束时间不晚于开始时间。",
    ),
    "time.range_too_long": (
        "The range is longer than {limit_hours} h; ask for a shorter one.",
        "时间范围超过 {limit_hours} 小时；请缩短范围。",
    ),
    "duration.malformed": (
        "{value} is not a duration; write for example 30s, 15m, 2h or 7d.",
        "{value} 不是有效时长；请写成如 30s、15m、2h 或 7d。",
    ),
    "crypto.sealed_broken": (
        "A sealed secret cannot be opened: wrong key, or it was changed.",
        "无法打开已加密的内容：密钥不符或内容被改动。",
    ),
}
