"""The form of an impact assessment (PIPL art. 55 and 56) as Markdown: what the node knows, and fields for the rest. (pure)

What only a person can answer is left visibly open. The order is that of article 56: purpose and means, influence on
people and risks, protection.

Belongs here: the form and its words. Does not belong here: the facts (`gateway.ops.impact`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from config.units import format_time_ms
from gateway.access.purposes import PURPOSE_WORDS

Language = Literal["en", "zh"]
Words = tuple[str, str]  #: English, Chinese

_LINE = "_" * 30
_YES: Words = ("yes", "是")
_NO: Words = ("no", "否")
_NONE: Words = ("none", "无")


class _Form:
    def __init__(self, language: Language) -> None:
        self._zh = language == "zh"
        self.lines: list[str] = []

    def words(self, words: Words) -> str:
        return words[self._zh]

    def head(self, level: int, *words: str) -> None:
        self.lines += ["", f"{'#' * level} {words[self._zh]}", ""]

    def say(self, en: str, zh: str) -> None:
        self.lines += [zh if self._zh else en, ""]

    def open_field(self, en: str, zh: str) -> None:
        """For a person to fill in."""
        self.lines.append(f"- [ ] **{zh if self._zh else en}{'：' if self._zh else ':'}** {_LINE}")

    def table(self, heads: Sequence[Words], rows: Iterable[Sequence[Any]]) -> None:
        cells = [[self.cell(value) for value in row] for row in rows]
        if not cells:
            self.say("(none)", "（无）")
            return
        self.lines.append("| " + " | ".join(self.words(head) for head in heads) + " |")
        self.lines.append("|" + "---|" * len(heads))
        self.lines += ["| " + " | ".join(row) + " |" for row in cells]
        self.lines.append("")

    def cell(self, value: Any) -> str:
        if isinstance(value, bool):
            return self.words(_YES if value else _NO)
        if value is None or value == "":
            return "–"
        if isinstance(value, tuple) and len(value) == 2:
            return _plain(str(value[self._zh]))
        if isinstance(value, Mapping):
            if {"en", "zh"} <= value.keys():
                return _plain(str(value["zh" if self._zh else "en"]))
            return ", ".join(f"{_plain(str(k))}: {n}" for k, n in value.items()) or self.words(_NONE)
        return _plain(str(value))


def _plain(text: str) -> str:
    """A name that somebody typed stays a name: no cell, heading or link of Markdown."""
    return "".join(f"\\{c}" if c in "\\|`*_[]<>#" else " " if c in "\r\n" else c for c in text)


def _day(value_ms: int | None) -> str | None:
    return None if value_ms is None else format_time_ms(value_ms, local=True)[:10]


def render(value: Mapping[str, Any], language: Language) -> str:
    form = _Form(language)
    node = value["node"]
    form.lines.append(
        f"# 个人信息保护影响评估表：{_plain(node['name'])}"
        if language == "zh"
        else f"# Personal information protection impact assessment: {_plain(node['name'])}"
    )
    form.lines.append("")
    made = format_time_ms(value["made_ms"], local=True)[:16].replace("T", " ")
    form.say(
        f"Filled by tiergate on {made} (Asia/Shanghai) from the running node (tier {node['tier']}, region "
        f"{node['region']}). Lines with an empty box are for people. Keep the report and the record of handling for at "
        "least three years (PIPL art. 56).",
        f"由 tiergate 于 {made}（北京时间）按运行中的节点填写（层级 {node['tier']}，区划 {node['region']}）。"
        "带空方框的各行由人填写。评估报告和处理情况记录至少保存三年（《个人信息保护法》第五十六条）。",
    )
    _who(form)
    _purpose(form, value)
    _receivers(form, value)
    _risks(form, value)
    _protection(form, value)
    _conclusion(form)
    return "\n".join(form.lines).strip() + "\n"


def _who(form: _Form) -> None:
    form.head(2, "Who assesses", "评估信息")
    form.open_field("Unit that answers for the processing", "个人信息处理者（单位）")
    form.open_field("Assessed by (name, post)", "评估人（姓名、职务）")
    form.open_field("Date", "评估日期")
    form.open_field(
        "Why now (start, new cameras, new receiver, yearly, …)", "评估缘由（启用、新增摄像机、新增接收方、年度等）"
    )


def _purpose(form: _Form, value: Mapping[str, Any]) -> None:
    form.head(2, "1 Purpose and means: lawful, legitimate, necessary (art. 56 no. 1)",
              "一、处理目的、处理方式是否合法、正当、必要（第五十六条第一项）")  # fmt: skip
    form.say(
        f"Purposes that the software knows, a closed list, with looks since {_day(value['since_ms'])}:",
        f"软件所限定的用途（封闭清单）及自 {_day(value['since_ms'])} 以来的调阅次数：",
    )
    form.table(
        [("purpose", "用途"), ("looks", "调阅次数")],
        [[PURPOSE_WORDS.get(p["purpose"], (p["purpose"],) * 2), p["looks"]] for p in value["purposes"]],
    )
    form.say(
        "The software has no field, search or list for faces, persons or number plates, and no endpoint that hands out "
        "frames in bulk.",
        "本软件没有人脸、人员、车牌的字段、检索或名单，也没有批量输出图像的接口。",
    )
    form.open_field("Law, rule or task that the installation rests on", "安装、使用的法律依据或职责依据")
    form.open_field(
        "Why fewer cameras, a narrower view or a shorter time would not do", "为何不能减少摄像机、缩小视场或缩短时间"
    )
    form.open_field(
        "Filing with the county police (Order 799 art. 14): number, date",
        "向县级公安机关备案（条例第十四条）：编号、日期",
    )
    cameras = value["cameras"]
    form.head(3, "Cameras", "摄像机")
    form.table(
        [("", ""), ("number", "数量")],
        [
            [("registered", "已登记"), cameras["count"]],
            [("switched on", "启用"), cameras["enabled"]],
            [("recorded here", "本级录像"), cameras["recorded_here"]],
            [("steerable (PTZ)", "可控云台"), cameras["steerable"]],
            [("by tier", "按层级"), cameras["by_tier"]],
            [("by retention class", "按保存类别"), cameras["by_class"]],
            [("by secrecy (0 ordinary)", "按密级（0 为普通）"), cameras["by_secrecy"]],
            [("by sharing", "按共享范围"), cameras["by_sharing"]],
            [("by kind of place", "按场所类型"), cameras["by_site_type"]],
        ],
    )  # fmt: skip
    form.say(
        "Refused at registration: " + ", ".join(cameras["forbidden_site_types"]).replace("_", " ") + ".",
        "登记时一律拒绝的场所类型：" + "、".join(cameras["forbidden_site_types"]).replace("_", " ") + "。",
    )
    form.open_field(
        "Signs stand where people see them before they are seen (art. 13, PIPL 26)",
        "已设置显著提示标识（条例第十三条、个保法第二十六条）",
    )
    form.head(3, "Sound", "声音")
    if cameras["with_sound"]:
        form.table(
            [("camera", "摄像机"), ("name", "名称"), ("reason and document", "事由与文件依据")],
            [[c["camera"], c["name"], c["basis"]] for c in cameras["with_sound"]],
        )
        form.open_field("Sound is indispensable at each of these because", "上述各处必须录音的理由")
    else:
        form.say("Off at every camera.", "所有摄像机均未开启。")
    form.head(3, "How long", "保存期限")
    form.table(
        [("class", "类别"), ("months", "月数"), ("at least days", "最少天数"), ("ceiling, months", "上限（月）"),
         ("holds only", "仅限保全"), ("legal basis named", "所填法律依据"), ("change waiting, months", "待生效（月）")],
        [
            [c["class"], ("permanent", "永久") if c["months"] is None else c["months"], c["at_least_days"],
             c["ceiling_months"], c["for_hold"], c["legal_basis"], c["waiting_months"]]
            for c in value["retention"]["classes"]
        ],
    )  # fmt: skip
    form.table(
        [("key place", "重点区域"), ("class", "类别"), ("document", "文号"), ("cameras", "摄像机数")],
        [[a["area"], a["class"], a["document_no"], a["cameras"]] for a in value["retention"]["areas"]],
    )
    holds = value["holds"]
    form.say(
        f"Holds that stand: {holds['standing']} ({form.cell(holds['by_class'])}); past their review date: "
        f"{holds['review_overdue']}; approved by no second person: {holds['without_second_person']}.",
        f"现行保全 {holds['standing']} 项（{form.cell(holds['by_class'])}）；复核逾期 {holds['review_overdue']} 项；"
        f"未经第二人批准 {holds['without_second_person']} 项。",
    )
    form.open_field(
        "This is the shortest time that the purpose needs (PIPL art. 19) because",
        "上述期限为实现目的所必要的最短时间，理由（个保法第十九条）",
    )


def _receivers(form: _Form, value: Mapping[str, Any]) -> None:
    form.head(2, "2 Who sees it", "二、提供与共享")
    form.head(3, "Tokens of departments that are valid", "有效的部门令牌")
    form.table(
        [("department", "部门"), ("label", "标签"), ("until", "有效期至"), ("what it allows", "允许内容")],
        [[t["department"], t["label"], _day(t["expires_ms"]), t["plain"]] for t in value["tokens"]],
    )
    form.head(3, "Stream passwords that are valid (RTSP)", "有效的取流口令（RTSP）")
    form.table(
        [("belongs to", "所属"), ("label", "标签"), ("cameras", "摄像机"), ("networks", "来源网段"),
         ("until", "有效期至"), ("basis for pictures without watermark", "无水印提供的依据")],
        [
            [p["owner"], p["label"], p["cameras"],
             ("those of the owner", "与所属相同") if p["networks"] is None else ", ".join(p["networks"]),
             _day(p["expires_ms"]), p["unmarked_basis"]]
            for p in value["stream_passwords"]
        ],
    )  # fmt: skip
    form.head(3, "Grants beyond roles", "角色之外的授权")
    form.table(
        [("given to", "授予"), ("effect", "效力"), ("what it says", "内容")],
        [
            [f"{g['subject_kind']}: {g['subject']}", ("denies", "禁止") if g["effect"] == "deny" else ("allows", "允许"),
             g["plain"]]
            for g in value["grants"]
        ],
    )  # fmt: skip
    form.open_field(
        "Contract or rule with each receiver (NDR art. 12): number", "与各接收方的协议或规定（网数条例第十二条）：编号"
    )
    form.head(3, "Other nodes", "上下级节点")
    form.table(
        [("node", "节点"), ("tier", "层级"), ("is our", "关系"), ("line", "线路"),
         ("bytes a day upward", "每日上传限额（字节）"), ("suspended", "已暂停"), ("TLS", "TLS"),
         ("exchange rules", "交换规则")],
        [
            [one["name"], one["tier"], ("upper", "上级") if one["role"] == "upper" else ("lower", "下级"), one["kind"],
             one["bytes_per_day"] or "–", one["suspended"], one["encrypted"],
             "; ".join(f"{r['grade']} {r['nature']}: {r['mode']}" for r in one["exchange"])]
            for one in value["links"]
        ],
    )  # fmt: skip
    leases = value["leases"]
    form.table(
        [("leases of the last 90 days", "近 90 天租约"), ("number", "数量"), ("by kind", "按机制"), ("cameras", "摄像机"),
         ("camera-hours", "摄像机小时"), ("never confirmed", "未经确认"), ("cache late", "缓存逾期")],
        [
            [words, one["count"], one["by_kind"], one["cameras"], one["camera_hours"], one["never_confirmed"],
             one["cache_not_purged_in_time"]]
            for words, one in (
                (("given to the tier above", "给予上级"), leases["granted"]),
                (("held of the tier below", "取自下级"), leases["held"]),
            )
        ],
    )  # fmt: skip
    form.say(f"Leases refused: {leases['refused']}.", f"拒绝的租约：{leases['refused']} 项。")


def _risks(form: _Form, value: Mapping[str, Any]) -> None:
    form.head(
        2, "3 Influence on people, and risks (art. 56 no. 2)", "三、对个人权益的影响及安全风险（第五十六条第二项）"
    )
    people = value["people"]
    form.table(
        [("people with an account", "有账号的人员"), ("number", "数量")],
        [
            [("all", "总数"), people["count"]],
            [("by role", "按角色"), people["by_role"]],
            [("shared walls, nobody's accounts", "共享大屏账号（不属于个人）"), people["shared_walls"]],
            [("more than one administrator's role in one person", "一人兼任多种管理员"), people["several_administrators_in_one"]],
            [("administrators who may also watch", "管理员兼可观看画面"), people["administrators_who_watch"]],
        ],
    )  # fmt: skip
    form.say("What the node itself finds wrong now:", "节点自查当前发现的问题：")
    form.table(
        [("since", "自"), ("level", "级别"), ("finding", "发现")],
        [[_day(f["since_ms"]), f["level"], f["reason"]] for f in value["findings"]],
    )
    form.open_field(
        "Groups of people concerned (children, patients, residents, …)", "受影响人群（未成年人、病患、居民等）"
    )
    form.open_field("What misuse or a leak would mean for them, and how likely it is", "滥用或泄露的后果及可能性")
    form.open_field(
        "Requests and complaints of the last year, and what became of them", "近一年的查阅请求、投诉及处理结果"
    )
    form.open_field("docs/threats.md was read; what of it matters here", "已阅读 docs/threats.md；其中与本单位相关者")


def _protection(form: _Form, value: Mapping[str, Any]) -> None:
    form.head(
        2,
        "4 Protection: lawful, effective, fitting the risk (art. 56 no. 3)",
        "四、保护措施是否合法、有效并与风险程度相适应（第五十六条第三项）",
    )
    it = value["protection"]
    second = ", ".join(it["second_person_for"]) or form.words(
        ("nothing: one person acts, delay and notice stand in", "无：一人即可，以延迟和告知代替")
    )
    locks: dict[str, Words] = {
        "proven": ("tried and proven", "已试验并证实"),
        "lies": ("tried, and the store lets locked objects go", "已试验，存储未能阻止删除"),
        "absent": ("this store has none", "该存储不支持"),
        "unknown": ("not tried yet", "尚未试验"),
    }
    form.table(
        [("measure", "措施"), ("now", "现状")],
        [
            [("TLS for people and departments", "面向人员和部门的 TLS"), it["web_tls"]],
            [("plain HTTP allowed behind a proxy", "允许代理之后的明文 HTTP"), it["web_plain_allowed"]],
            [("live streams for other software (RTSP)", "面向其他软件的实时码流（RTSP）"),
             {"off": ("off", "未启用"), "tls": ("TLS only", "仅 TLS"), "plain": ("without TLS too", "含未加密")}[it["rtsp"]]],
            [("TLS between nodes", "节点之间的 TLS"), it["relay_tls"]],
            [("requests between nodes signed, keys pinned", "节点间请求签名、密钥绑定"), True],
            [("store", "存储"), it["store"]],
            [("TLS to the store", "到存储的 TLS"), it["store_tls"]],
            [("passwords of cameras encrypted (AES-256-GCM)", "摄像机密码加密（AES-256-GCM）"), True],
            [("temporary cache of lower tiers encrypted, key destroyed at its end", "下级临时缓存加密，到期销毁密钥"), True],
            [("footage and catalog encrypted by tiergate", "录像与目录库由 tiergate 加密"), False],
            [("nightly encrypted backup", "每夜加密备份"), it["backup_nightly"]],
            [("lock of the evidence store", "证据存储的对象锁"), locks[it["evidence_lock"]]],
            [("second person for", "需第二人批准"), second],
            [("viewer's name over the picture, always", "画面叠加观看者姓名（始终）"),
             ("department tokens, but over RTSP with a basis; shared walls; pictures of lower tiers",
              "部门令牌（登记依据的 RTSP 除外）；共享大屏；下级画面")],
            [("register of every look before the first byte", "首字节之前登记每次调阅"), True],
            [("last signed head of the audit log", "审计日志最近签名"), _day(it["audit_signed_head_ms"])],
            [("monthly reports of use kept", "留存的月度使用报告"), len(value["kept_reports"])],
            [("somebody is told of alarms", "告警有人接收"), it["alarms_told"]],
            [("a sign-in lasts, hours", "登录有效小时"), it["session_hours"]],
        ],
    )  # fmt: skip
    form.open_field("Disks or buckets are encrypted by", "磁盘或存储桶由何种方式加密")
    form.open_field(
        "Who holds root on the machine, the store's and the database's accounts", "主机 root、存储及数据库账号由谁持有"
    )
    form.open_field("Training and duty of confidentiality of everybody with an account", "有账号人员的培训与保密义务")
    form.open_field(
        "Where and how people concerned ask to see or delete (Order 799 art. 21, PIPL ch. 4)",
        "当事人查阅、删除请求的受理渠道（条例第二十一条、个保法第四章）",
    )


def _conclusion(form: _Form) -> None:
    form.head(2, "5 Conclusion", "五、结论")
    form.open_field("What is not good enough, who mends it, until when", "不足之处、责任人、完成时限")
    form.open_field("The risk that remains is acceptable because", "剩余风险可接受的理由")
    form.open_field("Decision (go on, go on when mended, stop)", "决定（继续、整改后继续、停止）")
    form.open_field("Signed by, date", "签字、日期")
    form.open_field("Next assessment", "下次评估日期")
