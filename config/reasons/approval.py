"""Words for reasons of the second person's queue: code -> (English, Chinese). (pure)"""

WORDS: dict[str, tuple[str, str]] = {
    "approval.needed": (
        "This needs a second person: another user with one of the roles {roles} approves it before it is done.",
        "此操作须经第二人批准：由另一名具有 {roles} 之一角色的用户批准后方可执行。",
    ),
    "approval.queued": (
        "It waits for a second person; nothing has changed yet. Approval {approval}, to be given by {until}: {what}",
        "已提交，待第二人批准，目前尚未变更。批准单 {approval}，须在 {until} 前批准：{what}",
    ),
    "approval.hold_stands": (
        "The hold protects from now on, provisionally. Unless a second person gives approval {approval} by {until}, it lapses.",
        "保全令即时生效（临时）。若第二人未在 {until} 前批准（批准单 {approval}），该保全令失效。",
    ),
    "approval.unknown": ("There is no approval {approval}.", "没有批准单 {approval}。"),
    "approval.own": (
        "Nobody decides what they have asked for themselves; a second person does.",
        "不得审批本人提出的申请，须由第二人审批。",
    ),
    "approval.expired": (
        "The time of approval {approval} ended {until}; it must be asked for again.",
        "批准单 {approval} 已于 {until} 过期，须重新申请。",
    ),
    "approval.decided": (
        "Approval {approval} is decided already ({state}).",
        "批准单 {approval} 已有结论（{state}）。",
    ),
    "approval.asked_already": (
        "The same is waiting already as approval {approval}; a second person decides it first.",
        "同一事项已有待批的批准单 {approval}，须先由第二人作出决定。",
    ),
    "approval.words_needed": (
        "Say why it is refused.",
        "拒绝时请说明理由。",
    ),
    "approval.class_changed": (
        "Class {class} has changed since it was asked for (then {was}, now {now}): what was shown is not what would be done.",
        "申请之后保存类别 {class} 已变更（当时 {was}，现为 {now}），与批准单所示不符。",
    ),
    "approval.hold_over": (
        "Hold {hold} is released already.",
        "保全令 {hold} 已解除。",
    ),
    "approval.requester_gone": (
        "{person}, who asked for it, has no longer the right to.",
        "申请人 {person} 已不具备相应权限。",
    ),
    "approval.not_done": (
        "Approval {approval} was given but could not be carried out, and is closed: {why}",
        "批准单 {approval} 虽获批准但未能执行，现已关闭：{why}",
    ),
    "approval.restored": (
        "Approval {approval} was decided after the backup that this node was restored from; by whom is not known here.",
        "批准单 {approval} 的结论作于本节点恢复所用备份之后，由何人作出在此已无记录。",
    ),
    "approval.done": (
        "Approved and done: {what}",
        "已批准并执行：{what}",
    ),
    "approval.refused": (
        "Refused; nothing is done: {what}",
        "已拒绝，不予执行：{what}",
    ),
    # --- what is asked for, as both persons read it
    "approval.of_shorter": (
        "class {class} keeps {months} month(s) instead of {from_months}; seven days after the approval",
        "保存类别 {class} 由 {from_months} 个月改为 {months} 个月，批准七天后生效",
    ),
    "approval.of_above": (
        "class {class} keeps {months} months instead of {from_months}, above its ceiling of {ceiling}, by {legal_basis}; seven days after the approval",
        "保存类别 {class} 由 {from_months} 个月改为 {months} 个月，超过上限 {ceiling} 个月，依据 {legal_basis}，批准七天后生效",
    ),
    "approval.of_sweep": (
        "the next sweep may condemn {due} of {standing} segments although the last plan did not expect them",
        "下次清理可将上次计划未预期的 {due} 段录像（共 {standing} 段）判定为到期",
    ),
    "approval.of_hold_add": (
        "hold of case {case_no} on {count} camera(s), {from} to {to}, class {class}",
        "案号 {case_no} 的保全令：{count} 台摄像机，{from} 至 {to}，类别 {class}",
    ),
    "approval.of_hold_release": (
        "release of the hold of case {case_no} on {count} camera(s), {from} to {to}",
        "解除案号 {case_no} 的保全令：{count} 台摄像机，{from} 至 {to}",
    ),
}
