"""Words for reasons of the room "web": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "web.route_unknown": ("There is no such address here.", "没有这个地址。"),
    "web.method_unknown": ("This address does not take {method}.", "该地址不接受 {method} 请求。"),
    "web.body_too_large": ("The request is larger than {limit_bytes} bytes.", "请求超过 {limit_bytes} 字节。"),
    "web.body_malformed": ("The request is not valid at {field}: {problem}.", "请求的 {field} 无效：{problem}。"),
    "web.origin": (
        "The request comes from another site ({origin}).",
        "请求来自其他站点（{origin}）。",
    ),
    "web.refused": ("The request is refused (HTTP {status}).", "请求被拒绝（HTTP {status}）。"),
    "web.unavailable": ("The catalog does not answer now; try again.", "目录数据库暂时无响应，请重试。"),
    "web.cursor": ("The cursor is not one of this list.", "分页游标无效。"),
    "web.part_missing": ("This part of the node is not running: {part}.", "本节点的该部分未运行：{part}。"),
    "web.url_credentials": (
        "Write user name and password into their own fields, not both there and in the address.",
        "用户名和口令请填写在各自字段中，不要同时写在地址里。",
    ),
    "web.camera_source": (
        "Give either an rtsp:// address (url) or an ONVIF device (onvif).",
        "请填写 rtsp:// 地址（url）或 ONVIF 设备（onvif），二者其一。",
    ),
}
