"""The relay's certificates with their keys: files ``relay-<digest>.pem`` under ``keys/``, one for each that is shown,
comes, or was shown before.

A pair is one file (certificate, chain, private key; 0600), whole on the disk under the name of its certificate before
the catalog names it (`tiering.pins.OWN`): so there is no moment with half of one. Belongs here: these files. Does not
belong here: which of them is shown (`gateway.relay.certificate`).
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Container
from datetime import datetime
from pathlib import Path

from cryptography import x509

from gateway.relay.http import digest_of_chain
from storage.volume import fsync_folder, write_synced

_FRESH = "relay.new"


def path_of(folder: Path, digest: bytes) -> Path:
    return folder / f"relay-{digest.hex()}.pem"


def keep(folder: Path, pem: bytes) -> bytes:
    """The digest of the pair, which is on the disk when this returns. Raises ValueError, OSError (`ssl.SSLError`) when
    it is no pair."""
    digest, fresh = digest_of_chain(pem), folder / _FRESH
    try:
        write_synced(fresh, pem)
        context_of(fresh)
        os.replace(fresh, path_of(folder, digest))
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
    fsync_folder(folder)
    return digest


def context_of(pair: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pair)
    return context


def ends(pem: bytes) -> datetime:
    """Until when the certificate is valid. Raises ValueError."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def strangers(folder: Path, known: Container[bytes]) -> list[Path]:
    """Pairs that nothing names any more."""
    return [path for path in sorted(folder.glob("relay-*.pem")) if _digest(path) not in known]


def forget(folder: Path, known: Container[bytes]) -> None:
    gone = strangers(folder, known)
    for path in gone:
        path.unlink(missing_ok=True)
    if gone:
        fsync_folder(folder)


def _digest(path: Path) -> bytes:
    try:
        return bytes.fromhex(path.stem.removeprefix("relay-"))
    except ValueError:
        return b""
