"""What an assessment of the impact on people (PIPL art. 55 and 56) has to know about this node, as it stands now.

Everything is read: settings, catalog, register, audit log. No secret, no password, no address of a camera or a hook is
in it, and of people only counts, but for the names that grants are given to.

Belongs here: the facts. Does not belong here: the form and its words (`gateway.cli.impact_form`), any judgement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from config.settings import Settings
from config.units import DAY_MS
from gateway.access import resources
from gateway.access.principals import of_token
from gateway.access.tokens import plain_words
from gateway.ops import alarms
from storage import canary, class_changes, sites, use_view
from storage.approval_rules import ACTIONS
from storage.audit import signed
from storage.catalog import cameras, facts, grants, leases, links, people, places, retention_rows, stream_passwords
from storage.catalog.cameras import Camera
from storage.catalog.grants import GrantRow
from storage.catalog.tables import audit, register
from tiering.access import CameraResource, Function, Grant, Principal, decide
from tiering.grants import PURPOSES
from tiering.server import PURGE_GRACE_MS

LOOK_BACK_MS = 90 * DAY_MS
_ADMINISTRATORS = frozenset({"system_admin", "security_admin", "audit_admin"})


def gather(connection: Connection, settings: Settings, now_ms: int) -> dict[str, Any]:
    since_ms = now_ms - LOOK_BACK_MS
    own = cameras.cameras(connection)
    loaded = resources.load(connection, None, now_ms)
    return {
        "made_ms": now_ms,
        "since_ms": since_ms,
        "node": {
            "name": settings.node.name,
            "region": settings.node.region,
            "tier": settings.node.tier,
            "governance": settings.node.governance,
        },
        "purposes": _purposes(connection, since_ms),
        "cameras": _cameras(connection, own.values(), now_ms),
        "retention": _retention(connection, now_ms),
        "holds": _holds(connection, now_ms),
        "people": _people(connection),
        "grants": _grants(connection, own, loaded, now_ms),
        "tokens": _tokens(connection, own, loaded, now_ms),
        "stream_passwords": _stream_passwords(connection, now_ms),
        "links": _links(connection),
        "leases": _leases(connection, since_ms, now_ms),
        "protection": _protection(connection, settings),
        "findings": [
            {"check": alarm.check, "level": alarm.told, "since_ms": alarm.since_ms, "reason": alarm.reason}
            for alarm in alarms.Alarms.from_json(facts.get(connection, alarms.FACT)).standing
        ],
        "kept_reports": use_view.kept_months(connection),
    }


def _purposes(connection: Connection, since_ms: int) -> list[dict[str, Any]]:
    """All of the closed list, those not used too: what is possible belongs to the assessment."""
    query = select(register.c.purpose, func.count()).where(register.c.opened_ms >= since_ms)
    looks = {name: count for name, count in connection.execute(query.group_by(register.c.purpose))}
    return [{"purpose": name, "looks": looks.get(name, 0)} for name in PURPOSES]


def _cameras(connection: Connection, own: Iterable[Camera], now_ms: int) -> dict[str, Any]:
    known = list(own)
    areas = places.areas_of(connection, now_ms)

    def counted(values: Iterable[str]) -> dict[str, int]:
        return dict(sorted(Counter(values).items()))

    return {
        "count": len(known),
        "enabled": sum(c.enabled for c in known),
        "recorded_here": sum(c.enabled and c.recorded_by == "self" for c in known),
        "steerable": sum(c.ptz for c in known),
        "by_tier": counted(c.tier for c in known),
        "by_class": counted(areas[c.id][0][2] if c.id in areas else "default" for c in known),
        "by_secrecy": counted(str(c.secrecy) for c in known),
        "by_sharing": counted(c.sharing for c in known),
        "by_site_type": counted(c.site_type for c in known),
        "with_sound": [{"camera": c.id, "name": c.name, "basis": c.audio_basis} for c in known if c.audio],
        "forbidden_site_types": sorted(sites.FORBIDDEN),
    }


def _retention(connection: Connection, now_ms: int) -> dict[str, Any]:
    waiting = class_changes.pending(connection)
    bases = _legal_bases(connection)
    return {
        "classes": [
            {
                "class": c.name,
                "months": c.months,
                "at_least_days": c.min_days,
                "ceiling_months": c.ceiling_months,
                "for_hold": c.for_hold,
                "legal_basis": bases.get(c.name),
                "waiting_months": waiting[c.name].months if c.name in waiting else None,
            }
            for c in sorted(retention_rows.classes(connection).values(), key=lambda c: c.rank)
        ],
        "areas": [
            {"area": a.name, "class": a.class_name, "document_no": a.document_no, "cameras": len(a.cameras)}
            for a in places.areas(connection, now_ms).values()
        ],
    }


def _legal_bases(connection: Connection) -> dict[str, str | None]:
    """By class, what the last change of it named: the audit log is where it stands."""
    query = select(audit.c.subject, audit.c.details).where(audit.c.action == "retention.set").order_by(audit.c.seq)
    return {row.subject: row.details.get("legal_basis") for row in connection.execute(query)}


def _holds(connection: Connection, now_ms: int) -> dict[str, Any]:
    standing = retention_rows.holds(connection)
    return {
        "standing": len(standing),
        "by_class": dict(sorted(Counter(h.class_name for h in standing).items())),
        "review_overdue": sum(h.review_ms < now_ms for h in standing),
        "without_second_person": sum(h.approver is None for h in standing),
    }


def _people(connection: Connection) -> dict[str, Any]:
    enabled = [u for u in people.users(connection).values() if u.disabled_ms is None]
    active = [u for u in enabled if not u.wall]
    return {
        "count": len(active),
        "shared_walls": len(enabled) - len(active),
        "by_role": dict(sorted(Counter(role for u in active for role in u.roles).items())),
        "several_administrators_in_one": sum(len(_ADMINISTRATORS.intersection(u.roles)) > 1 for u in active),
        "administrators_who_watch": sum(
            not _ADMINISTRATORS.isdisjoint(u.roles) and not {"operator", "duty", "auxiliary"}.isdisjoint(u.roles)
            for u in active
        ),
    }


# --- who may do what -------------------------------------------------------------------------------------------------


def _grants(
    connection: Connection, own: dict[str, Camera], loaded: dict[str, CameraResource], now_ms: int
) -> list[dict[str, Any]]:
    units, users = places.departments(connection), people.users(connection)
    told = []
    for row in _standing(connection):
        grant = Grant.from_json(row.id, "department" if row.subject_kind == "department" else "user", row.value)
        name = row.subject
        if row.subject_kind == "department":
            if row.subject not in units:
                continue  # removed: its people have nothing of it
            name = units[row.subject].name
        elif row.subject_kind == "user" and row.subject in users:
            name = users[row.subject].name
        department = row.subject if row.subject_kind == "department" else None
        holder = Principal("user", "", "", "", "", department, grants=(grant,))
        names = [own[i].name for i in _seen(holder, grant, loaded, now_ms) if i in own]
        told.append(
            {
                "subject_kind": row.subject_kind,
                "subject": name,
                "effect": grant.effect,
                "cameras": len(names),
                "plain": plain_words(grant, names, grant.conditions.valid_to_ms),
            }
        )
    return sorted(told, key=lambda g: (g["subject_kind"], g["subject"]))


def _standing(connection: Connection) -> list[GrantRow]:
    found: list[GrantRow] = []
    after = None
    while rows := grants.grants(connection, after):
        found += [row for row in rows if row.revoked_ms is None]
        after = rows[-1].id
    return found


def _seen(holder: Principal, grant: Grant, loaded: dict[str, CameraResource], now_ms: int) -> list[str]:
    """The cameras that it is about now: what it opens, or what it denies."""
    if grant.effect == "deny":
        return [i for i, camera in loaded.items() if camera.origin == "own" and grant.covers(camera)]
    return [i for i, camera in loaded.items() if decide(holder, Function.CATALOG, camera, now_ms).visible]


def _tokens(
    connection: Connection, own: dict[str, Camera], loaded: dict[str, CameraResource], now_ms: int
) -> list[dict[str, Any]]:
    """Those that are valid now."""
    told = []
    after = None
    while rows := grants.tokens(connection, after):
        for row in rows:
            if row.revoked_ms is None and row.expires_ms > now_ms:
                grant = Grant.from_json(row.jti, "token", row.grant)
                names = [own[i].name for i in _seen(of_token(row), grant, loaded, now_ms) if i in own]
                told.append(
                    {
                        "department": row.unit,
                        "label": row.label,
                        "issued_ms": row.issued_ms,
                        "expires_ms": row.expires_ms,
                        "cameras": len(names),
                        "plain": plain_words(grant, names, row.expires_ms),
                    }
                )
        after = rows[-1].jti
    return sorted(told, key=lambda t: (t["department"], t["label"]))


def _stream_passwords(connection: Connection, now_ms: int) -> list[dict[str, Any]]:
    """Those that are valid now."""
    told = []
    after = None
    while rows := stream_passwords.newest(connection, after):
        valid = [row for row in rows if row.revoked_ms is None and row.expires_ms > now_ms]
        tokens = grants.tokens_by_jti(connection, [row.owner for row in valid])
        users = people.users(connection, [row.owner for row in valid])
        for row in valid:
            token, user = tokens.get(row.owner), users.get(row.owner)
            told.append(
                {
                    "owner": f"{token.unit}: {token.label}" if token is not None else user.name if user else row.owner,
                    "label": row.label,
                    "cameras": len(row.cameras),
                    "networks": None if row.networks is None else list(row.networks),
                    "expires_ms": row.expires_ms,
                    "unmarked_basis": row.unmarked_basis,
                }
            )
        after = rows[-1].id
    return sorted(told, key=lambda p: (p["owner"], p["label"]))


# --- other nodes -----------------------------------------------------------------------------------------------------


def _links(connection: Connection) -> list[dict[str, Any]]:
    return [
        {
            "name": link.peer_name,
            "tier": link.peer_tier,
            "role": link.peer_role,
            "kind": link.kind,
            "capacity_bps": link.capacity_bps,
            "bytes_per_day": link.bytes_per_day if link.peer_role == "upper" else None,
            "suspended": link.suspended_ms is not None,
            "encrypted": link.url.startswith("https://"),
            "exchange": [
                {"grade": grade, "nature": nature, "mode": mode}
                for (grade, nature), mode in sorted(links.exchange_of(connection, link.id).items())
            ],
        }
        for link in links.all_of(connection)
    ]


def _leases(connection: Connection, since_ms: int, now_ms: int) -> dict[str, Any]:
    """Of the last 90 days: those that we gave to the tier above, those that we held of the tier below."""
    told: dict[str, Any] = {}
    for side in ("granted", "held"):
        rows = leases.since(connection, side, since_ms)
        told[side] = {
            "count": len(rows),
            "by_kind": dict(sorted(Counter(row.kind for row in rows).items())),
            "cameras": len({camera for row in rows for camera in row.cameras}),
            "camera_hours": round(
                sum(
                    max(0, min(row.expires_ms, row.ended_ms or row.expires_ms, now_ms) - row.issued_ms)
                    * len(row.cameras)
                    for row in rows
                )
                / 3_600_000,
                1,
            ),
            "never_confirmed": sum(
                row.confirm_by_ms is not None and row.confirmed_ms is None and row.confirm_by_ms < now_ms
                for row in rows
            ),
            "cache_not_purged_in_time": sum(
                row.purged_ms is None and row.cache_until_ms + PURGE_GRACE_MS < now_ms for row in rows
            ),
        }
    refused = select(func.count()).where(audit.c.action == "lease.refuse", audit.c.at_ms >= since_ms)
    told["refused"] = int(connection.execute(refused).scalar_one())
    return told


# --- protection ------------------------------------------------------------------------------------------------------


def _protection(connection: Connection, settings: Settings) -> dict[str, Any]:
    head = facts.get(connection, signed.MARK)
    return {
        "web_tls": settings.web.tls_cert is not None,
        "web_plain_allowed": settings.web.allow_plain_http,
        "rtsp": "tls" if set(settings.rtsp.listeners) == {"rtsps"} else "plain" if settings.rtsp.listeners else "off",
        "relay_tls": settings.relay.tls_cert is not None,
        "store": settings.store.kind,
        "store_tls": None if settings.store.endpoint is None else settings.store.endpoint.startswith("https://"),
        "evidence_lock": canary.proof(connection),
        "backup_nightly": settings.backup.folder is not None,
        "alarms_told": bool(settings.alarms.command) or settings.alarms.webhook is not None,
        "session_hours": settings.web.session_hours,
        "second_person_for": sorted(ACTIONS) if settings.node.governance == "full" else [],
        "watermark_always": ["token", "lower"],
        "audit_signed_head_ms": None if head is None else head["at_ms"],
    }
