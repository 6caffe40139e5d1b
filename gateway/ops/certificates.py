"""A private certificate authority for a node whose pages are not served on loopback alone.

Made by `init`: a CA that people put into their browsers once, and a server certificate under it. Other nodes do not
need the CA: they pin the server's certificate (DESIGN §6 "Tiers"). The relay makes itself another one under the same CA
before its own ends (`gateway.relay.certificate`).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from config.clock import Clock, SystemClock, wall_ms
from storage.volume import fsync_folder, write_synced

_CA_DAYS, _SERVER_DAYS = 3650, 825  #: 825 days is the longest that Apple's TLS accepts from a private CA


def make_private_ca(folder: Path, name: str, hosts: Sequence[str], clock: Clock | None = None) -> None:
    """Writes ``ca.crt``, ``ca.key``, ``tls.crt`` (with chain) and ``tls.key`` into `folder`, keys 0600."""
    now = datetime.fromtimestamp(wall_ms(clock or SystemClock()) // 1000, UTC)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tiergate {name}"[:60] + " CA")])
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(_usage(ca=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:60])])
    server = _server(ca, ca_key, server_key, subject, x509.SubjectAlternativeName(_names(hosts)), now)
    pem = serialization.Encoding.PEM
    write_synced(folder / "ca.crt", ca.public_bytes(pem), 0o644)
    write_synced(folder / "tls.crt", server.public_bytes(pem) + ca.public_bytes(pem), 0o644)
    for file, key in (("ca.key", ca_key), ("tls.key", server_key)):
        write_synced(folder / file, _private(key))
    fsync_folder(folder)


def renewed(folder: Path, current: bytes, clock: Clock) -> bytes | None:
    """Another server certificate for the names of `current` (PEM), with a key of its own: certificate, CA, private key.

    None when the CA in `folder` did not make `current`, or its key is kept elsewhere.
    """
    try:
        ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        before = x509.load_pem_x509_certificate(current)
        before.verify_directly_issued_by(ca)
        names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        return None
    now = datetime.fromtimestamp(wall_ms(clock) // 1000, UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    made = _server(ca, ca_key, key, before.subject, names, now)
    pem = serialization.Encoding.PEM
    return made.public_bytes(pem) + ca.public_bytes(pem) + _private(key)


def _server(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    names: x509.SubjectAlternativeName,
    now: datetime,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_SERVER_DAYS))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(_usage(ca=False), critical=True)
        .sign(ca_key, hashes.SHA256())
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """The addresses listened on; for "every address" those this machine has a name for."""
    wanted = {"localhost", "127.0.0.1", socket.gethostname()}
    for host in hosts:
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            wanted |= {address.partition("%")[0] for address in _own_addresses()}
        else:
            wanted.add(host)
    names: list[x509.GeneralName] = []
    for host in sorted(wanted):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _own_addresses() -> list[str]:
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)]
    except OSError:
        return []
