"""Stream passwords: what software that knows no token (a recorder, a VMS, a player) signs in with over RTSP.

One belongs to a token or a person and reaches some of the cameras that its owner may watch live, from some networks,
until a moment; it opens nothing else, and no other password opens a stream. Kept are the two digests that RFC 7616
compares with, sealed like a camera's account: the password itself is shown once and kept nowhere, so that nothing that
is stored can be shown again or be typed in elsewhere. Digests instead of a hash like argon2id, because Digest needs a
secret that both sides have; sealed, because whoever has them could answer a challenge.

Belongs here: making one, and judging an answer. Does not belong here: what it reaches (`gateway.access.principals`).
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.access import digest
from gateway.access.principals import Principals
from gateway.access.secrets import Secrets
from storage.catalog import cameras, stream_passwords
from tiering.grants import Principal

LEAST_MS, MOST_MS = 60_000, 366 * 86_400_000
#: No letters that are taken for others when a person types them into a recorder: 5 bits each.
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_LENGTH = 26  #: 130 bits


def fresh_password() -> Secret:
    return Secret("".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)))


def keep(connection: Connection, clock: Clock, sealing: Secrets, id_: str, password: Secret) -> str:
    """The id of the credential that holds it from now on. Raises access.sealing_key_gone."""
    kept = digest.Secrets.of(id_, password.reveal())
    row = sealing.seal(connection, clock, id_, id_, Secret(f"{kept.md5}:{kept.sha256}"))
    cameras.put_credential(connection, row)
    return row.id


def judge(
    connection: Connection,
    clock: Clock,
    sealing: Secrets,
    principals: Principals,
    answer: digest.Answer,
    method: str,
) -> Principal:
    """Whoever answered a challenge. Raises access.bad_login for a name that is none or an answer that does not fit;
    whoever knows the password hears why it does not work: access.stream_password_over, what its owner's end raises."""
    row = stream_passwords.by_id(connection, [answer.username[:26]]).get(answer.username)
    if row is None:
        raise TiergateError(Kind.UNAUTHENTICATED, "access.bad_login")
    sealed = cameras.credentials(connection, [row.credential_id])[row.credential_id]
    md5, _, sha256 = sealing.open(sealed).reveal().partition(":")
    if not digest.fits(answer, method, digest.Secrets(md5, sha256)):
        raise TiergateError(Kind.UNAUTHENTICATED, "access.bad_login")
    return principals.by_stream_password(connection, row.id, wall_ms(clock))
