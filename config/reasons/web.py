"""Words for reasons of the room "web": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "web.route_unknown": ("There is no such address here.", "没有这个地址。"),
    "web.method_unknown": ("This address does not take {method}.", "该地址不接受 {method} 请求。"),
    "web.body_too_large": ("The request is larger than {limit_bytes} bytes.", "请求超过 {limit_bytes} 字节。"),
    "web.body_malformed": ("The request is not valid at {field}.", "请求的 {field} 无效。"),
    "web.body_malformed.missing": ("{field} is missing.", "缺少 {field}。"),
    "web.body_malformed.unknown": ("There is no field {field} here.", "没有 {field} 这个字段。"),
    "web.body_malformed.too_long": ("{field} is too long; the limit is {limit}.", "{field} 过长，上限为 {limit}。"),
    "web.body_malformed.too_short": (
        "{field} is too short or empty; at least {limit}.",
        "{field} 过短或为空，至少为 {limit}。",
    ),
    "web.body_malformed.too_large": ("{field} may be at most {limit}.", "{field} 不得大于 {limit}。"),
    "web.body_malformed.too_small": ("{field} must be at least {limit}.", "{field} 不得小于 {limit}。"),
    "web.body_malformed.choice": ("{field} must be one of: {choices}.", "{field} 只能是以下之一：{choices}。"),
    "web.body_malformed.type": (
        "{field} is not of the right kind: {wanted} is wanted.",
        "{field} 类型不符，应为 {wanted}。",
    ),
    "web.body_malformed.controls": (
        "{field} contains invisible or control characters; take them out.",
        "{field} 含有不可见字符或控制字符，请删除。",
    ),
    "web.body_malformed.time": (
        "{field} is not a time; write RFC 3339 with a zone (2026-11-24T15:20:00+08:00) or epoch milliseconds.",
        "{field} 不是有效时间；请使用带时区的 RFC 3339 格式（2026-11-24T15:20:00+08:00）或毫秒时间戳。",
    ),
    "web.body_malformed.json": ("The body is not JSON.", "请求正文不是 JSON。"),
    "web.origin": (
        "The request comes from another site ({origin}).",
        "请求来自其他站点（{origin}）。",
    ),
    "web.too_many_requests": (
        "Too many requests at once; wait {seconds} s.",
        "请求过于频繁，请等待 {seconds} 秒。",
    ),
    "web.too_many_listening": (
        "More than {limit} windows listen for what changes under this name already; this one asks by itself.",
        "该身份已有超过 {limit} 个窗口在接收变更通知，本窗口将自行轮询。",
    ),
    "web.refused": ("The request is refused (HTTP {status}).", "请求被拒绝（HTTP {status}）。"),
    "web.unavailable": ("The catalog does not answer now; try again.", "目录数据库暂时无响应，请重试。"),
    "web.cursor": ("The cursor is not one of this list.", "分页游标无效。"),
    "web.no_ptz": ("This camera cannot be steered.", "该摄像机不支持云台控制。"),
    "web.part_missing": ("This part of the node is not running: {part}.", "本节点的该部分未运行：{part}。"),
    # --- why there is no footage
    "web.gap.camera_offline": ("The camera did not answer.", "摄像机无响应。"),
    "web.gap.network": ("The network to the camera was interrupted.", "到摄像机的网络中断。"),
    "web.gap.credentials": ("The camera refused the account.", "摄像机拒绝了账号。"),
    "web.gap.unsupported": ("The camera sent what cannot be recorded.", "摄像机发送的内容无法录制。"),
    "web.gap.recorder_down": ("The recorder was not running.", "录像进程未运行。"),
    "web.gap.disk_full": ("The disk was full.", "磁盘已满。"),
    "web.gap.disk_slow": ("The disk could not keep up.", "磁盘写入过慢。"),
    "web.gap.clock": ("The clock jumped.", "时钟发生跳变。"),
    "web.gap.disabled": ("The camera was switched off here.", "摄像机在本系统中已停用。"),
    "web.gap.shed": (
        "Not recorded: while the disk was short, only more important cameras were.",
        "未录像：磁盘空间不足期间只录制更重要的摄像机。",
    ),
    "web.gap.damaged": ("The footage is damaged.", "录像已损坏。"),
    "web.gap.unknown": ("The cause is not known.", "原因不明。"),
    "web.expired": ("Its retention time is over; it has been deleted.", "保存期已满，录像已删除。"),
    "web.outside_share": ("Your share does not include this time.", "您的授权不包括该时段。"),
    "web.url_credentials": (
        "Write user name and password into their own fields, not both there and in the address.",
        "用户名和口令请填写在各自字段中，不要同时写在地址里。",
    ),
    "web.camera_source": (
        "Give either an rtsp:// address (url) or an ONVIF device (onvif).",
        "请填写 rtsp:// 地址（url）或 ONVIF 设备（onvif），二者其一。",
    ),
}
