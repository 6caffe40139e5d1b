"""The node's keys: files of 32 bytes under ``keys/``, mode 0600, made once by `init`, never in the catalog; in a
backup only encrypted, and never those under ``keys/leases/``.

``node.key`` (Ed25519) is the node's identity towards other nodes, ``token.key`` (Ed25519) signs departments' tokens,
``sealing.key`` (AES-256) seals camera accounts.
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

_NAMES = ("node", "token", "sealing")


@dataclass(frozen=True, slots=True)
class NodeKeys:
    node: bytes = field(repr=False)
    token: bytes = field(repr=False)
    sealing: bytes = field(repr=False)

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
        """Names the sealing key without giving it away."""
        return DEFAULT_SUITE.digest(b"tiergate sealing key\0" + self.sealing).hex()[:16]


def ensure_keys(settings: Settings) -> NodeKeys:
    """The keys, made where they are missing. For `init` and tests; a running node only loads."""
    folder = settings.paths.keys_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in _NAMES:
        path = folder / f"{name}.key"
        if not path.exists():
            fresh = path.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
    return load_keys(settings)


def load_keys(settings: Settings) -> NodeKeys:
    """Raises access.keys_missing, access.keys_open."""
    return NodeKeys(*(_read(settings.paths.keys_dir / f"{name}.key") for name in _NAMES))


def _read(path: Path) -> bytes:
    try:
        mode, value = path.stat().st_mode, path.read_bytes()
    except OSError as exc:
        raise TiergateError(Kind.ENVIRONMENT, "access.keys_missing", folder=path.parent) from exc
    if stat.S_IMODE(mode) & 0o077:
        raise TiergateError(Kind.ENVIRONMENT, "access.keys_open", file=path)
    if len(value) != 32:
        raise TiergateError(Kind.ENVIRONMENT, "access.keys_missing", folder=path.parent)
    return value
