"""The closed list of purposes as a person would say it, in English and Chinese. (pure)"""

from __future__ import annotations

#: Characters of a reason where one must be given.
REASON_MINIMUM = 5

PURPOSE_WORDS: dict[str, tuple[str, str]] = {
    "daily_watch": ("daily watch", "日常值守"),
    "emergency": ("emergency", "应急处置"),
    "supervision_check": ("supervision check", "监督检查"),
    "incident_review": ("review of an incident", "事件复核"),
    "evidence": ("evidence", "固定证据"),
    "person_request": ("request of a person concerned", "当事人查阅"),
    "maintenance": ("maintenance", "维护"),
    "drill": ("drill", "演练"),
}
