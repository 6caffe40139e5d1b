"""Secrets as a type, and the removal of credentials from text. (pure; invariant I10)

A `Secret` can be compared and revealed on purpose; it cannot be formatted, printed, logged, pickled or put into JSON
by accident. A URL shown to anybody goes through `redact_url` first.
"""

from __future__ import annotations

import hmac
import re
from urllib.parse import quote, urlsplit, urlunsplit

HIDDEN = "***"


class Secret:
    """A string that must not appear anywhere. `reveal()` is the only way to the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


#: A scheme of more letters is found by its last ones: without a bound, letters without end would cost their square.
_URL_CREDENTIALS = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^\s/?#\"'<>]*@")
_QUERY_SECRET = re.compile(
    r"(?P<name>(?:^|[?&;\s])(?:token|ticket|password|passwd|pwd|secret|access_key|sig|signature)=)[^&\s\"']*", re.I
)
_BEARER = re.compile(r"(?P<name>\b(?:bearer|basic|digest)\s+)[A-Za-z0-9._~+/=-]{8,}", re.I)


def redact_text(value: str) -> str:
    """`value` without URL credentials, secret query values and authorisation values.

    libav and SOAP errors quote the URL they failed on, password included; every foreign error text passes here.
    The URL rule is greedy up to the last ``@`` before a slash, because passwords contain ``@`` unescaped.
    """
    value = _URL_CREDENTIALS.sub(lambda m: m["scheme"] + HIDDEN + "@", value)
    value = _QUERY_SECRET.sub(lambda m: m["name"] + HIDDEN, value)
    return _BEARER.sub(lambda m: m["name"] + HIDDEN, value)


def redact_url(url: str) -> str:
    """`url` with its user information and secret query values hidden."""
    return redact_text(url)


def split_credentials(url: str) -> tuple[str, str | None, Secret | None]:
    """(`url` without user information, user name or None, password or None).

    Raises ValueError when the URL has no host. Percent-encoding in the user information is decoded; the last ``@``
    before the path ends the user information, so an unescaped ``@`` in a password survives.
    """
    from urllib.parse import unquote

    parts = urlsplit(url)
    userinfo, _, hostport = parts.netloc.rpartition("@")
    if not hostport or parts.hostname is None:
        raise ValueError("no host")
    clean = urlunsplit((parts.scheme, hostport, parts.path, parts.query, parts.fragment))
    if not userinfo:
        return clean, None, None
    user, colon, password = userinfo.partition(":")
    return clean, unquote(user), Secret(unquote(password)) if colon else None


def with_credentials(url: str, user: str | None, password: Secret | None) -> str:
    """`url` with user information put in, percent-encoded. Only for a library that takes no other form (libav)."""
    if user is None:
        return url
    parts = urlsplit(url)
    userinfo = quote(user, safe="") + (":" + quote(password.reveal(), safe="") if password is not None else "")
    return urlunsplit((parts.scheme, f"{userinfo}@{parts.netloc}", parts.path, parts.query, parts.fragment))
