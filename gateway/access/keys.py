"""The node's keys: files of 32 bytes under ``keys/``, mode 0600, made once by `init`, never in the catalog; in a
backup only encrypted, and never those under ``keys/leases/``.

``node.key`` (Ed25519) is the node's identity towards other nodes, ``token.key`` (Ed25519) signs departments' tokens,
``sealing.key`` (AES-256) seals camera accounts. While one is exchanged (`gateway.ops.rotation`) the key to come lies
beside it as ``<name>.next.key``: it is on the disk before anything is made with it, and then takes the name in one
step, so that at every moment the folder holds each key that something was made with.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from config.crypto import DEFAULT_SUITE, key_id
from config.errors import Kind, TiergateError
from config.settings import Settings
from storage.volume import fsync_folder, replace_synced

_NAMES = ("node", "token", "sealing")


@dataclass(frozen=True, slots=True)
class NodeKeys:
    node: bytes = field(repr=False)
    token: bytes = field(repr=False)
    sealing: bytes = field(repr=False)
    folder: Path

    @property
    def node_public(self) -> bytes:
        return DEFAULT_SUITE.public_key(self.node)

    @property
    def node_id(self) -> str:
        """The node's name among nodes: key id of its public key."""
        return key_id(self.node_public)

    @property
    def token_public(self) -> bytes:
        return DEFAULT_SUITE.public_key(self.token)

    @property
    def sealing_id(self) -> str:
        return sealing_id(self.sealing)


def sealing_id(key: bytes) -> str:
    """Names a sealing key without giving it away."""
    return DEFAULT_SUITE.digest(b"tiergate sealing key\0" + key).hex()[:16]


def ensure_keys(settings: Settings) -> NodeKeys:
    """The keys, made where they are missing. For `init` and tests; a running node only loads."""
    folder = settings.paths.keys_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _NAMES:
        if not (folder / f"{name}.key").exists():
            _make(folder, f"{name}.key")
    return load_keys(settings)


def load_keys(settings: Settings) -> NodeKeys:
    """Raises access.keys_missing, access.keys_open."""
    folder = settings.paths.keys_dir
    node, token, sealing = (_read(folder / f"{name}.key") for name in _NAMES)
    return NodeKeys(node, token, sealing, folder)


def read_both(folder: Path, name: str) -> tuple[bytes, bytes | None]:
    """(the key of that name, the one to come). Raises access.keys_missing, access.keys_open.

    The one to come is looked for first: when it is not there although something was made with it, it has its name.
    """
    coming = folder / f"{name}.next.key"
    next_key = None
    try:
        next_key = _read(coming)
    except TiergateError:
        if coming.exists():
            raise
    return _read(folder / f"{name}.key"), next_key


def make_next(folder: Path, name: str) -> bytes:
    """The key to come, the same one until `take_next`; on the disk when this returns."""
    if not (folder / f"{name}.next.key").exists():
        _make(folder, f"{name}.next.key")
    fsync_folder(folder)  # whoever made it may have been killed before
    return _read(folder / f"{name}.next.key")


def take_next(folder: Path, name: str) -> None:
    """The key to come takes the name; the one before is gone."""
    os.replace(folder / f"{name}.next.key", folder / f"{name}.key")
    fsync_folder(folder)


def require_owner(folder: Path) -> None:
    """Keys made by another user could not be read by the node. Raises access.keys_owner."""
    owner = _owner(folder / "node.key")
    if os.geteuid() != owner:
        raise TiergateError(Kind.ENVIRONMENT, "access.keys_owner", folder=folder, uid=owner)


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError as exc:
        raise _away(path, exc) from exc


def _make(folder: Path, name: str) -> None:
    replace_synced(folder / name, secrets.token_bytes(32))


def _away(path: Path, exc: OSError) -> TiergateError:
    """Keys that this user may not read are not lost: nobody is to make others in their place."""
    if isinstance(exc, FileNotFoundError):
        return TiergateError(Kind.ENVIRONMENT, "access.keys_missing", folder=path.parent)
    return TiergateError(Kind.ENVIRONMENT, "access.keys_unreadable", folder=path.parent, problem=exc.strerror)


def _read(path: Path) -> bytes:
    try:
        mode, value = path.stat().st_mode, path.read_bytes()
    except OSError as exc:
        raise _away(path, exc) from exc
    if stat.S_IMODE(mode) & 0o077:
        raise TiergateError(Kind.ENVIRONMENT, "access.keys_open", file=path)
    if len(value) != 32:
        raise TiergateError(Kind.ENVIRONMENT, "access.keys_missing", folder=path.parent)
    return value
