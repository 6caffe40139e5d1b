"""Words for reasons of the room "tier": code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "tier.report_unknown": (
        "There is no report of use of {month} here for this link.",
        "此处没有该链路 {month} 的使用报告。",
    ),
    "tier.exchange_none": (
        "No exchange rule lets video come from {peer}; a missing rule means none.",
        "没有允许视频从 {peer} 流入的交换规则；缺少规则即不允许。",
    ),
    # links
    "tier.not_adjacent": (
        "Only a node of the next tier can be linked: {upper} cannot stand directly above {lower}.",
        "只能与相邻层级的节点建立链路：{upper} 不能直接位于 {lower} 之上。",
    ),
    "tier.invite_malformed": ("This is not an invitation code.", "这不是有效的邀请码。"),
    "tier.invite_over": (
        "The invitation is unknown, was used, or is older than 15 minutes; ask for a new one.",
        "邀请码不存在、已使用或已超过 15 分钟；请重新获取。",
    ),
    "tier.invite_own": ("This invitation is of this node itself.", "这是本节点自己的邀请码。"),
    "tier.card_key": (
        "The other node's key is not the one that was announced; nothing was linked.",
        "对方节点的密钥与声明的不一致；未建立链路。",
    ),
    "tier.url_malformed": (
        "The address of a node must be http:// or https:// with a host and nothing else.",
        "节点地址须为 http:// 或 https:// 加主机名，不得含其他内容。",
    ),
    "tier.link_unknown": ("There is no such link.", "没有这条链路。"),
    "tier.link_suspended": (
        "The link is suspended or removed by a security administrator; nothing passes until it is resumed.",
        "该链路已被安全管理员暂停或移除，恢复前不得调阅。",
    ),
    "tier.link_kind_unknown": (
        "A link is dedicated, shared or diode; {value} is not known.",
        "链路类型须为 dedicated、shared 或 diode；{value} 无效。",
    ),
    # requests between nodes
    "tier.unsigned": ("The request carries no valid node signature.", "请求缺少有效的节点签名。"),
    "tier.peer_unknown": ("The node that asks is not linked with this one.", "请求方节点未与本节点建立链路。"),
    "tier.signature_bad": ("The signature of the request does not fit.", "请求签名不符。"),
    "tier.clock_skew": (
        "The clocks of the two nodes differ by {seconds} s; 30 s are allowed. Check NTP on both.",
        "两节点时钟相差 {seconds} 秒（允许 30 秒）；请检查双方 NTP。",
    ),
    "tier.replayed": ("This request was received before.", "该请求已收到过（重放）。"),
    "tier.answer_signature": (
        "The answer is not signed by the linked node; somebody may stand between the two.",
        "应答不是由链路节点签名的，中间可能存在冒充者。",
    ),
    "tier.tls_pin": (
        "The TLS certificate of the other node is not the pinned one; the connection was closed before anything was sent.",
        "对方节点的 TLS 证书与锁定的证书不符；未发送任何内容即已断开。",
    ),
    "tier.certificate_statement": (
        "What was said of the other node's certificate is not signed by its key, or is about another node; it was not taken.",
        "关于对方节点证书的声明不是由其密钥签名，或所述为其他节点，未予采纳。",
    ),
    "tier.certificate_off": (
        "The relay shows no certificate: relay.tls_cert is not set.",
        "中继未使用证书：未设置 relay.tls_cert。",
    ),
    "tier.certificate_same": (
        "There is no other certificate to show: relay.tls_cert holds the one that is shown, or one that was followed before, and this node's own CA did not make it. Put the new certificate and its key into relay.tls_cert and relay.tls_key; the relay announces them by itself.",
        "没有可更换的证书：relay.tls_cert 中仍是正在使用或此前用过的证书，且并非本节点自己的 CA 签发。请将新证书及私钥放入 relay.tls_cert 与 relay.tls_key，中继会自动公布。",
    ),
    "tier.certificate_idle": (
        "No change of the relay's certificate is under way.",
        "当前没有正在进行的中继证书更换。",
    ),
    "tier.certificate_waits": (
        "{count} linked node(s) do not know the next certificate yet: {names}. They learn of it when they call again; with --force it is shown all the same, and they must be paired again.",
        "有 {count} 个链路节点尚不知道新证书：{names}。它们再次连接时会得知；如加 --force 则立即启用，之后须与其重新对接。",
    ),
    "tier.certificate_overlap": (
        "Linked nodes take the old certificate for at most {most_days} days after the change.",
        "更换后，链路节点接受旧证书的过渡期最长 {most_days} 天。",
    ),
    "tier.address_not_allowed": (
        "{host} is no address at which another node may be (loopback, link-local, or outside relay.allowed_networks). If a node is there, add its network to relay.allowed_networks in tiergate.toml and restart the node.",
        "{host} 不是允许的节点地址（本机回环、链路本地，或不在 relay.allowed_networks 内）。如确有节点在该处，请将其网段加入 tiergate.toml 的 relay.allowed_networks，然后重启节点。",
    ),
    "tier.peer_away": ("The other node does not answer ({problem}).", "对方节点无应答（{problem}）。"),
    "tier.peer_garbled": ("The other node's answer cannot be understood.", "无法解析对方节点的应答。"),
    "tier.peer_refused": ("The other node refused with status {status}.", "对方节点拒绝，状态码 {status}。"),
    "tier.body_malformed": (
        "The field {field} of the request is missing or malformed.",
        "请求字段 {field} 缺失或格式错误。",
    ),
    "tier.body_too_large": ("The request is larger than {limit_bytes} bytes.", "请求超过 {limit_bytes} 字节。"),
    "tier.route_unknown": ("There is no such address on this node.", "本节点没有该地址。"),
    # leases
    "tier.pull_direction": (
        "A {upper} node may pull only from the tier directly below it, not from {lower}.",
        "{upper} 级节点只能向其直接下一级调阅，不能向 {lower} 级调阅。",
    ),
    "tier.mechanism_unknown": (
        "The mechanism {name} is not agreed on this link, or in another version.",
        "本链路未约定机制 {name}，或版本不一致。",
    ),
    "tier.mechanism_none": (
        "There is no mechanism {name}; there are {known}.",
        "没有机制 {name}；可用的有 {known}。",
    ),
    "tier.case_and_reason": (
        "A case number and a reason of at least {chars} characters are needed.",
        "须填写案（事）件编号和不少于 {chars} 个字的理由。",
    ),
    "tier.persons_missing": ("Who will watch must be named, with the unit.", "须写明调阅人员姓名及单位。"),
    "tier.approver_needed": (
        "{mechanism} needs an approver who is not the requester.",
        "{mechanism} 须由申请人以外的人员批准。",
    ),
    "tier.cameras_count": ("Name 1 to {limit} cameras.", "请指定 1 至 {limit} 路摄像机。"),
    "tier.camera_unknown": ("There is no camera {camera} below.", "下级没有摄像机 {camera}。"),
    "tier.camera_disabled": ("Camera {camera} is switched off below.", "摄像机 {camera} 在下级已停用。"),
    "tier.camera_not_shared": (
        "Camera {camera} is not shared upward; {mechanism} needs that.",
        "摄像机 {camera} 未向上级共享；{mechanism} 需要共享。",
    ),
    "tier.minutes_malformed": ("The duration must be at least one minute.", "时长至少为 1 分钟。"),
    "tier.functions_none": ("The mechanism allows only: {functions}.", "该机制仅允许：{functions}。"),
    "tier.range_outside": (
        "Recorded footage may be asked back {hours} h from now; the range lies outside.",
        "录像最多可回看 {hours} 小时，所选时段超出范围。",
    ),
    "tier.quota_day": (
        "The link's quota of {hours} camera hours in 24 h is used up.",
        "该链路 24 小时内 {hours} 路时的调阅额度已用完。",
    ),
    "tier.narrowed_time": ("Granted for {minutes} minutes, the mechanism's limit.", "按机制上限批准 {minutes} 分钟。"),
    "tier.narrowed_functions": ("Not part of the mechanism: {functions}.", "机制不包含：{functions}。"),
    "tier.narrowed_range": ("The recorded range was cut to {hours} h back.", "录像时段已缩短为最近 {hours} 小时。"),
    "tier.narrowed_stream": ("Only the small stream is allowed.", "仅允许子码流。"),
    "tier.lease_unknown": ("There is no such lease.", "没有该调阅许可。"),
    "tier.lease_expired": ("The lease has expired.", "调阅许可已到期。"),
    "tier.lease_ended": ("The lease was ended.", "调阅许可已结束。"),
    "tier.head_signature": (
        "The head of the audit log of {peer} is not signed by that node.",
        "{peer} 的审计日志头不是由该节点签名。",
    ),
    "tier.lease_signature": (
        "The document is not signed by the node it should be from, or was changed.",
        "文件签名与来源节点不符，或内容被改动。",
    ),
    "tier.document_malformed": ("The lease document cannot be read.", "无法读取调阅许可文件。"),
    "tier.lease_differs": (
        "The lease that came back is more than what was asked, or another: {fields}.",
        "返回的调阅许可超出申请或与申请不符：{fields}。",
    ),
    "tier.camera_not_in_lease": ("Camera {camera} is not part of the lease.", "调阅许可不包含摄像机 {camera}。"),
    "tier.function_not_in_lease": ("The lease does not allow {function}.", "调阅许可不允许 {function}。"),
    "tier.range_not_in_lease": ("The lease does not cover this time range.", "调阅许可不包含该时段。"),
    "tier.stream_unknown": ("A stream is main or sub; {stream} is not known.", "码流须为 main 或 sub；{stream} 无效。"),
    "tier.unconfirmed": (
        "Nobody confirmed the emergency in time: only the small live stream remains, and it is reported.",
        "应急调阅未按时确认：仅保留子码流实时画面，并已记为违规。",
    ),
    "tier.confirm_not_needed": ("This lease needs no confirmation.", "该调阅许可无需确认。"),
    "tier.confirm_second_person": (
        "A second person confirms; the requester alone only after {minutes} minutes.",
        "须由第二人确认；申请人本人须在 {minutes} 分钟后方可确认。",
    ),
    "tier.renewals_used": ("It was renewed {limit} times; open a new lease.", "已续期 {limit} 次；请重新申请。"),
    "tier.renewal_not_longer": ("The renewal would not make it longer.", "续期不会延长许可时间。"),
    "tier.no_lower_camera": ("{camera} is not a camera of a lower node.", "{camera} 不是下级节点的摄像机。"),
    "tier.camera_ambiguous": (
        "Two lower nodes name camera {camera}; it is pulled from neither until one of them gives it up.",
        "有两个下级节点声明摄像机 {camera}；在其中一方撤销前，不从任何一方调阅。",
    ),
    "tier.cameras_aside": (
        "{count} cameras that the node names are not taken, the first {camera}: they are this node's or another one's, of a tier above it, or of a region outside its own. If the region is its own, enter it here with its parent (region add).",
        "该节点声明的 {count} 路摄像机未予采纳（首个为 {camera}）：属于本节点或其他节点、层级高于该节点，或所在区划不属于其辖区。若确属其辖区，请在本节点登记该区划及其上级（region add）。",
    ),
    "tier.approver_unknown": ("{login} is nobody who may approve.", "{login} 不是有批准权限的人员。"),
    "tier.no_unit": (
        "Your account belongs to no department; the register needs the unit.",
        "您的账号未归属部门；调阅登记需要写明单位。",
    ),
    # streams and bytes
    "tier.reduced_for_line": (
        "The line has no room for the large stream; the small one is shown.",
        "链路带宽不足，已改为子码流。",
    ),
    "tier.line_full": (
        "The line to the lower node is full: {needed_kbps} kbit/s needed, {available_kbps} kbit/s free.",
        "下级链路带宽已满：需要 {needed_kbps} kbit/s，剩余 {available_kbps} kbit/s。",
    ),
    "tier.line_busy": (
        "Too much footage waits for the line to the lower node already; try again in {seconds} s.",
        "下级链路上等待传输的录像过多，请在 {seconds} 秒后重试。",
    ),
    "tier.day_full": (
        "The {limit_mb} MB of pictures that this link may carry in 24 hours are used up; from {at} on there is room. "
        "The lower node's security administrator can allow more.",
        "该链路 24 小时内可调阅的 {limit_mb} MB 画面已用完；{at} 起恢复。下级节点的安全管理员可调高该限额。",
    ),
    "tier.quota_upward": (
        "{name} is a lower node: how much it sends us in a day is set there.",
        "{name} 是下级节点：其每日上传限额由该节点设定。",
    ),
    "tier.stream_ended": ("The camera's stream ended.", "摄像机码流已结束。"),
    "tier.live_away": (
        "The camera's live stream cannot be reached on this node.",
        "本节点无法获取该摄像机的实时码流。",
    ),
    "tier.segment_unknown": ("There is no such piece of footage.", "没有该段录像。"),
    "tier.range_malformed": ("Ask for 1 to {limit_bytes} bytes.", "请求字节数须为 1 至 {limit_bytes}。"),
    "tier.bytes_differ": ("The footage that came is not what was announced.", "收到的录像与声明不符。"),
    # cache
    "tier.scope_no_lease": (
        "{key} lies in the cache without a lease ({lease}).",
        "缓存对象 {key} 没有对应的调阅许可（{lease}）。",
    ),
    "tier.scope_overdue": (
        "{key} is still here though its lease {lease} is over.",
        "缓存对象 {key} 仍存在，但许可 {lease} 已到期。",
    ),
    "tier.scope_foreign": (
        "{key} is footage of a lower node outside the cache ({lease}).",
        "{key} 是缓存之外的下级录像（{lease}）。",
    ),
    # the relay and incidents
    "tier.relay_away": (
        "The relay process does not answer; see `tiergate doctor`.",
        "中继进程无应答；请运行 tiergate doctor。",
    ),
    "tier.incident_unknown": ("There is no such incident.", "没有该事件。"),
    "tier.incident_exists": ("An incident {number} exists.", "事件 {number} 已存在。"),
}
