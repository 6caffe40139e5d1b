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
    # -- asked of the recorder of a camera's owner
    "camera.no_recordings": (
        "The device at {address} offers no search for recordings (ONVIF Profile G): it cannot be asked what it has.",
        "{address} 的设备不提供录像检索（ONVIF Profile G），无法查询其录像。",
    ),
    "camera.owner_search_unfinished": (
        "The device at {address} does not come to the end of its list of recordings.",
        "{address} 的设备未能给出完整的录像列表。",
    ),
    "camera.owner_no_onvif": (
        "The camera has no ONVIF address of a recorder; register it through its owner's recorder to have it asked.",
        "该摄像机没有录像机的 ONVIF 地址；须通过权属单位的录像机登记后方可核查。",
    ),
    "camera.owner_login_rests": (
        "The recorder has refused this account; so that it is not locked, it is asked again in {minutes} min.",
        "录像机已拒绝该账号；为免锁定，{minutes} 分钟后再试。",
    ),
    "camera.owner_not_told_apart": (
        "The recorder has {count} recordings, and which of them is this camera's cannot be told.",
        "录像机有 {count} 路录像，无法判断哪一路属于该摄像机。",
    ),
    "camera.owner_lists_nothing": (
        "The recorder lists no footage of this camera at all.",
        "录像机中没有该摄像机的任何录像。",
    ),
    "camera.owner_lists": (
        "The recorder lists footage from {from} to {to} only.",
        "录像机仅有 {from} 至 {to} 的录像。",
    ),
    "camera.owner_no_replay": (
        "The recorder lists footage of that time, but offers no replay by which it could be seen to come.",
        "录像机列出了该时刻的录像，但不提供回放，无法核实。",
    ),
    "camera.owner_replay_silent": (
        "The recorder does not answer when it is asked to replay.",
        "请求回放时录像机无应答。",
    ),
    "camera.owner_replay_cleartext": (
        "For replay the recorder wants the password in the clear; it is not sent.",
        "录像机回放要求明文密码，未予发送。",
    ),
    "camera.owner_replay_range": (
        "The recorder lists footage of that time, and refuses to replay it (status {status}).",
        "录像机列出了该时刻的录像，却拒绝回放（状态 {status}）。",
    ),
    "camera.owner_replay_refused": (
        "The recorder refuses replay ({method}: status {status}).",
        "录像机拒绝回放（{method}：状态 {status}）。",
    ),
    "camera.owner_replay_no_video": (
        "What the recorder offers to replay has no video.",
        "录像机可回放的内容中没有视频。",
    ),
    "camera.owner_replay_nothing": (
        "The recorder lists footage of that time and starts to replay it, but no video comes.",
        "录像机列出了该时刻的录像并开始回放，但没有视频。",
    ),
    "camera.owner_replay_unstamped": (
        "Video comes, but the recorder does not say of which time: it might be the live picture.",
        "有视频传来，但录像机未标明其时间，可能是实时画面。",
    ),
    "camera.owner_replay_elsewhere": (
        "The recorder lists footage of that time, but replays footage of {at}.",
        "录像机列出了该时刻的录像，回放的却是 {at} 的录像。",
    ),
    "camera.owner_replay_present": (
        "Video of that time comes ({bytes} bytes were looked at).",
        "该时刻的视频可以回放（已核查 {bytes} 字节）。",
    ),
}
