"""Words for reasons of retention, holds and the clock that may delete: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "retention.within": (
        "Class {class}: kept until {until}.",
        "保存类别 {class}：保存至 {until}。",
    ),
    "retention.expired": (
        "Class {class}: its time ended {until}; it is due for deletion.",
        "保存类别 {class}：保存期已于 {until} 届满，应予删除。",
    ),
    "retention.held": (
        "Held by {count} order(s), first case {case}; it stays until all are released.",
        "被 {count} 项保全令保留（首案号 {case}），全部解除前不得删除。",
    ),
    "retention.permanent": (
        "Class {class} has no end.",
        "保存类别 {class} 为永久保存。",
    ),
    "retention.not_ours": (
        "Footage of kind {kind} is not the sweep's to delete.",
        "类型为 {kind} 的录像不由清理任务删除。",
    ),
    "retention.unknown_class": (
        "Class {class} is not known; unknown means keep.",
        "保存类别 {class} 未知；未知即保留。",
    ),
    "retention.state_keeps": (
        "In state {state} nothing is deleted.",
        "处于 {state} 状态时不删除。",
    ),
    "retention.deleted": (
        "It was deleted {at}.",
        "已于 {at} 删除。",
    ),
    "retention.below_floor": (
        "Class {class} cannot keep {months} month(s): the law's floor is {floor} month(s).",
        "保存类别 {class} 不能设为 {months} 个月：法定下限为 {floor} 个月。",
    ),
    "retention.below_floor_days": (
        "Class {class} cannot keep {days} days: the law's floor is {floor} month(s), never less than {floor_days} days.",
        "保存类别 {class} 不能设为 {days} 天：法定下限为 {floor} 个月，且不少于 {floor_days} 天。",
    ),
    "retention.whole_months": (
        "Class {class} keeps whole months of 30 days: {days} days are none; give months, or a multiple of 30.",
        "保存类别 {class} 按整月（每月 30 天）计算，{days} 天不是整月：请填写月数，或 30 的倍数。",
    ),
    "retention.length_once": (
        "Say how long once: in months or in days.",
        "保存时长请只用一种写法：月数或天数。",
    ),
    "retention.above_ceiling": (
        "Class {class} cannot keep {months} months: longer than {ceiling} month(s) needs a legal basis and a second person.",
        "保存类别 {class} 不能设为 {months} 个月：超过 {ceiling} 个月须有法律依据并经第二人批准。",
    ),
    "retention.only_hold": (
        "Class {class} cannot keep {months} months: no class keeps more than {longest}. Hold what a case needs for longer: tiergate hold add.",
        "保存类别 {class} 不能设为 {months} 个月：任何类别最长 {longest} 个月。案件需要更久的录像请下达保全令：tiergate hold add。",
    ),
    "retention.class_unknown": (
        "There is no retention class {class}; there are {known}.",
        "没有保存类别 {class}；可用的有 {known}。",
    ),
    "retention.class_fixed": (
        "Class {class} belongs to holds; its length is not changed.",
        "类别 {class} 属于保全令，其期限不可更改。",
    ),
    "retention.change_waits": (
        "Class {class} will keep {months} month(s) from {from} on; until then nothing changes.",
        "类别 {class} 将自 {from} 起保存 {months} 个月；此前不变。",
    ),
    "retention.change_done": (
        "Class {class} keeps {months} month(s) from now on.",
        "类别 {class} 自现在起保存 {months} 个月。",
    ),
    "retention.what_if_half": (
        "Say both, the class and its months (or days), to see what would be.",
        "请同时给出类别与月数（或天数），才能预演变更。",
    ),
    "retention.keeper_running": (
        "Another keeper of this node is running.",
        "本节点已有另一个保管进程在运行。",
    ),
    "retention.sweep_running": (
        "A sweep is running now; try again when it has ended.",
        "清理任务正在进行；请待其结束后再试。",
    ),
    "retention.hold_needs_case": (
        "A hold needs a case number, a reason and at least one camera.",
        "保全令须有案号、理由和至少一台摄像机。",
    ),
    "retention.hold_class_unknown": (
        "A hold has one of the classes {known}; {class} is none of them.",
        "保全令的类别只能是 {known} 之一；{class} 不是。",
    ),
    "retention.hold_class": (
        "Class {class} is given by a hold, not by an area.",
        "类别 {class} 只能由保全令给予，不能由区域给予。",
    ),
    "retention.hold_unknown": (
        "There is no hold {hold}.",
        "没有编号为 {hold} 的保全令。",
    ),
    "retention.hold_released_already": (
        "Hold {hold} is already released.",
        "保全令 {hold} 已解除。",
    ),
    "retention.hold_review_late": (
        "A hold is reviewed within {limit_days} days; give an earlier review date.",
        "保全令须在 {limit_days} 天内复核；请提前复核日期。",
    ),
    "retention.clock_steady": (
        "The clock has moved with the steady clock since the last sweep.",
        "自上次清理以来时钟与单调时钟一致。",
    ),
    "retention.clock_agreed": (
        "The clock is synchronised, or somebody else agrees with it.",
        "时钟已同步，或有其他来源与之相符。",
    ),
    "retention.clock_unproven": (
        "Nobody confirms the clock since the machine started: nothing is deleted. Set up time synchronisation (chrony).",
        "开机后时钟未经证实：不删除任何录像。请配置时间同步（chrony）。",
    ),
    "retention.clock_contradicted": (
        "The clock is {offset_s} s away from the store's or a paired node's: nothing is deleted until they agree.",
        "时钟与存储或对接节点相差 {offset_s} 秒：一致之前不删除任何录像。",
    ),
    "retention.clock_behind": (
        "The clock is {behind_s} s behind a time it has already shown: nothing is deleted.",
        "时钟比曾经显示的时间落后 {behind_s} 秒：不删除任何录像。",
    ),
    "retention.clock_stepped": (
        "The clock jumped by {step_s} s since the last sweep: nothing is deleted until the store, a linked node, or "
        "`tiergate retention sweep --time-is TIME` with the time of another clock, agrees.",
        "自上次清理以来时钟跳变 {step_s} 秒：须经存储、对接节点，或用 `tiergate retention sweep --time-is 时间` "
        "（填写另一时钟的当前时间）证实，此前不删除任何录像。",
    ),
    "retention.clock_told_other": (
        "This machine's clock is {offset_s} s away from the time that was told: nothing is deleted.",
        "本机时钟与所填时间相差 {offset_s} 秒：不删除任何录像。",
    ),
    "retention.guard_unexplained": (
        "{due} segments are due but the last plan expected {expected}: nothing is deleted. Look at `retention plan`, then confirm.",
        "到期 {due} 段，而上次计划预计 {expected} 段：不删除。请查看 retention plan 后确认。",
    ),
    "retention.nothing_at": (
        "There is no footage of camera {camera} at {at}.",
        "摄像机 {camera} 在 {at} 没有录像。",
    ),
    "retention.forecast_fits": (
        "The store holds what is promised: at most {needed_gb} GB (from {day}) of {capacity_gb} GB.",
        "存储可满足保存承诺：最多需要 {needed_gb} GB（{day} 起），可用 {capacity_gb} GB。",
    ),
    "retention.forecast_full": (
        "The store is full on {full}: {needed_gb} GB are promised (from {day}), it holds {capacity_gb} GB. From then on new footage is refused; nothing is deleted early.",
        "存储将于 {full} 用尽：保存承诺需要 {needed_gb} GB（{day} 起），仅可存 {capacity_gb} GB。届时不再接收新录像，但不会提前删除。",
    ),
    "retention.forecast_unknown": (
        "At most {needed_gb} GB are needed (from {day}); how much the store holds is not known: set store.capacity_bytes.",
        "最多需要 {needed_gb} GB（{day} 起）；存储容量未知，请设置 store.capacity_bytes。",
    ),
    "retention.rules_none": (
        "The store has no lifecycle rules for bucket {bucket}: unfinished uploads are ended by the keeper alone.",
        "存储不支持存储桶 {bucket} 的生命周期规则：未完成的上传仅由 keeper 清理。",
    ),
    "retention.rules_folder": (
        "The store is a folder: it has no rules of its own, the keeper does all of it.",
        "存储为文件夹：没有自身规则，全部由 keeper 执行。",
    ),
    "retention.rules_dry": (
        "{count} rule(s) differ from the plan; nothing was changed. `--yes` sets them.",
        "有 {count} 条规则与计划不符；未作更改。加 --yes 执行。",
    ),
    "retention.rules_set": (
        "The buckets' rules are as planned.",
        "各存储桶的规则与计划一致。",
    ),
    "retention.rules_unknown": (
        "Nothing is known of the rules of {buckets}, and none was set there: each bucket says why.",
        "{buckets} 的规则现状不明，也未予设置：原因见各存储桶。",
    ),
    "retention.rules_left": (
        "The store does not take {count} rule(s); the keeper does their work.",
        "存储不接受 {count} 条规则；由 keeper 代为执行。",
    ),
    "retention.forecast_next": (
        "Enlarge the store, or record less: `tiergate retention forecast` shows each camera's share.",
        "请扩充存储或减少录入：`tiergate retention forecast` 列出每台摄像机的占用。",
    ),
    # --- recorded by its owner ---
    "retention.attested": (
        "Recorded by its owner: {by} attests {days} days ({document}), until {until}.",
        "由权属单位录制：{by} 书面承诺保存 {days} 天（{document}），有效至 {until}。",
    ),
    "retention.attested_lapsed": (
        "Recorded by its owner: that {by} attests {days} days ({document}) ended {until}; nobody answers for it now.",
        "由权属单位录制：{by} 保存 {days} 天的书面承诺（{document}）已于 {until} 到期，现无人负责。",
    ),
    "retention.attested_short": (
        "Recorded by its owner: {by} attests {days} days ({document}, until {until}); class {class} asks for "
        "{floor_days} at least.",
        "由权属单位录制：{by} 书面承诺保存 {days} 天（{document}，至 {until}），少于保存类别 {class} 的下限 {floor_days} 天。",
    ),
    "retention.attested_none": (
        "Recorded by its owner: nobody attests how long its recorder keeps; {floor_days} days are asked for at least.",
        "由权属单位录制：无人书面承诺其录像保存多久；至少须保存 {floor_days} 天。",
    ),
    "retention.attested_camera": ("Camera {camera}: {why}", "摄像机 {camera}：{why}"),
    "retention.attested_ends": (
        "Camera {camera}: what is attested of its owner's recorder ends {until}.",
        "摄像机 {camera}：权属单位的书面承诺将于 {until} 到期。",
    ),
    "retention.attested_all": (
        "For each of {count} camera(s) that their owners record, enough days are attested.",
        "由权属单位录制的 {count} 台摄像机均有足够天数的书面承诺。",
    ),
    "retention.attested_next": (
        "Have the owner's unit answer for its recorder in writing, then `tiergate camera attest {camera} --days … --by … "
        "--document … --until …`; or record the camera here: `tiergate camera set {camera} --recorded-by self`.",
        "请权属单位书面承诺其录像保存天数，再执行 `tiergate camera attest {camera} --days … --by … --document … "
        "--until …`；或改由本节点录制：`tiergate camera set {camera} --recorded-by self`。",
    ),
    "retention.attest_recorded_here": (
        "Camera {camera} is recorded here: its footage speaks for itself, and nobody attests it.",
        "摄像机 {camera} 由本节点录制：以实际录像为准，无须书面承诺。",
    ),
    "retention.attest_until": (
        "An attestation ends in the future, and within {limit_days} days.",
        "书面承诺的截止时间须晚于现在，且不超过 {limit_days} 天。",
    ),
    "retention.checked_unasked": (
        "Its owner's recorder has not been asked for footage yet.",
        "尚未向权属单位的录像机核查过录像。",
    ),
    "retention.checked_unanswered": (
        "Whether its owner's recorder has the footage is not known: {why}",
        "无法得知权属单位的录像机是否有录像：{why}",
    ),
    "retention.checked_not_since": ("it was last asked at {at}.", "最近一次核查在 {at}。"),
    "retention.checked_present": (
        "Its owner's recorder was asked for {count} instant(s) of what is promised, and has them.",
        "抽查权属单位录像机承诺期内的 {count} 个时刻，录像均在。",
    ),
    "retention.checked_suspected": (
        "Its owner's recorder was asked for footage of {at} and does not have it; it will be asked a second time.",
        "抽查时权属单位的录像机没有 {at} 的录像；将再次核查。",
    ),
    "retention.checked_missing": (
        "Of {count} instant(s) asked for of what is promised its owner's recorder lacks {missing}: {days}.",
        "抽查承诺期内 {count} 个时刻，权属单位的录像机缺 {missing} 个：{days}。",
    ),
    # Two codes with the same words: an alarm of footage that is missing is another one than that nobody answers.
    "retention.checked_camera_missing": ("Camera {camera}: {why}", "摄像机 {camera}：{why}"),
    "retention.checked_camera_unanswered": ("Camera {camera}: {why}", "摄像机 {camera}：{why}"),
    "retention.checked_all": (
        "{present} instant(s) of {count} camera(s) that their owners record were asked for and are there.",
        "抽查权属单位录制的 {count} 台摄像机共 {present} 个时刻，录像均在。",
    ),
    "retention.checked_next": (
        "`tiergate camera check-owner {camera}` asks the recorder now and says what it answers; have the owner's unit "
        "put it right, or record the camera here: `tiergate camera set {camera} --recorded-by self`.",
        "执行 `tiergate camera check-owner {camera}` 立即核查并查看应答；请权属单位整改，或改由本节点录制："
        "`tiergate camera set {camera} --recorded-by self`。",
    ),
    "retention.check_round_failed": (
        "The round of asking owners' recorders did not come to its end; the log says why.",
        "对权属单位录像机的本轮核查未能完成；原因见日志。",
    ),
    "retention.check_running": (
        "Owners' recorders are being asked just now.",
        "正在核查权属单位的录像机。",
    ),
    "retention.check_recorded_here": (
        "Camera {camera} is recorded here: there is no owner's recorder to ask.",
        "摄像机 {camera} 由本节点录制，没有权属单位的录像机可供核查。",
    ),
    "retention.check_at": (
        "Footage can be asked for of a time that has passed; {at} has not.",
        "只能核查已过去的时刻；{at} 尚未到来。",
    ),
    "retention.check_nothing_due": (
        "Nothing is promised of camera {camera} yet that could be asked for.",
        "摄像机 {camera} 目前没有可核查的承诺录像。",
    ),
    # --- is the promise kept ---
    "retention.promise_kept": (
        "{days} days are promised, and nothing of them is gone.",
        "承诺保存 {days} 天，期内录像无缺失。",
    ),
    "retention.promise_growing": (
        "{days} days are promised; the {have} that there can be by now are there.",
        "承诺保存 {days} 天；至今应有的 {have} 天均在。",
    ),
    "retention.promise_none": (
        "{days} days are promised; nothing has been recorded yet.",
        "承诺保存 {days} 天；尚无录像。",
    ),
    "retention.promise_deleted": (
        "{days} days are promised, but {count} segment(s) of them are gone before their time.",
        "承诺保存 {days} 天，但其中 {count} 段录像未到期即已丢失。",
    ),
    "retention.promise_gaps": (
        "More than {most} % of the promised {days} days was never recorded.",
        "承诺的 {days} 天中，超过 {most} % 未录到。",
    ),
    "retention.promise_gaps_soon": (
        "If gaps go on like this week's, more than {most} % of the promised {days} days will be missing on {at}.",
        "若中断按本周速度继续，到 {at} 承诺的 {days} 天中将有超过 {most} % 缺失。",
    ),
    "retention.promise_disk": (
        "The store is full on {at}: from then on the promised {days} days are not recorded whole.",
        "存储将于 {at} 用尽：此后无法完整录满承诺的 {days} 天。",
    ),
    "retention.promise_camera": ("Camera {camera}: {why}", "摄像机 {camera}：{why}"),
    "retention.promise_all_kept": (
        "Of {count} camera(s) nothing promised is gone, and no gap endangers it.",
        "{count} 台摄像机承诺期内的录像无丢失，中断亦未危及承诺。",
    ),
    "retention.promise_next": (
        "`tiergate report gaps --camera {camera}` says what is missing and why; `tiergate store check` says whether the store lost it.",
        "用 `tiergate report gaps --camera {camera}` 查看缺失及原因；用 `tiergate store check` 核对存储是否丢失。",
    ),
    "retention.overkept": (
        "{count} unheld segment(s), {mb} MB, stand although they should have been gone by {since} at the latest.",
        "有 {count} 段未保全录像（{mb} MB）仍在，最迟本应于 {since} 删除。",
    ),
    "retention.overkept_none": ("Nothing stands past its latest day of deletion.", "没有超期未删的录像。"),
    "retention.overkept_next": (
        "The line of the sweep says why it does not delete; `tiergate report retention` lists the cameras.",
        "清理一项说明未删除的原因；`tiergate report retention` 列出相关摄像机。",
    ),
    "retention.copies_unexplained": (
        "{count} second copies are locked by no hold that this catalog knows, and are kept; first: {camera}, {at}.",
        "证据存储中有 {count} 份第二副本处于锁定状态，但目录中没有对应的保全令；副本予以保留。最早一份：摄像机 {camera}，{at}。",
    ),
    "retention.copies_unexplained_next": (
        "Its hold may be lost: compare with the files, and place it anew (`tiergate hold add`, permanent if its class is "
        "not known). What nobody needs goes when that hold is released.",
        "原保全令可能已随旧目录丢失：请与案卷核对，并用 tiergate hold add 对该时段重新下达保全（类别不明时选 permanent）；不再需要的副本在解除该保全令后删除。",
    ),
}
