"""Words for reasons of watching: live, playback, picture health: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "media.live_recorder_away": (
        "The recording process of this camera does not answer; trying again.",
        "该摄像机的录像进程没有响应，正在重试。",
    ),
    "media.live_only_sub": (
        "Your permission covers the small picture (sub stream) of this camera.",
        "您的权限仅限该摄像机的子码流画面。",
    ),
    "media.live_no_stream": (
        "This camera has no {stream} stream that you may see.",
        "该摄像机没有可供您查看的 {stream} 码流。",
    ),
    "media.live_other_stream": (
        "This camera has no {stream} stream; {served} is shown.",
        "该摄像机没有 {stream} 码流，显示 {served} 码流。",
    ),
    "media.live_other_codec": (
        "Your browser cannot decode the {stream} stream; {served} is shown.",
        "您的浏览器无法解码 {stream} 码流，显示 {served} 码流。",
    ),
    "media.live_transcoded": (
        "The picture is converted to H.264, because your browser cannot decode H.265.",
        "浏览器无法解码 H.265，画面已转换为 H.264。",
    ),
    "media.live_decodes_nothing": (
        "Your player names no picture format that tiergate can send (H.264, H.265).",
        "您的播放器未声明系统可提供的画面格式（H.264、H.265）。",
    ),
    "media.live_codec": (
        "The camera sends {codec}, which your browser cannot decode, and no converter is free.",
        "摄像机输出 {codec}，您的浏览器无法解码，且当前没有空闲的转码资源。",
    ),
    "media.live_transcode_busy": (
        "All converters are busy ({limit} at once); close another converted picture first.",
        "转码资源已用完（同时最多 {limit} 路），请先关闭其他转码画面。",
    ),
    "media.live_transcode_failed": (
        "The picture of this camera cannot be converted.",
        "该摄像机画面无法转码。",
    ),
    "media.live_whep_codec": (
        "WebRTC carries H.264 here; the camera sends {codec}. Use the WebSocket picture.",
        "WebRTC 仅支持 H.264，摄像机输出 {codec}，请使用 WebSocket 画面。",
    ),
    "media.live_whep_b_frames": (
        "The camera sends B-frames, which WebRTC cannot carry. Use the WebSocket picture.",
        "摄像机输出含 B 帧，WebRTC 无法传输，请使用 WebSocket 画面。",
    ),
    "media.live_whep_offer": (
        "The WebRTC offer cannot be answered.",
        "无法应答该 WebRTC 请求。",
    ),
    "media.live_whep_candidates": (
        "The WebRTC offer waits to be called, and none of its addresses may be ({refused} refused): only the viewer's own, and networks in live.allowed_networks. Offer as a full ICE agent, or add the viewer's network to live.allowed_networks in tiergate.toml and restart the node.",
        "该 WebRTC 请求等待对端连接，但其地址均不允许（已拒绝 {refused} 个）：仅允许观看者自身地址及 live.allowed_networks 内的网段。请改用完整 ICE 方式，或将观看者网段加入 tiergate.toml 的 live.allowed_networks，然后重启节点。",
    ),
    "media.live_whep_ports": (
        "No UDP port is free for a WebRTC picture (settings live.whep_port_min, live.whep_port_max).",
        "没有可用于 WebRTC 画面的 UDP 端口（配置 live.whep_port_min、live.whep_port_max）。",
    ),
    "media.live_whep_range": (
        "The settings live.whep_port_min ({lowest}) and live.whep_port_max ({highest}) do not form a range.",
        "配置 live.whep_port_min（{lowest}）与 live.whep_port_max（{highest}）不构成有效范围。",
    ),
    "media.live_whep_gone": (
        "There is no such WebRTC session here.",
        "没有这个 WebRTC 会话。",
    ),
    "media.live_no_picture": (
        "The camera sends no picture now; it came to nothing within {seconds} s.",
        "摄像机当前没有画面，{seconds} 秒内未收到图像。",
    ),
    "media.rtsp_changed": (
        "The camera's stream is coded in another way now; open it again.",
        "该摄像机码流的编码方式已改变，请重新打开。",
    ),
    "media.live_stream_name": (
        "A stream is main or sub; {value} is neither.",
        "码流只有 main 和 sub，{value} 无效。",
    ),
    "media.play_nothing": (
        "There is no footage of this camera in that time.",
        "该时段没有该摄像机的录像。",
    ),
    "media.play_no_picture_at": (
        "There is no picture of this camera at that time.",
        "该时刻没有该摄像机的图像。",
    ),
    "media.play_bytes_away": (
        "The footage is listed, but its bytes cannot be read now.",
        "录像有记录，但目前无法读取其内容。",
    ),
    "media.play_session_gone": (
        "This playback address has ended; open the playback again.",
        "该回放地址已失效，请重新打开回放。",
    ),
    "media.play_speed": (
        "The speed is a number from 0.25 to 64; {value} is not.",
        "倍速须为 0.25 至 64 之间的数字，{value} 无效。",
    ),
    "media.play_reason_short": (
        "State the reason of the export in at least {minimum} characters.",
        "请填写导出理由，至少 {minimum} 个字符。",
    ),
    "media.play_clip_too_long": (
        "A clip is at most {limit_minutes} min long; cut it into several.",
        "一个片段最长 {limit_minutes} 分钟，请分段导出。",
    ),
    "media.play_clip_mixed": (
        "The picture format changes inside that time at {at}; export up to it and from it on.",
        "该时段内画面格式在 {at} 发生变化，请以此为界分段导出。",
    ),
    "media.evidence_own_only": (
        "The camera {camera} belongs to a lower node: evidence of it is made there, by the node that recorded it.",
        "摄像机 {camera} 属于下级节点，证据包须由录制该录像的节点制作。",
    ),
    "media.evidence_not_yet": (
        "Footage is sealed up to {at} only: end there, or try again in a minute.",
        "录像目前仅封存至 {at}：请将结束时间设在此之前，或一分钟后再试。",
    ),
    "media.evidence_too_much": (
        "An evidence package holds at most {most} segments: choose a shorter time or fewer cameras.",
        "一个证据包最多包含 {most} 段录像：请缩短时间或减少摄像机。",
    ),
    "media.play_lower_away": (
        "The footage lies on the lower node, which cannot be reached now.",
        "录像存于下级节点，目前无法连接。",
    ),
    "media.play_worker_away": (
        "The process that decodes pictures does not answer; try again in a moment.",
        "图像解码进程没有响应，请稍后再试。",
    ),
    "media.play_undecodable": (
        "The picture cannot be decoded.",
        "该图像无法解码。",
    ),
    "media.mark_made": ("Exported {at}", "导出于 {at}"),
    "media.mark_case": ("Case {case}", "案件 {case}"),
    "media.mark_glyphs": (
        "The watermark cannot be drawn: no font of this machine has {characters}. Install one with Chinese characters (Debian: fonts-wqy-microhei, fonts-noto-cjk), or name one in clips.font.",
        "无法绘制水印：本机字体中没有“{characters}”。请安装中文字体（Debian：fonts-wqy-microhei、fonts-noto-cjk），或在配置 clips.font 中指定字体。",
    ),
    "media.mark_font": (
        "The watermark cannot be drawn: the font file {file} (setting clips.font) cannot be read.",
        "无法绘制水印：字体文件 {file}（配置 clips.font）无法读取。",
    ),
    "media.play_worker_request": (
        "The decoding process does not know this request.",
        "解码进程不支持该请求。",
    ),
    "media.health_black": (
        "The picture is black (mean brightness {mean} of 255).",
        "画面全黑（平均亮度 {mean}，满值 255）。",
    ),
    "media.health_frozen": (
        "The picture has not changed for {seconds} s.",
        "画面已 {seconds} 秒没有变化。",
    ),
}
