"""Words for reasons of the room "camera": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    # -- addresses (networks and names: config.reasons.device)
    "camera.scheme_refused": (
        "Only rtsp:// and rtsps:// addresses are taken, not {scheme}://.",
        "只接受 rtsp:// 和 rtsps:// 地址，不接受 {scheme}://。",
    ),
    # -- why a stream is away
    "camera.refused": (
        "The camera's address refuses the connection.",
        "摄像机地址拒绝连接。",
    ),
    "camera.unreachable": (
        "There is no way to the camera's address in the network.",
        "网络无法到达摄像机地址。",
    ),
    "camera.timeout": (
        "The camera does not answer in time.",
        "摄像机未在规定时间内应答。",
    ),
    "camera.silent": (
        "The connection stands, but no picture has come for {seconds} s.",
        "连接仍在，但已有 {seconds} 秒没有收到画面。",
    ),
    "camera.redirected": (
        "What answers there sends us on to another address; register the camera under that address if it is the right one.",
        "该地址的应答方要求转到另一地址；如该地址正确，请以该地址登记摄像机。",
    ),
    "camera.ended": (
        "The camera ended the stream.",
        "摄像机中断了视频流。",
    ),
    "camera.bad_login": (
        "The camera refuses the user name or password.",
        "摄像机拒绝了用户名或密码。",
    ),
    "camera.stream_not_found": (
        "The camera answers, but has no such stream.",
        "摄像机有应答，但没有这一路视频流。",
    ),
    "camera.not_video": (
        "What answers there is not a video stream.",
        "该地址返回的不是视频流。",
    ),
    "camera.no_video": (
        "The stream has no video.",
        "该流中没有视频。",
    ),
    "camera.codec_unsupported": (
        "The video codec {codec} is not supported; set the camera to H.264 or H.265.",
        "不支持视频编码 {codec}；请把摄像机设为 H.264 或 H.265。",
    ),
    "camera.no_parameter_sets": (
        "The stream never says how its pictures are coded.",
        "视频流始终没有给出编码参数。",
    ),
    "camera.failed": (
        "The stream failed: {problem}",
        "视频流出错：{problem}",
    ),
    "camera.crashed": (
        "The camera's stream crashes the library that receives it; it has a recorder of its own now.",
        "该摄像机的视频流会使接收程序崩溃；现已单独使用一个录像进程。",
    ),
    "camera.no_credential": (
        "The camera's sealed account cannot be opened with this node's keys.",
        "无法用本节点的密钥打开该摄像机的账号。",
    ),
    "camera.no_stream": (
        "The camera has no {stream} stream.",
        "该摄像机没有 {stream} 码流。",
    ),
    "camera.not_here": (
        "This recorder does not serve that camera.",
        "该录像进程不负责这台摄像机。",
    ),
    "camera.disabled": (
        "The camera is switched off in the register.",
        "该摄像机已在登记中停用。",
    ),
    # -- what a stream that is there does badly
    "camera.gop_long": (
        "Key frames are {seconds} s apart: viewing, clips and files can begin nowhere else. Switch off the camera's smart codec or set one key frame each 1 to 4 s.",
        "关键帧间隔达 {seconds} 秒：查看、剪辑和录像文件只能从关键帧开始。请关闭摄像机的智能编码，或将关键帧间隔设为 1 至 4 秒。",
    ),
    "camera.outside_schedule": (
        "The camera is not recorded at this time of the week.",
        "该摄像机在每周的此时段不录像。",
    ),
    "camera.owner_records": (
        "The camera is recorded by its owner.",
        "该摄像机由其产权单位录像。",
    ),
    # -- why footage is missing although the camera may be there
    "recorder.was_down": (
        "The recorder was not running.",
        "录像进程未运行。",
    ),
    "recorder.first_picture": (
        "The camera had just been registered or switched on: its first picture was not there yet.",
        "摄像机刚登记或刚启用，第一帧画面尚未到达。",
    ),
    "recorder.camera_changed": (
        "The camera's address or account was changed; the connection is made anew.",
        "摄像机的地址或账号已更改，正在重新连接。",
    ),
    "recorder.clock_step": (
        "The machine's clock jumped forward: nothing was recorded under these times.",
        "本机时钟向前跳变：这段时间内没有录像。",
    ),
    "recorder.clock_unknown": (
        "The machine did not know the time here; what it recorded then has been moved to its true time.",
        "本机当时不知道正确时间；其间的录像已移到真实时间。",
    ),
    "recorder.disk_full": (
        "The spool's disk is full.",
        "缓存盘已满。",
    ),
    "recorder.disk_slow": (
        "The spool's disk does not keep up.",
        "缓存盘写入跟不上。",
    ),
    "recorder.disk_broken": (
        "The spool's disk reports an error: {problem}",
        "缓存盘报错：{problem}",
    ),
    "recorder.shed": (
        "Free space is low ({free_percent} %): only key areas are recorded.",
        "剩余空间不足（{free_percent}%）：只录制重点区域。",
    ),
    "recorder.stopped_sending": (
        "The camera sent no usable picture for a while.",
        "摄像机有一段时间没有送来可用画面。",
    ),
    # -- processes
    "process.lock_held": (
        "Another tiergate is already running on this data folder ({lock}).",
        "该数据目录上已有 tiergate 在运行（{lock}）。",
    ),
    "process.address_in_use": (
        "Cannot listen on {listen}: {problem}",
        "无法监听 {listen}：{problem}",
    ),
    "process.child_unknown": (
        "There is no child process called {name}.",
        "没有名为 {name} 的子进程。",
    ),
}
