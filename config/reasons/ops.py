"""Words for what `doctor` and the work on a whole store find, each with its next step: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    # --- store and audit by hand ---
    "ops.store_findings": (
        "{count} object(s) or row(s) do not fit together.",
        "有 {count} 个对象或记录互不相符。",
    ),
    "ops.store_level": (
        "{level} is no level of a check; there are presence, size and hash.",
        "没有检查级别 {level}；可用的有 presence、size、hash。",
    ),
    "ops.store_many_missing": (
        "{count} of {rows} rows have no object: that is not a lost disk but the wrong store, or one that is not mounted. Nothing was given up. If it is true, say how many with --confirm.",
        "{rows} 条记录中有 {count} 条没有对象：更可能是存储指错或未挂载，未作任何放弃。若属实，请用 --confirm 注明数量。",
    ),
    # --- moving to another store ---
    "ops.move_same": ("That is the store that the node uses already.", "这正是节点当前使用的存储。"),
    "ops.move_running": (
        "The node is running; stop it for the switch. Copying without --switch may run beside it.",
        "节点正在运行；切换前请先停止。不带 --switch 的复制可与节点同时进行。",
    ),
    "ops.move_cache": (
        "The temporary cache still has {count} object(s) of lower tiers, which are not moved: end their leases first.",
        "临时缓存中还有 {count} 个下级对象，不会迁移：请先结束相应租约。",
    ),
    "ops.move_wrong": (
        "{count} object(s) in the new store are not what was recorded, first {key}; the node keeps its store.",
        "新存储中有 {count} 个对象与录制不符（首个 {key}）；节点仍使用原存储。",
    ),
    "ops.move_unreadable": (
        "The old store does not give {count} object(s), first {key}; the node keeps its store. Mend it and run this again, or leave them behind with --leave-unreadable: `tiergate store check` names them afterwards.",
        "原存储有 {count} 个对象无法读出（首个 {key}）；节点仍使用原存储。请修复后重试，或用 --leave-unreadable 舍下它们：之后 `tiergate store check` 会列出。",
    ),
    "ops.audit_file_missing": (
        "--key, --against and --witness judge an exported FILE: name it (`tiergate audit export FILE` makes one).",
        "--key、--against 和 --witness 用于核验导出文件，请给出 FILE（可用 tiergate audit export FILE 导出）。",
    ),
    "ops.audit_key": ("The key is not base64url of 32 bytes.", "密钥不是 32 字节的 base64url。"),
    "ops.audit_witness_key": (
        "--witness needs --key: the public key of the node whose log FILE is.",
        "--witness 须同时给出 --key：FILE 所属节点的公钥。",
    ),
    "ops.audit_anchors": (
        "{path} holds no signed checkpoint of an audit log, or other lines than these.",
        "{path} 中没有审计日志的签名检查点，或含有其他内容。",
    ),
    "ops.audit_export_bad": (
        "The exported log is not whole ({problem}).",
        "导出的日志不完整（{problem}）。",
    ),
    "ops.package_bad": ("This is not what a node signed: {problem}.", "与节点签署的内容不符：{problem}。"),
    # --- doctor ---
    "ops.check_failed": ("The check {check} itself failed ({problem}).", "检查项 {check} 自身失败（{problem}）。"),
    "ops.check_failed_next": ("See the other lines first; they may say why.", "请先处理其他各项，原因可能在其中。"),
    # --- doctor: the machine ---
    "ops.settings_ok": ("The settings are valid.", "配置有效。"),
    "ops.settings_plain": (
        "{section} serves plain HTTP on {listen}: a TLS proxy must stand in front of it.",
        "{section} 在 {listen} 上提供明文 HTTP：前面必须有 TLS 代理。",
    ),
    "ops.rtsp_plain": (
        "RTSP leaves {listen} without encryption: pictures can be watched by whoever shares the line.",
        "RTSP 在 {listen} 上未加密：同一线路上的他人可看到画面。",
    ),
    "ops.rtsp_plain_next": (
        "Set rtsp.tls_listen and give readers its rtsps address, then take rtsp.listen away; where a reader knows no "
        "TLS, keep rtsp.listen to a network of its own.",
        "请设置 rtsp.tls_listen 并改用 rtsps 地址，然后去掉 rtsp.listen；读取方不支持 TLS 时，请将 rtsp.listen 限于专用网络。",
    ),
    "ops.settings_plain_next": (
        "Set tls_cert and tls_key, or make sure that only the proxy reaches this address.",
        "请设置 tls_cert 与 tls_key，或确保只有代理能访问该地址。",
    ),
    "ops.folders_ok": ("All folders are there and writable.", "各目录存在且可写。"),
    "ops.folder_missing": ("The folder of {what} does not exist.", "{what} 目录不存在。"),
    "ops.folder_readonly": ("The folder of {what} is not writable for {user}.", "{user} 无法写入 {what} 目录。"),
    "ops.folder_next": (
        "Run `tiergate init` for a new node; else mount the volume or give the service's user the folder ({folder}).",
        "新节点请运行 tiergate init；否则请挂载卷，或将目录（{folder}）交给服务用户。",
    ),
    "ops.keys_ok": ("The keys are there and nobody else can read them.", "密钥齐全且他人不可读。"),
    "ops.keys_next": (
        "Restore the keys from their own backup, or `chmod 600` them: {folder}.",
        "请从密钥备份恢复，或对其执行 chmod 600：{folder}。",
    ),
    "ops.keys_half": (
        "The exchange of {key} was broken off; until it is finished both keys are in use.",
        "{key} 的更换中断，完成前新旧密钥同时使用。",
    ),
    "ops.keys_half_next": ("Finish it: `{command}`.", "请完成更换：{command}。"),
    "ops.catalog_ok": ("The catalog answers; schema {revision}.", "目录数据库正常，模式版本 {revision}。"),
    "ops.catalog_missing": (
        "The catalog is missing, or an empty one is in its place: do not start the node; restore the backup or run "
        "`tiergate store rebuild`.",
        "目录数据库缺失，或被空库取代：请勿启动节点；请恢复备份，或运行 tiergate store rebuild。",
    ),
    "ops.catalog_old": (
        "The catalog has schema {revision}; this version needs {head}.",
        "目录数据库模式为 {revision}，本版本需要 {head}。",
    ),
    "ops.catalog_away": ("The catalog does not answer ({problem}).", "目录数据库没有响应（{problem}）。"),
    "ops.catalog_next": (
        "See that its disk is mounted, or its server runs. If it is lost or broken: `tiergate restore FILE --replace`; without "
        "a backup put a broken file aside and run `tiergate store rebuild`. Only then start the node.",
        "请确认其磁盘已挂载或数据库服务器在运行。若已丢失或损坏：运行 tiergate restore 文件 --replace；"
        "没有备份时，请移走损坏的文件并运行 tiergate store rebuild。之后才可启动节点。",
    ),
    "ops.catalog_old_next": (
        "`tiergate serve` brings it up to date at its start, or `tiergate upgrade` beforehand.",
        "tiergate serve 启动时会自动升级，也可事先运行 tiergate upgrade。",
    ),
    "ops.disk_ok": ("{volume}: {percent} % free ({free_gb} GB).", "{volume}：剩余 {percent}%（{free_gb} GB）。"),
    "ops.disk_low": (
        "{volume}: only {percent} % free ({free_gb} GB); new non-key footage is not admitted.",
        "{volume}：仅剩 {percent}%（{free_gb} GB）；不再接收新的非重点录像。",
    ),
    "ops.disk_critical": (
        "{volume}: {percent} % free ({free_gb} GB); no footage is admitted.",
        "{volume}：剩余 {percent}%（{free_gb} GB）；已停止接收录像。",
    ),
    "ops.disk_next": (
        "Add space; `tiergate retention plan` says what goes by itself and when. Nothing is deleted before its time.",
        "请扩容；retention plan 会说明哪些录像何时到期。未到期的不会删除。",
    ),
    "ops.disk_silent": (
        "{volume}: the disk at {folder} does not answer; whatever asks it hangs.",
        "{volume}：{folder} 所在磁盘无响应，访问它的操作都会卡住。",
    ),
    "ops.disk_silent_next": (
        "Look at the kernel's log (`dmesg`), at the disk and its cable, or at the server of a network mount. What lies on "
        "it waits, the other disks are used meanwhile; programs that hang on it end when it answers or is unmounted by "
        "force. Do not delete anything.",
        "请查看内核日志（dmesg）、磁盘及其连接，或网络挂载的服务器。其上的内容会等待，其间使用其他磁盘；磁盘恢复响应或被强制卸载后，卡住的程序即会结束。请勿删除任何内容。",
    ),
    "ops.volume_trouble": (
        "{volume}: no footage is written to this disk: {problem}",
        "{volume}：录像未写入该磁盘：{problem}",
    ),
    "ops.volume_next": (
        "Mount the right disk at {folder} and look at its health; cameras come back to it by themselves. A new disk "
        "needs a new folder name in paths.spool or paths.extra_spools. Do not delete anything.",
        "请在 {folder} 挂载正确的磁盘并检查其状态，摄像机会自动恢复写入。更换新磁盘须在 paths.spool 或 paths.extra_spools 中使用新的目录名。请勿删除任何内容。",
    ),
    "ops.store_ok": ("The store answers.", "存储正常。"),
    "ops.store_bad": ("The store does not work: {problem}", "存储不可用：{problem}"),
    "ops.store_next": (
        "The spool keeps what is recorded meanwhile. Check the store's service, address, keys and bucket ({where}).",
        "其间录像保存在缓冲区。请检查存储的服务、地址、密钥与存储桶（{where}）。",
    ),
    "ops.clock_store_far": (
        "The clock is {offset_s} s away from the store's.",
        "时钟与存储服务器相差 {offset_s} 秒。",
    ),
    "ops.clock_test": (
        "This node runs on a test clock ({file}): what it records and deletes goes by a time that somebody sets.",
        "本节点使用测试时钟（{file}）：录制与删除均以人为设定的时间为准。",
    ),
    "ops.clock_test_next": (
        "Take the section [clock] out of the settings and restart.",
        "请从配置中删除 [clock] 一节并重启。",
    ),
    "ops.clock_ok": ("The clock is synchronised.", "时钟已同步。"),
    "ops.clock_trusted": (
        "The clock is trusted by setting (retention.clock_source), not by proof: for a laboratory only.",
        "时钟按配置（retention.clock_source）视为可信，未经证实：仅限实验环境。",
    ),
    "ops.clock_unproven": (
        "The kernel does not say that the clock is synchronised.",
        "内核未确认时钟已同步。",
    ),
    "ops.clock_next": (
        "Start chrony or systemd-timesyncd; until then recording goes on and nothing is deleted after a restart.",
        "请启动 chrony 或 systemd-timesyncd；在此之前录像照常，但重启后不会删除任何录像。",
    ),
    "ops.fonts_ok": ("Watermarks in clips can be drawn in Chinese.", "片段中的水印可以绘制中文。"),
    "ops.fonts_lack": (
        "No font of this machine has {characters}: a clip whose watermark needs such characters is refused.",
        "本机字体中没有“{characters}”：水印需要这些字符的片段将无法导出。",
    ),
    "ops.fonts_next": (
        "Install a font with Chinese characters (Debian: fonts-wqy-microhei or fonts-noto-cjk), or name a font file in clips.font.",
        "请安装中文字体（Debian：fonts-wqy-microhei 或 fonts-noto-cjk），或在 clips.font 中指定字体文件。",
    ),
    "ops.page_ok": ("The page is complete.", "页面文件完整。"),
    "ops.page_missing": ("The page lacks {file}.", "页面缺少 {file}。"),
    "ops.page_next": ("Install tiergate again.", "请重新安装 tiergate。"),
    "ops.port_ok": ("{section}: {listen} answers.", "{section}：{listen} 正常。"),
    "ops.port_free": (
        "{section}: {listen} is free for `tiergate serve`.",
        "{section}：{listen} 空闲，可供 tiergate serve 使用。",
    ),
    "ops.port_taken": (
        "{section}: another program listens on {listen}.",
        "{section}：{listen} 已被其他程序占用。",
    ),
    "ops.port_silent": ("{section}: nothing answers on {listen}.", "{section}：{listen} 没有响应。"),
    "ops.port_next": (
        "Find it with `ss -ltnp`, or set another address in the settings.",
        "请用 ss -ltnp 查找，或在配置中改用其他地址。",
    ),
    "ops.node_down": ("The node is not running.", "节点未运行。"),
    "ops.node_down_next": ("Start it: `tiergate serve`, or the system service.", "请启动：tiergate serve 或系统服务。"),
    "ops.processes_ok": ("All {count} processes show signs of life.", "全部 {count} 个进程运行正常。"),
    "ops.process_silent": ("{name} shows no sign of life.", "进程 {name} 没有运行迹象。"),
    "ops.process_lags": (
        "The event loop of {name} was late by {lag_s} s.",
        "进程 {name} 的事件循环曾延迟 {lag_s} 秒。",
    ),
    "ops.process_lags_next": (
        "The machine is short of processor time, or a disk holds it up: look at its load.",
        "本机处理器不足或受磁盘拖慢：请查看负载。",
    ),
    "ops.recorded_time_held": (
        "Recorder {shard} dates footage {held_s} s ahead of this machine's clock, which was set back over recorded footage.",
        "录像进程 {shard} 的录像时间比本机时钟超前 {held_s} 秒：时钟曾被回拨到已有录像的时间。",
    ),
    "ops.recorded_time_next": (
        "Let chrony or systemd-timesyncd synchronise the clock: footage of the doubtful time is then put right by itself.",
        "请用 chrony 或 systemd-timesyncd 同步时钟：存疑时段的录像随后会自动更正。",
    ),
    "ops.process_next": (
        "The supervisor starts it again; if it stays so, read the node's log for {name}.",
        "监管进程会重启它；若持续如此，请查看节点日志中 {name} 的记录。",
    ),
    "ops.certificate_ok": (
        "{section}: the certificate is valid for {days} more days.",
        "{section}：证书还有 {days} 天有效。",
    ),
    "ops.certificate_ends": (
        "{section}: the certificate ends in {days} day(s).",
        "{section}：证书将在 {days} 天后到期。",
    ),
    "ops.certificate_bad": (
        "{section}: the certificate cannot be read.",
        "{section}：无法读取证书。",
    ),
    "ops.certificate_next": (
        "Put a new certificate and its key in place: they are taken up without a start, and linked nodes learn of the relay's by themselves (`tiergate link certificate`).",
        "请将新证书及私钥放到原位：无需重启即会采用，链路节点会自动得知中继的新证书（tiergate link certificate）。",
    ),
    "ops.certificate_waits": (
        "The relay's next certificate was announced {hours} h ago, and {name} does not know it yet: the one before stays until it does.",
        "中继的新证书已公布 {hours} 小时，{name} 仍不知道：在其得知之前继续使用旧证书。",
    ),
    "ops.certificate_waits_next": (
        "It learns of it when it calls. If it will not call again, `tiergate link remove` it, or end the waiting with `tiergate link rotate-certificate --finish --force` and pair it again.",
        "该节点再次连接时会得知。若不会再连接，请用 tiergate link remove 移除，或用 tiergate link rotate-certificate --finish --force 不再等待，之后重新对接。",
    ),
    "ops.certificate_behind": (
        "{name} does not know the certificate that the relay shows, and cannot connect.",
        "{name} 不知道中继正在使用的证书，无法连接。",
    ),
    "ops.certificate_behind_next": (
        "Pair it again (`tiergate link invite`, `link accept` there): the link and its leases stay.",
        "请重新对接（本节点 tiergate link invite，对方 link accept）：链路与租约保留。",
    ),
    # --- doctor: what the catalog knows ---
    "ops.cameras_ok": ("{count} camera(s) are recorded; all send pictures.", "{count} 台摄像机在录，均有画面。"),
    "ops.cameras_none": ("No camera is registered yet.", "尚未登记摄像机。"),
    "ops.cameras_none_next": ("Register one: `tiergate camera add rtsp://…`", "请登记：tiergate camera add rtsp://…"),
    "ops.camera_offline": (
        "Camera {camera} ({name}) sends nothing: {cause}.",
        "摄像机 {camera}（{name}）无画面：{cause}。",
    ),
    "ops.camera_next": (
        "`tiergate camera show {camera}` says more; check power, network and account of the device.",
        "运行 tiergate camera show {camera} 查看详情；请检查设备供电、网络与账号。",
    ),
    "ops.camera_gop_long": (
        "Camera {camera} ({name}) sends a key frame each {seconds} s only.",
        "摄像机 {camera}（{name}）每 {seconds} 秒才发送一个关键帧。",
    ),
    "ops.camera_gop_next": (
        "Switch off the camera's smart codec (H.264+, H.265+), or set its key frame interval to 1 to 4 s.",
        "请关闭摄像机的智能编码（H.264+、H.265+），或将关键帧间隔设为 1 至 4 秒。",
    ),
    "ops.picture_bad": (
        "Camera {camera} ({name}): the picture is {verdict}.",
        "摄像机 {camera}（{name}）：画面 {verdict}。",
    ),
    "ops.picture_next": ("Look at it on the wall; clean or repair the lens.", "请在监看墙上查看；清洁或维修镜头。"),
    "ops.recorders_ok": (
        "No thread of a recorder hangs.",
        "录像进程中没有卡住的线程。",
    ),
    "ops.threads_hung": (
        "{count} threads of recorders hang and do not end.",
        "录像进程中有 {count} 个线程卡住且无法结束。",
    ),
    "ops.threads_hung_next": (
        "The log names the cameras; restarting tiergate frees the threads.",
        "日志中有相应摄像机；重启 tiergate 可释放这些线程。",
    ),
    "ops.changes_dropped": (
        "{count} change(s) of recorders have not come into the catalog and will not: it was away too long, or does not "
        "take them.",
        "录像进程有 {count} 条变更未写入目录库且不会再写入：目录库离线过久，或拒绝接收。",
    ),
    "ops.changes_dropped_next": (
        "See that the catalog answers, then restart tiergate: footage without its row is taken up from the spool at the "
        "start. Gaps of that time may lack their cause; the log says when it was.",
        "请确认目录库可用，然后重启 tiergate：启动时会从缓冲区补录没有记录的录像。该时段的缺失可能没有原因，具体时间见日志。",
    ),
    "ops.camera_alone": (
        "Camera {camera} made its recorder crash and has one of its own now.",
        "摄像机 {camera} 曾使录像进程崩溃，现已单独使用一个录像进程。",
    ),
    "ops.camera_alone_next": (
        "Set the camera to another codec or stream: tiergate camera set {camera} --url …; then look at its gaps.",
        "请更换该摄像机的编码或码流：tiergate camera set {camera} --url …，再查看其缺口。",
    ),
    "ops.gaps_ok": ("No gap is open.", "当前没有录像中断。"),
    "ops.gaps_open": ("{count} gap(s) are open with the cause {cause}.", "有 {count} 处录像中断，原因为 {cause}。"),
    "ops.gaps_next": (
        "`tiergate report gaps` lists them; the cause says where to look.",
        "运行 tiergate report gaps 查看清单；原因指明检查方向。",
    ),
    "ops.backlog_ok": ("The store keeps up with recording.", "入库与录像同步。"),
    "ops.backlog": (
        "{count} segment(s) wait in the spool, the oldest for {minutes} min.",
        "缓冲区有 {count} 段待入库，最早的已等待 {minutes} 分钟。",
    ),
    "ops.backlog_next": (
        "Nothing is lost. See the line of the store; a slow one drains when it has time.",
        "不会丢失。请查看“存储”一项；较慢的存储会逐步追上。",
    ),
    "ops.corrupt": (
        "{count} segment(s) in the spool are not what their rows say.",
        "缓冲区有 {count} 段与记录不符。",
    ),
    "ops.corrupt_next": (
        "`tiergate store check --cost hash` names them; check the disk.",
        "运行 tiergate store check --cost hash 查明；请检查磁盘。",
    ),
    "ops.uploads_hang": (
        "{count} upload(s) have begun and do not end; the first is segment {segment} of camera {camera}.",
        "{count} 个上传已开始但无法结束，其中最早的是摄像机 {camera} 的片段 {segment}。",
    ),
    "ops.uploads_hang_next": (
        "The disk under the spool cannot read that file, or the store does not come back: look at the kernel's log "
        "(`dmesg`) and at both. The others go on meanwhile, and so do these when the disk answers. Do not delete "
        "anything.",
        "缓冲区所在磁盘读不出该文件，或存储未返回：请查看内核日志（dmesg）并检查两者。其间其他上传照常进行；磁盘恢复后这些上传也会继续。请勿删除任何内容。",
    ),
    "ops.sweep_ok": ("The last sweep ended {minutes} min ago.", "上次清理在 {minutes} 分钟前完成。"),
    "ops.sweep_never": ("No sweep has run yet.", "清理尚未运行过。"),
    "ops.sweep_old": ("The last sweep was {hours} h ago.", "上次清理在 {hours} 小时前。"),
    "ops.sweep_refused": ("The sweep has refused for {hours} h: {why}", "清理已拒绝执行 {hours} 小时：{why}"),
    "ops.sweep_next": (
        "Nothing is deleted meanwhile. `tiergate retention show`, `retention sweep --dry-run`.",
        "其间不会删除任何录像。请查看 retention show 与 retention sweep --dry-run。",
    ),
    "ops.tombstones_ok": ("No decided deletion waits for the store.", "没有等待存储执行的删除。"),
    "ops.tombstones_wait": (
        "Footage whose deletion was decided still lies in the store, the oldest for {minutes} min.",
        "已决定删除的录像仍在存储中，最久的已逾期 {minutes} 分钟。",
    ),
    "ops.tombstones_next": (
        'It is tried at every sweep, for ever. See whether the store\'s account may delete, and the log under "delete failed".',
        "每次清理都会重试。请检查存储账号是否有删除权限，并查看日志中的 delete failed。",
    ),
    "ops.register_ok": (
        "Every line of the access register is in the catalog, or waits for it.",
        "访问登记的各条记录均已写入目录库，或正在等待写入。",
    ),
    "ops.register_unapplied": (
        "{count} line(s) of the access register could not be written into the catalog; who looked is in a file alone.",
        "访问登记有 {count} 条记录无法写入目录库；何人查看只留存在文件中。",
    ),
    "ops.register_unapplied_next": (
        "They are in register-*.bad in {folder}. Hand the files to the auditor as evidence and keep them, then move them "
        "out of that folder.",
        "记录在 {folder} 的 register-*.bad 文件中。请将文件作为证据交审计管理员保存，然后移出该目录。",
    ),
    "ops.aside_ok": (
        "Whatever was put aside says whose it is, and ends with its source.",
        "移到一旁的文件均注明来源，将随来源一同删除。",
    ),
    "ops.aside_unknown": (
        "{count} file(s) put aside in {place} do not say which camera's footage they are ({first}): they may show "
        "pictures, and no sweep deletes them.",
        "{place} 中有 {count} 个移到一旁的文件未注明属于哪台摄像机（{first}）：其中可能有画面，清理任务不会删除。",
    ),
    "ops.aside_next": (
        "They lie in the folder quarantine of that spool volume, or under _quarantine/ of this node in the store. Play "
        "them; what a case may need, keep outside, then delete them by hand and note who did and why.",
        "文件位于该缓冲卷的 quarantine 目录，或存储中本节点的 _quarantine/ 下。请播放核对；案件可能需要的另行保存，其余由人工删除，并记录何人因何删除。",
    ),
    "ops.scrub_ok": (
        "All stored footage was read again by {at}, in {hours} h; it is what was recorded.",
        "截至 {at} 已在 {hours} 小时内复读全部录像，与录制时一致。",
    ),
    "ops.scrub_first": (
        "The first round of the scrub goes on; {gb} GB were read again and are what was recorded.",
        "首轮复读进行中；已复读 {gb} GB，与录制时一致。",
    ),
    "ops.scrub_damaged": (
        "{count} segment(s) in the store are not what was recorded; they are kept and marked on the timeline.",
        "存储中有 {count} 段录像与录制时不符；已保留并在时间轴上标明。",
    ),
    "ops.scrub_missing": (
        "The scrub did not find {missing} stored segment(s), and could not read {unreadable}.",
        "复读时有 {missing} 段未找到，{unreadable} 段无法读取。",
    ),
    "ops.scrub_next": (
        "Check the store's disks. `tiergate store check --cost hash` names them; with --repair, whole copies take their place.",
        "请检查存储的磁盘。tiergate store check --cost hash 可列出；加 --repair 会用完好副本替换。",
    ),
    "ops.jobs_ok": ("All jobs of the keeper succeed.", "保管进程的各项任务正常。"),
    "ops.job_failing": (
        "The job {job} has failed for {minutes} min ({problem}).",
        "任务 {job} 已失败 {minutes} 分钟（{problem}）。",
    ),
    "ops.job_late": ("The job {job} has not succeeded for {minutes} min.", "任务 {job} 已 {minutes} 分钟未成功。"),
    "ops.job_next": ("The node's log has it under job={job}.", "节点日志中以 job={job} 记录。"),
    "ops.holds_ok": ("{count} hold(s) stand; none is overdue for review.", "现有 {count} 项保全令，均未逾期复核。"),
    "ops.holds_overdue": (
        "{count} hold(s) are overdue for review, first case {case}.",
        "有 {count} 项保全令逾期未复核（首案号 {case}）。",
    ),
    "ops.holds_next": (
        "`tiergate hold list`; release it, or place it anew.",
        "运行 tiergate hold list；请解除或重新下达。",
    ),
    "ops.evidence_ok": (
        "{count} held segment(s) are verified in both places.",
        "已有 {count} 段保全录像在两处核验无误。",
    ),
    "ops.evidence_bad": (
        "{count} held segment(s) are damaged, lost, or cannot be copied, first case {case}.",
        "有 {count} 段保全录像损坏、丢失或无法复制（首案号 {case}）。",
    ),
    "ops.evidence_waits": (
        "{count} held segment(s) are not yet in two places; the oldest has waited {minutes} min.",
        "有 {count} 段保全录像尚未在两处保存；最久的已等待 {minutes} 分钟。",
    ),
    "ops.evidence_next": (
        "`tiergate hold list` shows which hold; look at the keeper's log and at `tiergate store check`.",
        "运行 tiergate hold list 查看是哪一项保全令；请查看 keeper 日志并运行 tiergate store check。",
    ),
    "ops.evidence_lock_ok": (
        "The evidence store refused to delete a locked object: both belts hold.",
        "证据存储拒绝删除已锁定的对象：两道保护均有效。",
    ),
    "ops.evidence_lock_lies": (
        "The evidence store deleted a locked object: its locks protect nothing. Held footage is kept by the catalog alone.",
        "证据存储删除了已锁定的对象：其锁定无效。保全录像仅由目录保护。",
    ),
    "ops.evidence_lock_absent": (
        "The evidence bucket has no Object Lock: held footage is kept by the catalog and a second copy, not by a lock.",
        "证据存储桶没有对象锁定：保全录像由目录和第二份副本保护，没有锁定。",
    ),
    "ops.evidence_lock_next": (
        "Use a store with Object Lock and a new evidence bucket (store.evidence_bucket): a bucket gets its lock when it is made.",
        "请使用支持对象锁定的存储，并换用新的证据存储桶（store.evidence_bucket）：锁定只能在建桶时启用。",
    ),
    "ops.evidence_folder": (
        "Held footage has a second copy in a folder; a folder has no lock.",
        "保全录像在文件夹中有第二份副本；文件夹没有锁定功能。",
    ),
    "ops.rules_ok": ("The buckets' own rules are as planned.", "各存储桶自身的规则与计划一致。"),
    "ops.rules_differ": (
        "{count} rule(s) of the buckets differ from the plan.",
        "存储桶有 {count} 条规则与计划不符。",
    ),
    "ops.rules_next": (
        "`tiergate retention apply` shows them; with --yes it sets them.",
        "运行 tiergate retention apply 查看；加 --yes 执行。",
    ),
    "ops.rules_dangerous": (
        "Rule {rule} of bucket {bucket}, which is not ours, deletes objects after {days} day(s): footage that must stay.",
        "存储桶 {bucket} 的外来规则 {rule} 会在 {days} 天后删除对象：其中有必须保留的录像。",
    ),
    "ops.rules_dangerous_next": (
        "Remove that rule in the store; tiergate never touches rules of other hands.",
        "请在存储中删除该规则；tiergate 不会改动他人设置的规则。",
    ),
    "ops.alarm_command": (
        "The alarm program {command} did not take the news: {problem}.",
        "告警程序 {command} 未接收消息：{problem}。",
    ),
    "ops.alarm_webhook": (
        "The alarm webhook did not take the news: {problem}.",
        "告警 webhook 未接收消息：{problem}。",
    ),
    "ops.alarm_no_hook": (
        "No hook is set: give alarms.command or alarms.webhook in the settings.",
        "未设置告警出口：请在配置中填写 alarms.command 或 alarms.webhook。",
    ),
    "ops.alarm_test": ("This is a test of the alarm hooks.", "这是一条告警测试消息。"),
    "ops.audit_ok": ("The audit chain is whole ({count} entries).", "审计链完整（{count} 条）。"),
    "ops.audit_cut": (
        "The audit log does not hold the head that was signed at {at}: of entries {from} to {to} some were cut or "
        "replaced.",
        "审计日志与 {at} 签名的链头不符：第 {from} 至 {to} 条中有条目被截断或替换。",
    ),
    "ops.audit_cut_next": (
        "Keep the files as they are, tell the audit administrator and compare with exports kept elsewhere; then "
        "`tiergate audit review`. Until then no head is signed and no evidence package made.",
        "请保留现场、通知审计管理员，并与另存的导出文件核对；然后执行 tiergate audit review。此前不再签署链头，也不制作证据包。",
    ),
    "ops.audit_not_cut": (
        "The audit log holds every head that was signed: there is nothing to review.",
        "审计日志与已签署的链头一致，无需复核。",
    ),
    "ops.audit_end_ok": (
        "The audit log holds entry {seq}, the newest head in the store, signed at {at}.",
        "审计日志含有存储中最新签署的链头（第 {seq} 条，{at}）。",
    ),
    "ops.audit_unread": (
        "Whether the end of the audit log was cut is unknown, the signed heads cannot be read: {problem}.",
        "无法读取已签署的链头，审计日志末尾是否被截断未知：{problem}。",
    ),
    "ops.audit_head_gone": (
        "Whether the end of the audit log was cut is unknown: the store does not have the head that was signed at {at}.",
        "存储中没有 {at} 签署的链头，审计日志末尾是否被截断未知。",
    ),
    "ops.audit_unsigned": (
        "Whether the end of the audit log was cut is unknown: the store has no signed head.",
        "存储中没有已签署的链头，审计日志末尾是否被截断未知。",
    ),
    "ops.audit_end_next": (
        "See the lines of store and jobs: the keeper signs a head each minute. Ask who may delete in the store; compare "
        "with exports kept elsewhere (`tiergate audit verify FILE --against OLDER`).",
        "请先看存储与任务两项：keeper 每分钟签署一次链头。请核查谁可删除存储中的对象，并与另存的导出文件核对"
        "（tiergate audit verify 文件 --against 旧文件）。",
    ),
    "ops.audit_next": (
        "Keep the files as they are and tell the audit administrator; `tiergate audit export` shows what is left.",
        "请保留现场并通知审计管理员；tiergate audit export 可导出现存部分。",
    ),
    "ops.links_ok": ("{count} link(s), all heard of lately.", "{count} 条对接链路，近期均有联系。"),
    "ops.link_silent": ("{name} was last heard of {minutes} min ago.", "{name} 最近一次联系在 {minutes} 分钟前。"),
    "ops.link_never": ("{name} was never heard of.", "从未与 {name} 取得联系。"),
    "ops.link_suspended": ("The link to {name} is suspended.", "与 {name} 的链路已暂停。"),
    "ops.link_next": (
        "Check the line and the node at its other end; `tiergate link list`.",
        "请检查线路与对端节点；tiergate link list。",
    ),
    "ops.head_back": (
        "On {at} the audit log of {name} ended before the head that it had given us, or had another entry there.",
        "{at} 发现 {name} 的审计日志早于其曾交给本节点的日志头，或该处条目不同。",
    ),
    "ops.head_back_next": (
        "Ask there whether a backup was restored; compare with `audit verify FILE --witness OUR_EXPORT`.",
        "请向对方核实是否恢复过备份；可用 audit verify FILE --witness 本节点导出文件 核对。",
    ),
    "ops.head_old": (
        "{name} gave us the head of its audit log {hours} h ago for the last time.",
        "{name} 最近一次交来审计日志头是在 {hours} 小时前。",
    ),
    "ops.heads_ok": (
        "{count} linked nodes and this one keep each other's audit heads.",
        "与 {count} 个对端节点互存审计日志头。",
    ),
    "ops.quota_full": (
        "{name} was given {limit_mb} MB of our pictures in 24 hours, all that its link may carry; it gets no more.",
        "{name} 24 小时内已调阅本节点 {limit_mb} MB 画面，达到链路限额，不再提供。",
    ),
    "ops.quota_low": (
        "{name} may be given {left_mb} MB more of our pictures, of {limit_mb} MB in 24 hours.",
        "{name} 24 小时内可调阅本节点画面 {limit_mb} MB，仅余 {left_mb} MB。",
    ),
    "ops.quota_next": (
        "See who watches what (`lease list`). More is allowed by `link set {link} --bytes-per-day`; "
        "`link suspend {link}` ends it.",
        "请核查何人在调阅（lease list）。可用 link set {link} --bytes-per-day 调高，或用 link suspend {link} 终止。",
    ),
    "ops.quotas_ok": (
        "{count} upper nodes stay within what their links may carry in a day.",
        "{count} 个上级节点的每日调阅量均在限额之内。",
    ),
    "ops.break_glass_open": (
        "{person} broke the glass on {at} and has the duty officer's rights until {until}: {reason}",
        "{person} 于 {at} 启用封存权限，在 {until} 前拥有值班长权限：{reason}",
    ),
    "ops.break_glass_unreviewed": (
        "{person} broke the glass on {at}, and nobody has reviewed it: {reason}",
        "{person} 于 {at} 启用过封存权限，尚未复核：{reason}",
    ),
    "ops.break_glass_next": (
        "Look at the register of those hours, then `tiergate break-glass review`.",
        "请查看该时段登记簿，然后执行 tiergate break-glass review。",
    ),
    "ops.lease_unconfirmed": ("A pull is not confirmed in time: case {case}.", "调阅未按时补办确认：案号 {case}。"),
    "ops.lease_next": ("Confirm or end it: `tiergate lease list`.", "请确认或结束：tiergate lease list。"),
    "ops.purge_late": (
        "Footage of lease {lease} should have been purged {minutes} min ago.",
        "租约 {lease} 的缓存应在 {minutes} 分钟前清除。",
    ),
    "ops.purge_next": (
        "The relay retries; see the log. `tiergate store check --tier-scope` proves the state.",
        "中继进程会重试；见日志。tiergate store check --tier-scope 可核实。",
    ),
}
