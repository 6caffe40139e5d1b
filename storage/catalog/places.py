"""Rows of places: regions, departments, areas and who stands in them.

Regions form a tree by stored `parent`; the prefix of the code is only the default (development zones and direct
management break it). Membership in an area is effective-dated: nothing about the past is rewritten (R13).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, case, func, insert, select, update

from config.errors import Kind, TiergateError
from config.ids import default_parent, region_code
from config.names import hides_something, nearest
from config.units import format_time_ms
from storage.catalog import facts
from storage.catalog.tables import TIERS, area, area_camera, camera, department, region, retention_class, segment
from storage.clock_trust import HIGH_WATER

CODE_SOURCES = ("gb2260", "stats12", "local")
#: Only a default for rows that name no tier: the stored tier wins.
_TIER_BY_DIGITS = {2: None, 4: "city", 6: "district", 9: "street", 12: "community"}


@dataclass(frozen=True, slots=True)
class Region:
    code: str
    name: str
    tier: str | None
    parent: str | None
    code_source: str = "gb2260"


@dataclass(frozen=True, slots=True)
class Department:
    id: str
    name: str
    region: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Area:
    id: str
    name: str
    class_name: str
    document_no: str
    valid_from_ms: int
    valid_to_ms: int | None
    cameras: tuple[str, ...]  #: standing in it now
    regions: tuple[str, ...] = ()  #: whose cameras stand in it, with all below; () where cameras are named one by one


# --- regions ---------------------------------------------------------------------------------------------------------


def make_region(code: str, name: str, tier: str | None, parent: str | None, code_source: str | None) -> Region:
    """A region from what a person or a list says. Raises id.region_malformed, access.region_row_bad."""
    short = region_code(code.strip())
    tier = (tier or "").strip() or _TIER_BY_DIGITS[len(short)]
    source = (code_source or "").strip() or "gb2260"
    name = name.strip()
    if not name or len(name) > 120 or hides_something(name):
        raise TiergateError(Kind.INVALID, "access.region_row_bad", row=short, problem="name")
    if tier is not None and tier not in TIERS:
        problem = f"tier {tier[:20]!r} is none of {', '.join(TIERS)}."
        raise TiergateError(Kind.INVALID, "access.region_row_bad", row=short, problem=problem)
    if source not in CODE_SOURCES:
        raise TiergateError(Kind.INVALID, "access.region_row_bad", row=short, problem=f"code_source {source[:20]!r}")
    above = region_code(parent.strip()) if parent and parent.strip() else default_parent(short)
    return Region(short, name, tier, above, source)


def parse_regions(text: str) -> list[Region]:
    """CSV with a header: code,name[,tier[,parent[,code_source]]]. Raises access.region_row_bad, id.region_malformed."""
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""))
    found: list[Region] = []
    try:
        if reader.fieldnames is None or not {"code", "name"} <= set(reader.fieldnames):
            raise TiergateError(Kind.INVALID, "access.region_header")
        for row in reader:
            if not any((v or "").strip() for v in row.values() if isinstance(v, str)):
                continue
            cells = (row.get(k) for k in ("tier", "parent", "code_source"))
            found.append(make_region(row.get("code") or "", row.get("name") or "", *cells))
    except csv.Error as error:
        row_number = reader.line_num + 1
        raise TiergateError(Kind.INVALID, "access.region_row_bad", row=row_number, problem=str(error)) from error
    except TiergateError as error:
        if error.reason.code == "access.region_header":
            raise
        raise TiergateError(Kind.INVALID, "access.region_row_bad", row=reader.line_num, problem=error.reason) from error
    return found


def in_order(wanted: Iterable[Region], known: Iterable[str]) -> list[Region]:
    """`wanted` with parents before children. Raises access.region_parent, access.region_loop."""
    rows = {r.code: r for r in wanted}
    done = set(known) - set(rows)
    ordered: list[Region] = []

    def visit(row: Region, path: tuple[str, ...]) -> None:
        if row.code in done:
            return
        if row.code in path:
            raise TiergateError(Kind.INVALID, "access.region_loop", region=row.code)
        if row.parent is not None and row.parent not in done:
            if row.parent not in rows:
                raise TiergateError(Kind.INVALID, "access.region_parent", region=row.code, parent=row.parent)
            visit(rows[row.parent], (*path, row.code))
        done.add(row.code)
        ordered.append(row)

    for row in rows.values():
        visit(row, ())
    return ordered


def put_regions(connection: Connection, rows: Sequence[Region], now_ms: int) -> None:
    """Inserts or renews rows that are already in order (`in_order`); at most CHUNK_ROWS at once."""
    known = {r.code for r in connection.execute(select(region.c.code))}
    fresh = [r for r in rows if r.code not in known]
    if fresh:
        connection.execute(
            insert(region),
            [
                {
                    "code": r.code, "name": r.name, "tier": r.tier, "parent": r.parent,
                    "code_source": r.code_source, "valid_from_ms": now_ms,
                }
                for r in fresh
            ],
        )  # fmt: skip
    for r in rows:
        if r.code in known:
            connection.execute(
                update(region)
                .where(region.c.code == r.code)
                .values(name=r.name, tier=r.tier, parent=r.parent, code_source=r.code_source)
            )
    _settle_areas(connection, now_ms)


def regions(connection: Connection) -> dict[str, Region]:
    rows = connection.execute(select(region).where(region.c.valid_to_ms.is_(None)).order_by(region.c.code))
    return {r.code: Region(r.code, r.name, r.tier, r.parent, r.code_source) for r in rows}


def ancestry(tree: dict[str, Region], code: str) -> tuple[str, ...]:
    """`code` and everything above it, by stored parents."""
    found: list[str] = []
    at: str | None = code
    while at is not None and at not in found:
        found.append(at)
        at = tree[at].parent if at in tree else default_parent(at)
    return tuple(found)


def subtree(tree: dict[str, Region], code: str) -> frozenset[str]:
    """`code` and everything below it."""
    below: dict[str | None, list[str]] = {}
    for row in tree.values():
        below.setdefault(row.parent, []).append(row.code)
    found: set[str] = set()
    waiting = [code]
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting += below.get(at, ())
    return frozenset(found)


def seed_regions(connection: Connection, code: str, tier: str, name: str, now_ms: int) -> None:
    """The region chain of a fresh node: its own and those above, named by their codes until a list is imported."""
    known = regions(connection)
    own = region_code(code)
    chain: list[Region] = []
    at: str | None = own
    while at is not None and at not in known:
        label = name if at == own else at
        stored_tier = tier if at == own else _TIER_BY_DIGITS[len(at)]
        chain.append(Region(at, label, stored_tier, default_parent(at)))
        at = default_parent(at)
    put_regions(connection, list(reversed(chain)), now_ms)


def require_region(connection: Connection, code: str) -> Region:
    """Raises id.region_malformed, access.region_unknown."""
    short = region_code(code)
    row = connection.execute(select(region).where(region.c.code == short)).first()
    if row is None:
        raise TiergateError(Kind.INVALID, "access.region_unknown", region=short)
    return Region(row.code, row.name, row.tier, row.parent, row.code_source)


# --- departments -----------------------------------------------------------------------------------------------------


def departments(connection: Connection) -> dict[str, Department]:
    rows = connection.execute(select(department).where(department.c.removed_ms.is_(None)).order_by(department.c.name))
    return {r.id: Department(r.id, r.name, r.region, r.created_ms) for r in rows}


def require_department(connection: Connection, id_: str) -> Department:
    """Raises access.department_unknown."""
    row = connection.execute(
        select(department).where(department.c.id == id_, department.c.removed_ms.is_(None))
    ).first()
    if row is None:
        raise department_unknown(connection, id_)
    return Department(row.id, row.name, row.region, row.created_ms)


def department_unknown(connection: Connection, id_: str, kind: Kind = Kind.INVALID) -> TiergateError:
    """The refusal of `id_`, with those that it may mean."""
    rows = nearest(id_, departments(connection).values(), lambda row: (row.name, row.id))
    known: object = ", ".join(f"{row.name} ({row.id})" for row in rows) or {"en": "none", "zh": "无"}
    return TiergateError(kind, "access.department_unknown", department=id_[:40], known=known)


def add_department(connection: Connection, id_: str, name: str, region_: str, now_ms: int) -> Department:
    """Raises access.name_taken, access.region_unknown."""
    place = require_region(connection, region_)
    if connection.execute(select(department.c.id).where(department.c.name == name)).first() is not None:
        raise TiergateError(Kind.CONFLICT, "access.name_taken", name=name)
    connection.execute(insert(department).values(id=id_, name=name, region=place.code, created_ms=now_ms))
    return Department(id_, name, place.code, now_ms)


def rename_department(connection: Connection, id_: str, name: str) -> None:
    taken = connection.execute(select(department.c.id).where(department.c.name == name, department.c.id != id_)).first()
    if taken is not None:
        raise TiergateError(Kind.CONFLICT, "access.name_taken", name=name)
    connection.execute(update(department).where(department.c.id == id_).values(name=name))


def remove_department(connection: Connection, id_: str, now_ms: int) -> None:
    """The row stays for the registers; the name becomes free."""
    row = require_department(connection, id_)
    connection.execute(
        update(department).where(department.c.id == id_).values(removed_ms=now_ms, name=f"{row.name[:90]} ({id_})")
    )


# --- areas -----------------------------------------------------------------------------------------------------------


def areas(connection: Connection, now_ms: int) -> dict[str, Area]:
    """Areas that are valid now or later."""
    members: dict[str, list[str]] = {}
    for link in connection.execute(select(area_camera).where(_running(now_ms)).order_by(area_camera.c.camera_id)):
        members.setdefault(link.area_id, []).append(link.camera_id)
    rows = connection.execute(select(area).where(_not_over(now_ms)).order_by(area.c.name))
    return {
        r.id: Area(
            r.id, r.name, r.class_, r.document_no, r.valid_from_ms, r.valid_to_ms, tuple(members.get(r.id, ())),
            tuple(r.regions or ()),
        )
        for r in rows
    }  # fmt: skip


def _not_over(now_ms: int) -> ColumnElement[bool]:
    return (area.c.valid_to_ms.is_(None)) | (area.c.valid_to_ms > now_ms)


def _running(now_ms: int) -> ColumnElement[bool]:
    return (area_camera.c.to_ms.is_(None)) | (area_camera.c.to_ms > now_ms)


def check_area_class(connection: Connection, name: str) -> None:
    """Raises access.class_unknown for one that does not exist or that only holds give."""
    given_by_areas = select(retention_class.c.name).where(retention_class.c.for_hold.is_(False))
    known = connection.execute(given_by_areas.order_by(retention_class.c.name)).scalars().all()
    if name not in known:
        raise TiergateError(Kind.INVALID, "access.class_unknown", **{"class": name[:40], "known": ", ".join(known)})


def add_area(connection: Connection, row: Area) -> None:
    """Raises access.class_unknown, access.camera_unknown, access.region_unknown, access.area_mixed."""
    check_area_class(connection, row.class_name)
    if row.cameras and row.regions:
        raise TiergateError(Kind.INVALID, "access.area_mixed")
    connection.execute(
        insert(area).values(
            id=row.id, name=row.name, class_=row.class_name, document_no=row.document_no,
            valid_from_ms=row.valid_from_ms, valid_to_ms=row.valid_to_ms,
        )
    )  # fmt: skip
    if row.regions:
        set_area_regions(connection, row.id, row.regions, row.valid_from_ms)
    else:
        set_area_cameras(connection, row.id, row.cameras, row.valid_from_ms)


def change_area(connection: Connection, area_id: str, name: str | None, document_no: str | None) -> None:
    """None: stays as it is. Its end is `set_area_end`'s. Raises access.area_unknown."""
    _validity(connection, area_id)
    given = {"name": name, "document_no": document_no}
    values = {column: value for column, value in given.items() if value is not None}
    if values:
        connection.execute(update(area).where(area.c.id == area_id).values(**values))


def set_area_end(connection: Connection, area_id: str, to_ms: int | None, now_ms: int) -> None:
    """When it ends, or that it does not. Raises access.area_unknown, and access.area_end_past for an end that would
    take its class from footage that has it: an end is from now on."""
    earliest_ms = _earliest_end_ms(connection, area_id, now_ms)
    if to_ms is not None and to_ms < earliest_ms:
        raise TiergateError(Kind.INVALID, "access.area_end_past", earliest=format_time_ms(earliest_ms, local=True))
    connection.execute(update(area).where(area.c.id == area_id).values(valid_to_ms=to_ms))
    # Nobody came to it or left it while it was over.
    codes = _areas_of_regions(connection, now_ms).get(area_id)
    if codes is not None:
        _stand(connection, area_id, _cameras_in(connection, codes), max(now_ms, _validity(connection, area_id)))


def end_area(connection: Connection, area_id: str, now_ms: int) -> None:
    """Ends now; one that is over already stays as it was. Raises access.area_unknown."""
    end_ms = _earliest_end_ms(connection, area_id, now_ms)
    connection.execute(update(area).where(area.c.id == area_id, _not_over(end_ms)).values(valid_to_ms=end_ms))
    set_area_cameras(connection, area_id, (), end_ms)


def _validity(connection: Connection, area_id: str) -> int:
    """From when it is valid. Raises access.area_unknown."""
    from_ms = connection.execute(select(area.c.valid_from_ms).where(area.c.id == area_id)).scalar_one_or_none()
    if from_ms is None:
        raise TiergateError(Kind.NOT_FOUND, "access.area_unknown", area=area_id[:40])
    return int(from_ms)


def _earliest_end_ms(connection: Connection, area_id: str, now_ms: int) -> int:
    """As `_leave` for its cameras."""
    begun_ms = _validity(connection, area_id)
    standing = connection.execute(
        select(area_camera.c.camera_id, area_camera.c.from_ms).where(
            area_camera.c.area_id == area_id, area_camera.c.to_ms.is_(None)
        )
    ).all()
    begun_ms = max([begun_ms, *(int(row.from_ms) for row in standing)])
    known_ms, least_ms = _known_time(connection, [row.camera_id for row in standing], now_ms)
    return max(known_ms, begun_ms + least_ms if begun_ms > now_ms else begun_ms)


def _known_time(connection: Connection, camera_ids: Iterable[str], at_ms: int) -> tuple[int, int]:
    """(the later of `at_ms` and of what is known of the time; for how long at least somebody stood who begins later).

    A clock that is behind, as with a dead battery, would end memberships before what they are about, or before they
    began. What was recorded meanwhile shows it, and the sweep's mark; where no sweep has ever vouched for a time, a
    membership that seems to begin tomorrow may be of yesterday.
    """
    mark_ms: int | None = facts.get(connection, HIGH_WATER)
    newest_ms = connection.execute(
        select(func.max(segment.c.end_ms)).where(
            segment.c.camera_id.in_(list(camera_ids)),
            segment.c.stream.in_(("main", "sub")),  # so that the timeline's index serves
            segment.c.start_ms >= at_ms,
            segment.c.kind == "own",
            segment.c.time_trust != "unknown",
        )
    ).scalar_one()
    known_ms = max(at_ms, mark_ms or 0, int(newest_ms or 0))
    return known_ms, 0 if mark_ms is not None and known_ms == at_ms else 1


def set_area_regions(connection: Connection, area_id: str, codes: Iterable[str], from_ms: int) -> None:
    """From `from_ms` on exactly the cameras of these regions and of all below them stand in it, those too that come
    later; earlier membership stays as it was. Raises access.region_unknown."""
    found = sorted({require_region(connection, code).code for code in codes})
    connection.execute(update(area).where(area.c.id == area_id).values(regions=found))
    _stand(connection, area_id, _cameras_in(connection, found), from_ms)


def _cameras_in(connection: Connection, codes: Iterable[str]) -> set[str]:
    """Removed ones too: their footage goes on."""
    tree = regions(connection)
    below = frozenset[str]().union(*(subtree(tree, code) for code in codes))
    return {r.id for r in connection.execute(select(camera.c.id, camera.c.region)) if r.region in below}


def settle_camera(connection: Connection, camera_id: str, region_: str, now_ms: int) -> None:
    """A camera that came to a region, or moved there, stands in the areas of it and in no area of another."""
    above = set(ancestry(regions(connection), region_))
    for area_id, codes in _areas_of_regions(connection, now_ms).items():
        stands = connection.execute(
            select(area_camera.c.camera_id).where(
                area_camera.c.area_id == area_id, area_camera.c.camera_id == camera_id, area_camera.c.to_ms.is_(None)
            )
        ).first()
        should = not above.isdisjoint(codes)
        if should and stands is None:
            _come(connection, area_id, [camera_id], now_ms)
        elif not should and stands is not None:
            _leave(connection, area_id, [camera_id], now_ms)


def _settle_areas(connection: Connection, now_ms: int) -> None:
    for area_id, codes in _areas_of_regions(connection, now_ms).items():
        _stand(connection, area_id, _cameras_in(connection, codes), now_ms)


def _areas_of_regions(connection: Connection, now_ms: int) -> dict[str, list[str]]:
    query = select(area.c.id, area.c.regions).where(_not_over(now_ms), area.c.regions.is_not(None))
    return {row.id: row.regions for row in connection.execute(query)}


def set_area_cameras(connection: Connection, area_id: str, camera_ids: Iterable[str], from_ms: int) -> None:
    """From `from_ms` on exactly these stand in it, and no region's; earlier membership stays as it was. Raises
    access.camera_unknown."""
    connection.execute(update(area).where(area.c.id == area_id).values(regions=None))
    _stand(connection, area_id, set(camera_ids), from_ms)


def _stand(connection: Connection, area_id: str, wanted: set[str], from_ms: int) -> None:
    known = {r.id for r in connection.execute(select(camera.c.id).where(camera.c.id.in_(wanted)))}
    if wanted - known:
        raise TiergateError(Kind.INVALID, "access.camera_unknown", camera=sorted(wanted - known)[0][:40])
    standing = {
        r.camera_id
        for r in connection.execute(
            select(area_camera.c.camera_id).where(area_camera.c.area_id == area_id, area_camera.c.to_ms.is_(None))
        )
    }
    _leave(connection, area_id, standing - wanted, from_ms)
    _come(connection, area_id, wanted - standing, from_ms)


def _leave(connection: Connection, area_id: str, camera_ids: Collection[str], at_ms: int) -> None:
    """From now on; no membership that has begun is taken back whole, whatever the clock says."""
    if not camera_ids:
        return
    known_ms, least_ms = _known_time(connection, camera_ids, at_ms)
    from_ms = area_camera.c.from_ms
    ends_ms = case((from_ms < known_ms, known_ms), (from_ms > at_ms, from_ms + least_ms), else_=from_ms)
    ours = (area_camera.c.area_id == area_id) & area_camera.c.camera_id.in_(list(camera_ids))
    connection.execute(update(area_camera).where(ours, area_camera.c.to_ms.is_(None)).values(to_ms=ends_ms))


def _come(connection: Connection, area_id: str, camera_ids: Iterable[str], from_ms: int) -> None:
    coming = set(camera_ids)
    at_once = (area_camera.c.area_id == area_id) & (area_camera.c.from_ms == from_ms)
    back = {r.camera_id for r in connection.execute(select(area_camera.c.camera_id).where(at_once))} & coming
    if back:  # gone and come again in one millisecond: it never went
        connection.execute(update(area_camera).where(at_once, area_camera.c.camera_id.in_(back)).values(to_ms=None))
    rows = [{"area_id": area_id, "camera_id": c, "from_ms": from_ms} for c in sorted(coming - back)]
    if rows:
        connection.execute(insert(area_camera), rows)


def areas_of(
    connection: Connection, now_ms: int, camera_ids: Iterable[str] | None = None
) -> dict[str, list[tuple[str, str, str]]]:
    """Per camera the areas it stands in now, highest class first: (area id, name, class)."""
    query = (
        select(area_camera.c.camera_id, area.c.id, area.c.name, area.c.class_)
        .join(area, area.c.id == area_camera.c.area_id)
        .join(retention_class, retention_class.c.name == area.c.class_)
        .where(
            area_camera.c.from_ms <= now_ms,
            _running(now_ms),
            area.c.valid_from_ms <= now_ms,
            (area.c.valid_to_ms.is_(None)) | (area.c.valid_to_ms > now_ms),
        )
        .order_by(retention_class.c.rank.desc(), area.c.name)
    )
    if camera_ids is not None:
        query = query.where(area_camera.c.camera_id.in_(list(camera_ids)))
    found: dict[str, list[tuple[str, str, str]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.camera_id, []).append((row.id, row.name, row.class_))
    return found


def ancestors(connection: Connection, codes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each code itself and everything above it, reading only the rows on the way."""
    wanted = set(codes)
    tree: dict[str, Region] = {}
    asked: set[str] = set()
    waiting = set(wanted)
    while waiting:
        asked |= waiting
        for r in connection.execute(select(region).where(region.c.code.in_(waiting))):
            tree[r.code] = Region(r.code, r.name, r.tier, r.parent, r.code_source)
        above = {tree[code].parent if code in tree else default_parent(code) for code in waiting}
        waiting = {code for code in above if code is not None} - asked
    return {code: ancestry(tree, code) for code in wanted}


def region_names(connection: Connection, codes: Iterable[str]) -> dict[str, str]:
    query = select(region.c.code, region.c.name).where(region.c.code.in_(list(codes)))
    return {row.code: row.name for row in connection.execute(query)}
