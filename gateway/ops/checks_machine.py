"""Checks of `doctor` on this machine: settings, folders, keys, disks, store, clock, page, processes, certificates."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path

from cryptography import x509
from sqlalchemy import Connection

from config.errors import TiergateError
from config.reasons import Reason, text
from config.settings import Listener, Settings, is_loopback, split_listen
from config.units import HOUR_MS
from gateway.access import journal
from gateway.access.keys import load_keys
from gateway.ops.disks import ask_each, folders_of, own_folders, silent
from gateway.ops.findings import Finding, Level, NotAsked, fine, found
from gateway.ops.locks import KEYS_LOCK, is_held
from gateway.ops.probe import Probe
from gateway.ops.signs import read_sign
from gateway.processes import fonts as mark_fonts
from gateway.relay.certificate import pair_shown
from storage import volume
from storage.catalog import migrate, volume_state
from storage.catalog.status import shards
from storage.clock_trust import AGREE_WITHIN_MS
from storage.objects import make_store
from storage.objects.folder import FolderStore
from storage.questions import ask
from storage.spool import FreeSpace, free_space
from tiering import pins

_PAGE = Path(__file__).parents[1] / "web" / "page"
_PAGE_FILES = ("index.html", "main.js", "vendor/htm-preact.mjs", "vendor/hls.light.min.mjs")
_CHINESE = "水印案件导出单位"  #: a few characters that stand for all
LAGS_S = 1.0  #: a watcher sees that
SILENT_S = 10.0  #: a process writes its sign of life some times a second
CERTIFICATE_WARN_DAYS, CERTIFICATE_BAD_DAYS = 30, 14


def settings(probe: Probe) -> Iterator[Finding]:
    plain = [
        (name, listener.listen)
        for name, listener in _listeners(probe)
        if listener.tls_cert is None and not is_loopback(split_listen(listener.listen)[0])
    ]
    for section, listen in plain:
        reason = Reason("ops.settings_plain", {"section": section, "listen": listen})
        yield found("settings", "warn", reason, Reason("ops.settings_plain_next"))
    rtsp = probe.settings.rtsp.listen
    in_the_clear = rtsp is not None and not is_loopback(split_listen(rtsp)[0])
    if in_the_clear:
        reason = Reason("ops.rtsp_plain", {"listen": rtsp})
        yield found("settings", "warn", reason, Reason("ops.rtsp_plain_next"))
    if not plain and not in_the_clear:
        yield fine("settings", "ops.settings_ok")


def _listeners(probe: Probe) -> tuple[tuple[str, Listener], ...]:
    return (("web", probe.settings.web), ("relay", probe.settings.relay))


def folders(probe: Probe) -> Iterator[Finding]:
    paths = probe.settings.paths
    wanted = {"data": paths.data, "catalog": paths.catalog_dir, "keys": paths.keys_dir}
    made_later = {"run": paths.run_dir, **paths.spool_dirs}
    bad = False
    for what, state in ask_each(wanted | made_later, lambda _, folder: _folder_state(folder)).items():
        if isinstance(state, OSError):
            raise state
        if state is _FolderState.USABLE or (state is _FolderState.ABSENT and what in made_later):
            continue
        bad = True
        if isinstance(state, Reason):
            continue  # `disks` says it
        readonly = state is _FolderState.READ_ONLY
        code = "ops.folder_readonly" if readonly else "ops.folder_missing"
        params: dict[str, object] = {"what": what, "user": _user()} if readonly else {"what": what}
        folder = (wanted | made_later)[what]
        yield found("folders", "bad", Reason(code, params), Reason("ops.folder_next", {"folder": folder}))
    if not bad:
        yield fine("folders", "ops.folders_ok")


class _FolderState(Enum):
    USABLE = "usable"
    ABSENT = "absent"
    NO_FOLDER = "no folder"  #: something else has its name
    READ_ONLY = "read-only"


def _folder_state(folder: Path) -> _FolderState:
    if not folder.exists():
        return _FolderState.ABSENT
    if not folder.is_dir():
        return _FolderState.NO_FOLDER
    return _FolderState.USABLE if os.access(folder, os.W_OK | os.X_OK) else _FolderState.READ_ONLY


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def keys(probe: Probe) -> Iterator[Finding]:
    try:
        load_keys(probe.settings)
    except TiergateError as error:
        yield found("keys", "bad", error.reason, Reason("ops.keys_next", {"folder": probe.settings.paths.keys_dir}))
        return
    if not is_held(probe.settings.paths.run_dir / KEYS_LOCK):
        for name, command in (("sealing", "tiergate secrets rotate"), ("token", "tiergate token rotate-key")):
            if (probe.settings.paths.keys_dir / f"{name}.next.key").exists():
                following = Reason("ops.keys_half_next", {"command": command})
                yield found("keys", "warn", Reason("ops.keys_half", {"key": f"{name}.key"}), following)
                return
    yield fine("keys", "ops.keys_ok")


def catalog(probe: Probe) -> Iterator[Finding]:
    following = Reason("ops.catalog_next")
    try:
        revision, whose = migrate.current(probe.settings.catalog_url), migrate.whose(probe.settings.catalog_url)
    except Exception as error:  # a broken file fails in as many ways as there are drivers
        reason = Reason("ops.catalog_away", {"problem": type(error).__name__})
        yield found("catalog", "bad", reason, following)
        return
    head = migrate.head()
    if whose is None:
        yield found("catalog", "bad", Reason("ops.catalog_missing"), following)
    elif revision != head:
        reason = Reason("ops.catalog_old", {"revision": revision, "head": head})
        yield found("catalog", "warn", reason, Reason("ops.catalog_old_next"))
    else:
        yield fine("catalog", "ops.catalog_ok", revision=revision)


def register(probe: Probe) -> Iterator[Finding]:
    """Lines of the call register that only a file has."""
    run_dir = probe.settings.paths.run_dir
    count = journal.unapplied(run_dir)
    if count:
        following = Reason("ops.register_unapplied_next", {"folder": run_dir})
        yield found("register", "bad", Reason("ops.register_unapplied", {"count": count}), following)
    else:
        yield fine("register", "ops.register_ok")


def unreachable(settings: Settings) -> list[Finding]:
    """Of the node's own folders those whose disk hangs: whatever else asks them would not come back."""
    own = own_folders(settings)
    answers = ask_each(own, lambda _, folder: folder.exists())
    hung = {own[name]: answer for name, answer in answers.items() if isinstance(answer, Reason)}
    return [_silent(reason) for folder, reason in hung.items() if hung.keys().isdisjoint(folder.parents)]


def _silent(reason: Reason) -> Finding:
    return found("disks", "bad", reason, Reason("ops.disk_silent_next"))


def disks(probe: Probe) -> Iterator[Finding]:
    limits = probe.settings.spool
    spools = probe.settings.paths.spool_dirs
    folders = folders_of(probe.settings)
    told = probe.catalog.read(volume_state.read) if probe.catalog is not None else {}
    known = probe.catalog.read(partial(_known, spools=spools)) if probe.catalog is not None else {}
    for name, answer in ask_each(folders, partial(_look_at, known=known)).items():
        if isinstance(answer, Reason):
            yield _silent(answer)
            continue
        if isinstance(answer, OSError):
            continue
        wrong, free = answer
        if wrong is not None:
            yield found("disks", "bad", wrong, Reason("ops.volume_next", {"folder": folders[name]}))
            continue
        if free is None:
            continue
        percent = round(free.percent, 1)
        params = {"volume": name, "percent": percent, "free_gb": round(free.bytes_free / 1e9, 1)}
        said = told.get(name)
        if percent < limits.critical_free_percent:
            yield found("disks", "bad", Reason("ops.disk_critical", params), Reason("ops.disk_next"))
        elif percent < limits.min_free_percent:
            yield found("disks", "warn", Reason("ops.disk_low", params), Reason("ops.disk_next"))
        elif free.read_only or (said is not None and said["code"] not in _SPACE):
            problem = said[probe.settings.node.language] if said is not None else "EROFS"
            reason = Reason("ops.volume_trouble", {"volume": name, "problem": problem})
            yield found("disks", "bad", reason, Reason("ops.volume_next", {"folder": folders[name]}))
        else:
            yield fine("disks", "ops.disk_ok", **params)


def _look_at(name: str, folder: Path, known: Mapping[str, str | None]) -> tuple[Reason | None, FreeSpace | None]:
    """(what is wrong with the volume, else its space). Raises OSError."""
    wrong = _wrong_volume(name, folder, known.get(name))
    return (wrong, None) if wrong is not None else (None, free_space(folder))


#: What a recorder says of space is said better by the numbers of this moment.
_SPACE = ("recorder.disk_full", "recorder.shed")


def _known(connection: Connection, spools: Mapping[str, Path]) -> dict[str, str | None]:
    return {name: volume.known_id(connection, str(folder)) for name, folder in spools.items()}


def _wrong_volume(name: str, folder: Path, known: str | None) -> Reason | None:
    """Only where the node has used a volume: before the first start there is none."""
    if known is None:
        return None
    try:
        same = volume.read_identity(folder, name) == known
    except TiergateError as error:
        return error.reason
    return None if same else Reason("media.volume_swapped", {"volume": name})


def store(probe: Probe) -> Iterator[Finding]:
    chosen = probe.settings.store
    where = "folder" if chosen.kind == "folder" else f"{chosen.endpoint}, {chosen.bucket}"
    try:
        opened = make_store(probe.settings)
        if isinstance(opened, FolderStore):
            if not ask(opened.root, partial(_is_made, opened)):
                return  # not made yet: the keeper does it; one that is lost is the keeper's job "store" failing
        else:
            opened.head("probe")
        server_ms = opened.server_time()
    except (TiergateError, TimeoutError) as error:
        said = error.reason if isinstance(error, TiergateError) else silent("store", probe.settings.store_folder)
        reason = Reason("ops.store_bad", {"problem": text(said, probe.settings.node.language)})
        yield found("store", "bad", reason, Reason("ops.store_next", {"where": where}))
        raise NotAsked from error  # what its clock says
    yield fine("store", "ops.store_ok")
    if server_ms is not None and abs(server_ms - probe.now_ms) > AGREE_WITHIN_MS:
        offset_s = round((probe.now_ms - server_ms) / 1000)
        yield found("clock", "bad", Reason("ops.clock_store_far", {"offset_s": offset_s}), Reason("ops.clock_next"))


def _is_made(opened: FolderStore) -> bool:
    """Raises media.volume_missing."""
    if not opened.root.exists():
        return False
    _ = opened.volume_id
    return True


def clock(probe: Probe) -> Iterator[Finding]:
    test_file = probe.settings.clock.test_file
    if test_file is not None:
        reason = Reason("ops.clock_test", {"file": test_file})
        yield found("clock", "bad", reason, Reason("ops.clock_test_next"))
    if probe.settings.retention.clock_source == "trusted":
        yield fine("clock", "ops.clock_trusted")
    elif probe.clock.synchronised():
        yield fine("clock", "ops.clock_ok")
    else:
        yield found("clock", "warn", Reason("ops.clock_unproven"), Reason("ops.clock_next"))


def page(probe: Probe) -> Iterator[Finding]:
    missing = [name for name in _PAGE_FILES if not (_PAGE / name).is_file()]
    for name in missing:
        yield found("page", "bad", Reason("ops.page_missing", {"file": name}), Reason("ops.page_next"))
    if not missing:
        yield fine("page", "ops.page_ok")


def fonts(probe: Probe) -> Iterator[Finding]:
    """Whether a watermark in Chinese can be burnt into a clip."""
    chosen = probe.settings.clips.font
    try:
        lacking = mark_fonts.lacking(chosen, _CHINESE + probe.settings.node.name)
    except TiergateError as error:
        yield found("fonts", "warn", error.reason, Reason("ops.fonts_next"))
        return
    if lacking:
        yield found("fonts", "warn", Reason("ops.fonts_lack", {"characters": lacking[:20]}), Reason("ops.fonts_next"))
    else:
        yield fine("fonts", "ops.fonts_ok")


# --- the running node ---


def supervisor_pid(probe: Probe) -> int | None:
    """The supervisor's, when it runs."""
    try:
        pid = int((probe.settings.paths.run_dir / "supervisor.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if Path(f"/proc/{pid}").exists() else None


def ports(probe: Probe) -> Iterator[Finding]:
    running = supervisor_pid(probe) is not None
    listening = [(section, listener.listen, section) for section, listener in _listeners(probe)]
    listening += [(scheme, listen, "web") for scheme, listen in probe.settings.rtsp.listeners.items()]
    for section, listen, process in listening:
        params = {"section": section, "listen": listen}
        answers = _answers(*split_listen(listen))
        if running and answers:
            yield fine("ports", "ops.port_ok", **params)
        elif running:
            following = Reason("ops.process_next", {"name": process})
            yield found("ports", "bad", Reason("ops.port_silent", params), following)
        elif answers:
            yield found("ports", "bad", Reason("ops.port_taken", params), Reason("ops.port_next"))
        else:
            yield fine("ports", "ops.port_free", **params)


def _answers(host: str, port: int) -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound
    try:
        with socket.create_connection((reachable, port), timeout=2):
            return True
    except OSError:
        return False


def processes(probe: Probe) -> Iterator[Finding]:
    if supervisor_pid(probe) is None:
        yield found("processes", "warn", Reason("ops.node_down"), Reason("ops.node_down_next"))
        return
    names = ["keeper", "relay", "worker"]
    workers = probe.settings.web.workers
    names += ["web"] if workers == 1 else [f"web-{n}" for n in range(workers)]
    if probe.catalog is not None:
        names += [f"recorder-{n}" for n in probe.catalog.read(shards)]
    silent = [name for name in names if not _alive(probe, name)]
    for name in silent:
        reason, following = Reason("ops.process_silent", {"name": name}), Reason("ops.process_next", {"name": name})
        yield found("processes", "bad", reason, following)
    run_dir = probe.settings.paths.run_dir
    signs = [(name, read_sign(run_dir, name)) for name in names if name not in silent]
    slow = [(name, round(sign.lag_us / 1e6, 1)) for name, sign in signs if sign and sign.lag_us > LAGS_S * 1e6]
    for name, lag_s in slow:
        reason = Reason("ops.process_lags", {"name": name, "lag_s": lag_s})
        yield found("processes", "warn", reason, Reason("ops.process_lags_next"))
    if not silent and not slow:
        yield fine("processes", "ops.processes_ok", count=len(names))


def _alive(probe: Probe, name: str) -> bool:
    sign = read_sign(probe.settings.paths.run_dir, name)
    return sign is not None and 0 <= probe.clock.monotonic_ns() - sign.alive_ns < SILENT_S * 1e9


def certificates(probe: Probe) -> Iterator[Finding]:
    for section, listener in _listeners(probe):
        if listener.tls_cert is None:
            continue
        following = Reason("ops.certificate_next")
        try:
            file = listener.tls_cert if section == "web" else _relay_certificate(probe)
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError):
            yield found("certificates", "bad", Reason("ops.certificate_bad", {"section": section}), following)
            continue
        now = datetime.fromtimestamp(probe.now_ms / 1000, UTC)
        days = (certificate.not_valid_after_utc - now).days
        params = {"section": section, "days": days}
        if days >= CERTIFICATE_WARN_DAYS:
            yield fine("certificates", "ops.certificate_ok", **params)
        else:
            level: Level = "bad" if days < CERTIFICATE_BAD_DAYS else "warn"
            yield found("certificates", level, Reason("ops.certificate_ends", params), following)
    if probe.catalog is not None and probe.settings.relay.tls_cert is not None:
        yield from probe.catalog.read(lambda c: list(_unaware(c, probe.now_ms)))


def _relay_certificate(probe: Probe) -> Path:
    """The one that is shown, which need not be the one in the settings' file."""
    kept = None if probe.catalog is None else probe.catalog.read(lambda c: pair_shown(c, probe.settings))
    return kept or probe.settings.relay.tls_cert or Path()


def _unaware(connection: Connection, now_ms: int) -> Iterator[Finding]:
    """Nodes that call this one and do not know the certificate that they will be shown, or are shown now."""
    state = pins.own(connection)
    if state is None:
        return
    for row in pins.waiting(connection, state):
        named: dict[str, object] = {"link": row.id, "name": row.peer_name}
        if state.coming is None:
            reason, following = Reason("ops.certificate_behind", named), "ops.certificate_behind_next"
            yield found("certificates", "bad", reason, Reason(following))
        elif now_ms - state.announced_ms >= HOUR_MS:
            hours = (now_ms - state.announced_ms) // HOUR_MS
            reason = Reason("ops.certificate_waits", named | {"hours": hours})
            yield found("certificates", "warn", reason, Reason("ops.certificate_waits_next"))
