"""Words for reasons about devices, their addresses and ONVIF: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "camera.address_unresolvable": (
        "The host {host} cannot be found; check the name, or give its IP address.",
        "找不到主机 {host}；请检查名称或直接填写 IP 地址。",
    ),
    "camera.address_not_allowed": (
        "{host} is not in the networks where cameras may be ({networks}). If a camera is there, add its network to cameras.allowed_networks in tiergate.toml and restart the node.",
        "{host} 不在允许的摄像机网段（{networks}）内。如摄像机确在该处，请将其网段加入 tiergate.toml 的 cameras.allowed_networks，然后重启节点。",
    ),
    "camera.url_malformed": (
        "{url} is not a camera address; write rtsp://host[:port]/path.",
        "{url} 不是有效的摄像机地址；请写成 rtsp://主机[:端口]/路径。",
    ),
    "camera.onvif_unreachable": (
        "No ONVIF device answers at {address} ({problem}).",
        "{address} 没有 ONVIF 设备响应（{problem}）。",
    ),
    "camera.onvif_credentials": (
        "The ONVIF device at {address} refuses this user name and password (device clock off by {offset_s} s).",
        "{address} 的 ONVIF 设备拒绝该用户名和密码（设备时钟相差 {offset_s} 秒）。",
    ),
    "camera.onvif_no_stream": (
        "The ONVIF device at {address} offers no H.264 or H.265 stream.",
        "{address} 的 ONVIF 设备没有可用的 H.264 或 H.265 码流。",
    ),
    "camera.onvif_channels": (
        "The device at {address} has {count} channels; name one with --channel: {channels}.",
        "{address} 的设备有 {count} 个通道；请用 --channel 指定其一：{channels}。",
    ),
    "camera.onvif_channel_unknown": (
        "The device at {address} has no channel {channel}; it has {channels}.",
        "{address} 的设备没有通道 {channel}；可用通道：{channels}。",
    ),
    "camera.ptz_absent": (
        "This camera cannot be steered.",
        "该摄像机不支持云台控制。",
    ),
    "camera.factory_account": (
        "Camera {camera} has the account with which its maker delivers it, or no password: whoever reaches the camera can watch.",
        "摄像机 {camera} 仍使用出厂账号或空密码，任何能访问该设备的人都可观看。",
    ),
    "camera.factory_account_next": (
        "Set another password on the device, then here: `tiergate camera set {camera} --username … --password-stdin`.",
        "请先在设备上更改密码，再执行 tiergate camera set {camera} --username … --password-stdin。",
    ),
    "camera.factory_account_none": (
        "No camera has an account known from a factory.",
        "没有摄像机使用已知的出厂账号。",
    ),
    "camera.bad_firmware": (
        "Camera {camera} ({model}) runs firmware {firmware}, which has faults that are exploited today: {faults}.",
        "摄像机 {camera}（{model}）的固件 {firmware} 存在已被实际利用的漏洞：{faults}。",
    ),
    "camera.bad_firmware_next": (
        "Install the maker's newer firmware ({source}), then let the node ask the device again: `tiergate camera probe ADDRESS --username … --password-stdin`.",
        "请安装厂商的新固件（{source}），然后让节点重新查询设备：tiergate camera probe 地址 --username … --password-stdin。",
    ),
    "camera.bad_firmware_none": (
        "No camera is known to run firmware that is exploited.",
        "没有摄像机运行已知被利用的固件。",
    ),
    "camera.ptz_failed": (
        "The camera did not carry out the movement ({problem}).",
        "摄像机未执行云台动作（{problem}）。",
    ),
}
