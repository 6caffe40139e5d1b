"""Departments' tokens: a grant that this node signed, and the row that it must still equal.

EdDSA and nothing else (FAULTS S12): the algorithm and the keys are ours, never the header's; headers that could bring a
key are refused, and `kid` only chooses among ours; the text must be the one way to write it; what counts as revoked is
the row of its `jti`, not the text.

The key can be exchanged while the node runs (`gateway.ops.rotation`): `learn` takes what the catalog says of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from config.clock import Clock, wall_ms
from config.crypto import DEFAULT_SUITE, key_id, unb64
from config.errors import Kind, TiergateError
from config.units import format_time_ms
from config.weekly import week_words
from gateway.access.keys import NodeKeys, read_both
from gateway.access.purposes import PURPOSE_WORDS
from gateway.access.token_keys import KeyBook, OldKey, TokenKey
from storage.catalog.grants import TokenRow
from tiering.grants import Function, Grant

TYPE = "tiergate-grant+jwt"
FUNCTIONS = (
    Function.LIVE,
    Function.PLAYBACK,
    Function.SNAPSHOT,
    Function.EXPORT,
    Function.PTZ,
    Function.STATUS,
    Function.CATALOG,
)
LEAST_MS, MOST_MS = 60_000, 366 * 86_400_000
_MOST_CHARACTERS = 16_384
_CLAIMS = frozenset({"iss", "aud", "sub", "exp", "nbf", "iat", "jti", "grant"})


@dataclass(frozen=True, slots=True)
class Claims:
    jti: str
    department_id: str
    grant: dict[str, Any]
    expires_ms: int
    key_id: str  #: of the key that signed


class Tokens:
    def __init__(self, keys: NodeKeys, clock: Clock) -> None:
        self._folder = keys.folder
        self._privates = {key_id(keys.token_public): keys.token}
        self._first = TokenKey(key_id(keys.token_public), keys.token_public)
        self._book = KeyBook()
        self._issuer = f"tiergate:{keys.node_id}"
        self._clock = clock

    def learn(self, book: KeyBook) -> None:
        """What the catalog says of the keys, as `token_keys.read` gives it."""
        self._book = book

    def knows(self, text: str) -> bool:
        """Whether the key that the text names is one of those learned. True for what is no token at all."""
        try:
            kid = json.loads(unb64(text[:_MOST_CHARACTERS].split(".")[0]))["kid"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return True
        return self._key(kid) is not None

    def public_keys(self) -> Iterator[TokenKey]:
        """Those whose tokens are taken now, the one in force first."""
        if self._book.signing is None:
            yield self._first
        yield from self._book.published(wall_ms(self._clock))

    def sign(self, row: TokenRow) -> str:
        """The token's text; shown once, kept nowhere. Raises access.token_key_gone."""
        key = self._book.signer(row.issued_ms) or self._first
        claims = {
            "iss": self._issuer,
            "aud": f"{self._issuer}/api",
            "sub": row.department_id,
            "iat": row.issued_ms // 1000,
            "nbf": row.issued_ms // 1000,
            "exp": row.expires_ms // 1000,
            "jti": row.jti,
            "grant": row.grant,
        }
        private = Ed25519PrivateKey.from_private_bytes(self._private(key))
        return jwt.encode(claims, private, algorithm="EdDSA", headers={"typ": TYPE, "kid": key.key_id})

    def _private(self, key: TokenKey) -> bytes:
        if key.key_id not in self._privates:
            found = [value for value in read_both(self._folder, "token") if value is not None]
            self._privates |= {key_id(DEFAULT_SUITE.public_key(value)): value for value in found}
        if key.key_id not in self._privates:
            raise TiergateError(Kind.ENVIRONMENT, "access.token_key_gone", key=key.key_id, folder=self._folder)
        return self._privates[key.key_id]

    def _key(self, kid: object) -> TokenKey | None:
        book = self._book
        return next((key for key in (*book.old, book.signing or self._first) if key.key_id == kid), None)

    def verify(self, text: str) -> Claims:
        """Signature and form; the row is compared by `require`.

        Raises access.token_bad, access.token_expired, access.token_key_over.
        """
        bad = TiergateError(Kind.UNAUTHENTICATED, "access.token_bad")
        if len(text) > _MOST_CHARACTERS or not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}", text):
            raise bad
        try:
            header = json.loads(unb64(text.split(".")[0]))
            for part in text.split("."):
                unb64(part)
            key = self._key(header["kid"]) if type(header) is dict and "kid" in header else None
            if key is None or header != {"alg": "EdDSA", "typ": TYPE, "kid": key.key_id}:
                raise bad
            claims = jwt.decode(
                text,
                Ed25519PublicKey.from_public_bytes(key.public),
                algorithms=["EdDSA"],
                audience=f"{self._issuer}/api",
                issuer=self._issuer,
                # Times are judged below by the node's own clock port.
                options={"require": sorted(_CLAIMS), "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, RecursionError) as exc:
            raise bad from exc
        whole = all(type(claims[k]) is int for k in ("exp", "nbf", "iat"))
        texts = all(type(claims[k]) is str for k in ("jti", "sub", "aud"))
        if set(claims) != _CLAIMS or not whole or not texts or not isinstance(claims["grant"], dict):
            raise bad
        now_ms = wall_ms(self._clock)
        if claims["nbf"] * 1000 > now_ms + 1000:
            raise bad
        if claims["exp"] * 1000 <= now_ms:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.token_expired")
        if isinstance(key, OldKey) and now_ms >= key.until_ms:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.token_key_over")
        return Claims(claims["jti"], claims["sub"], claims["grant"], claims["exp"] * 1000, key.key_id)

    def require(self, claims: Claims, row: TokenRow | None) -> TokenRow:
        """The row behind `claims`, ending when the window of its key does.

        Raises access.token_bad, access.token_revoked, access.token_expired, access.token_key_over.
        """
        if row is None or row.grant != claims.grant or row.department_id != claims.department_id:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.token_bad")
        if row.expires_ms // 1000 * 1000 != claims.expires_ms:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.token_bad")
        if claims.key_id != (self._book.signer(row.issued_ms) or self._first).key_id:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.token_bad")
        return standing(row, wall_ms(self._clock), self._book)


def standing(row: TokenRow, now_ms: int, book: KeyBook) -> TokenRow:
    """The row, ending when the window of its key does.

    Raises access.token_revoked, access.token_expired, access.token_key_over.
    """
    if row.revoked_ms is not None:
        raise TiergateError(Kind.UNAUTHENTICATED, "access.token_revoked")
    if now_ms >= row.expires_ms:
        raise TiergateError(Kind.UNAUTHENTICATED, "access.token_expired")
    cut = book.cut(row)
    if cut is not row and now_ms >= cut.expires_ms:
        raise TiergateError(Kind.UNAUTHENTICATED, "access.token_key_over")
    return cut


# --- in plain words --------------------------------------------------------------------------------------------------

_DO_EN = {
    Function.LIVE: "watch live pictures",
    Function.PLAYBACK: "play recordings",
    Function.SNAPSHOT: "take still pictures",
    Function.EXPORT: "download clips",
    Function.PTZ: "steer the camera",
    Function.STATUS: "see whether a camera works",
    Function.CATALOG: "see the list of cameras",
}
_DO_ZH = {
    Function.LIVE: "观看实时画面",
    Function.PLAYBACK: "回放录像",
    Function.SNAPSHOT: "截取图片",
    Function.EXPORT: "下载片段",
    Function.PTZ: "控制云台",
    Function.STATUS: "查看摄像机状态",
    Function.CATALOG: "查看摄像机目录",
}
_SHOWN_NAMES = 5


def plain_words(grant: Grant, cameras: Sequence[str], expires_ms: int | None = None) -> Mapping[str, str]:
    """What the holder may do, as a person would say it. `cameras` are the names of the cameras it covers now."""
    chosen = [f for f in Function if f in grant.functions]
    shown = list(cameras[:_SHOWN_NAMES])
    more = len(cameras) - len(shown)
    conditions = grant.conditions
    en = [f"You may {_join([_DO_EN.get(f, f.value) for f in chosen], 'and')}."]
    zh = [f"您可以{'、'.join(_DO_ZH.get(f, f.value) for f in chosen)}。"]
    en.append(f"Cameras ({len(cameras)}): {', '.join(shown)}{f' and {more} more' if more else ''}.")
    zh.append(f"摄像机（{len(cameras)} 路）：{'、'.join(shown)}{f' 等另 {more} 路' if more else ''}。")
    low, high = conditions.footage_from_ms, conditions.footage_to_ms
    if low is not None or high is not None:
        first = "the beginning" if low is None else _local(low)
        last = "now" if high is None else _local(high)
        en.append(f"Recordings from {first} to {last} only.")
        zh.append(f"录像仅限{'最早' if low is None else _local(low)}至{'当前' if high is None else _local(high)}。")
    if conditions.look_back_ms is not None:
        minutes = conditions.look_back_ms // 60_000
        en.append(f"Recordings of the last {minutes} minutes only.")
        zh.append(f"录像仅限最近 {minutes} 分钟。")
    if conditions.max_stream == "sub":
        en.append("Small stream (sub) only.")
        zh.append("仅限子码流。")
    if conditions.max_streams is not None:
        count = conditions.max_streams
        en.append(f"At most {count} picture{'' if count == 1 else 's'} at once.")
        zh.append(f"同时打开的画面最多 {count} 路。")
    if conditions.weekly is not None:
        week_en, week_zh = week_words(conditions.weekly)
        en.append(f"Only at these times: {week_en}.")
        zh.append(f"仅限时段：{week_zh}。")
    if conditions.purposes is not None:
        named = [PURPOSE_WORDS[name] for name in sorted(conditions.purposes)]
        en.append(f"Only for: {', '.join(name for name, _ in named)}.")
        zh.append(f"仅限用途：{'、'.join(name for _, name in named)}。")
    if conditions.networks is not None:
        en.append(f"Only from the networks {', '.join(conditions.networks)}.")
        zh.append(f"仅限网络：{'、'.join(conditions.networks)}。")
    if conditions.valid_from_ms is not None:
        en.append(f"Not before {_local(conditions.valid_from_ms)}.")
        zh.append(f"自 {_local(conditions.valid_from_ms)} 起有效。")
    if expires_ms is not None:
        en.append(f"Valid until {_local(expires_ms)}.")
        zh.append(f"有效期至 {_local(expires_ms)}。")
    return {"en": " ".join(en), "zh": "".join(zh)}


def _local(value_ms: int) -> str:
    return format_time_ms(value_ms, local=True)[:16].replace("T", " ")


def _join(parts: Sequence[str], last: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}" if parts else "nothing"
