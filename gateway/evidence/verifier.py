#!/usr/bin/env python3
"""Judges an evidence package of tiergate away from any node: python3 verify_evidence.py PACKAGE.zip --key FINGERPRINT

This file stands for itself: it needs Python 3.8 or later and the package ``cryptography``, nothing of tiergate. A copy
lies in every package, but whoever changes a package can change that copy too: take it from a node, or from somebody
who is not party to the case.

A package is a plain ZIP without compression, in this order: the files that the manifest lists, in its order;
``manifest.json``; ``manifest.sig``, the node's Ed25519 signature of it; ``audit.ndjson``, the entry of the node's audit
log that names the manifest's digest, with the head of the log signed behind it. Nothing in it is free: headers are made
anew from names, sizes and checksums and compared byte for byte, so that a change anywhere is found, in fields that no
unpacker looks at as well. An unpacked package is judged as a folder, without the ZIP's own bytes.

What it cannot know is whose key signed. Without ``--key`` the fingerprint is shown, to be compared with the one that
the node shows (``tiergate export key``). Nor does the signature say when: the time is the node's own word.

Belongs here: the format and the judgement. Does not belong here: making a package (`gateway.evidence.sending`).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, BinaryIO

FORMAT = "tiergate-evidence-1"
AUDIT_FORMAT = "tiergate-audit-1"
AUDIT_ACTION = "export.evidence"
SUITE = "ed25519-sha256-aes256gcm"  #: of all suites that may come, the one that this program knows
MANIFEST, SIGNATURE, AUDIT = "manifest.json", "manifest.sig", "audit.ndjson"
LAST = (MANIFEST, SIGNATURE, AUDIT)

_CHUNK_BYTES = 1 << 20
_KEPT_BYTES = 256 << 20  #: a manifest is never so large; what says so is not read into memory
_WIDE = 0xFFFFFFFF
_GENESIS = bytes(32)
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - Python 3.8 reads this file


class Bad(Exception):
    """The package is not what was signed. `code` names a sentence of `WORDS`, `what` the place."""

    def __init__(self, code: str, what: str = "") -> None:
        super().__init__(code, what)
        self.code, self.what = code, what


# --- the ZIP, of which every byte follows from names, sizes, checksums and order (APPNOTE 6.3.9) ---------------------

_MADE_BY = 0x032D  #: Unix, 4.5
_UTF8 = 0x0800
_DATE = 0x0021  #: 1 January 1980: the ZIP says nothing of times, the manifest does
_MODE = 0o100644 << 16


def local_header(name: str, size: int, crc: int) -> bytes:
    """What stands before the bytes of a file."""
    raw, wide = name.encode(), size >= _WIDE
    extra = struct.pack("<HHQQ", 1, 16, size, size) if wide else b""
    shown = _WIDE if wide else size
    fixed = (0x04034B50, 45 if wide else 20, _UTF8, 0, 0, _DATE, crc, shown, shown, len(raw), len(extra))
    return struct.pack("<IHHHHHIIIHH", *fixed) + raw + extra


def central_header(name: str, size: int, crc: int, offset: int) -> bytes:
    """Its line in the directory at the end; `offset` is that of its local header."""
    raw = name.encode()
    wide = [size, size] if size >= _WIDE else []
    wide += [offset] if offset >= _WIDE else []
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    shown = min(size, _WIDE)
    fixed = (0x02014B50, _MADE_BY, 45 if wide else 20, _UTF8, 0, 0, _DATE, crc, shown, shown)
    return struct.pack("<IHHHHHHIII", *fixed) + (
        struct.pack("<HHHHHII", len(raw), len(extra), 0, 0, 0, _MODE, min(offset, _WIDE)) + raw + extra
    )


def directory_end(count: int, size: int, offset: int) -> bytes:
    """What closes the ZIP: number of files, length and place of the directory."""
    out = b""
    if count >= 0xFFFF or size >= _WIDE or offset >= _WIDE:
        out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, _MADE_BY, 45, 0, 0, count, count, size, offset)
        out += struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)
    shown = min(count, 0xFFFF)
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, shown, shown, min(size, _WIDE), min(offset, _WIDE), 0)


class Packed:
    """A file of a package as it was read."""

    def __init__(self, name: str, size: int, sha256: str, data: bytes | None) -> None:
        self.name, self.size, self.sha256, self.data = name, size, sha256, data


def _read(stream: BinaryIO, name: str, size: int) -> tuple[Packed, int]:
    """`size` bytes of a file, and their CRC-32; those at the end are kept. Raises Bad."""
    digest, crc, left = hashlib.sha256(), 0, size
    kept: list[bytes] | None = [] if name in LAST else None
    if kept is not None and size > _KEPT_BYTES:
        raise Bad("malformed", name)
    while left:
        chunk = stream.read(min(_CHUNK_BYTES, left))
        if not chunk:
            raise Bad("cut", name)
        digest.update(chunk)
        crc = zlib.crc32(chunk, crc)
        left -= len(chunk)
        if kept is not None:
            kept.append(chunk)
    return Packed(name, size, digest.hexdigest(), None if kept is None else b"".join(kept)), crc


def read_zip(stream: BinaryIO) -> Iterator[Packed]:
    """The files of a package in their order. Raises Bad where a byte is not what it must be."""
    directory, count, offset = bytearray(), 0, 0
    while True:
        head = stream.read(30)
        if head[:4] != b"PK\x03\x04":
            break
        if len(head) < 30:
            raise Bad("cut", "ZIP")
        size, name_size, extra_size = struct.unpack("<22xIHH", head)
        rest = stream.read(name_size + extra_size)
        try:
            name = rest[:name_size].decode()
        except UnicodeDecodeError:
            raise Bad("malformed", "ZIP") from None
        if size == _WIDE:
            if len(rest) != name_size + 20:
                raise Bad("malformed", name)
            size = struct.unpack("<4xQ8x", rest[name_size:])[0]
        one, crc = _read(stream, name, size)
        if head + rest != local_header(name, size, crc):
            (stated,) = struct.unpack("<14xI12x", head)
            raise Bad("changed" if head + rest == local_header(name, size, stated) else "malformed", name)
        yield one
        directory += central_header(name, size, crc, offset)
        count += 1
        offset += len(head) + len(rest) + size
    tail = bytes(directory) + directory_end(count, len(directory), offset)
    found = head + stream.read(len(tail) + 1)
    if found != tail:
        raise Bad("cut" if len(found) < len(tail) and tail.startswith(found) else "malformed", "ZIP")


def read_folder(folder: str) -> Iterator[Packed]:
    """The same of an unpacked package; what is no plain file is refused."""
    for here, folders, files in os.walk(folder):
        for name in files + [f for f in folders if os.path.islink(os.path.join(here, f))]:
            path = os.path.join(here, name)
            shown = os.path.relpath(path, folder).replace(os.sep, "/")
            if os.path.islink(path) or not os.path.isfile(path):
                raise Bad("unlisted", shown)
            with open(path, "rb") as stream:
                yield _read(stream, shown, os.fstat(stream.fileno()).st_size)[0]


# --- what is signed --------------------------------------------------------------------------------------------------


def canonical_json(value: Any) -> bytes:
    """One text for one value: sorted names, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def statement(manifest: bytes) -> bytes:
    """What the node signs for a manifest."""
    return f"{FORMAT} manifest\n{len(manifest)}\n{hashlib.sha256(manifest).hexdigest()}\n".encode()


def fingerprint(public_key: bytes) -> str:
    """SHA-256 of a public key, in groups of four to be read aloud; the node's id is the first four of them."""
    text = hashlib.sha256(public_key).hexdigest()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def signature_holds(public_key: bytes, message: bytes, text: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        suite, key_id, signature = text.split(":")
        if suite != SUITE or key_id != hashlib.sha256(public_key).hexdigest()[:16]:
            return False
        Ed25519PublicKey.from_public_bytes(public_key).verify(_unb64(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _unb64(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("one value has one text")
    return data


def _entry_digest(entry: dict[str, Any], previous: bytes) -> bytes:
    """The digest of an entry of the audit log (`storage.audit.log`, encoding 1)."""
    names = ("seq", "at_ms", "actor", "action", "subject")
    parts = [previous, *(str(entry[name]).encode() for name in names), canonical_json(entry["details"])]
    encoded = AUDIT_FORMAT.encode() + b"\n" + b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hashlib.sha256(encoded).digest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _parsed(data: bytes, what: str) -> Any:
    """The value of canonical JSON: no other text says the same. Raises Bad."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once)
        if canonical_json(value) != data:
            raise ValueError("not canonical")
    except (ValueError, RecursionError):
        raise Bad("malformed", what) from None
    return value


# --- the judgement ---------------------------------------------------------------------------------------------------


def judge(files: list[Packed], ordered: bool) -> dict[str, Any]:
    """What a whole package says of itself. Raises Bad when it is not what was signed.

    `ordered`: the files of a ZIP stand in the manifest's order; those of a folder in none.
    """
    by_name = {one.name: one for one in files}
    if len(by_name) != len(files):
        raise Bad("unlisted", next(f.name for at, f in enumerate(files) if f.name in {g.name for g in files[:at]}))
    for name in LAST:
        if name not in by_name:
            raise Bad("missing", name)
    raw = by_name[MANIFEST].data or b""
    manifest = _parsed(raw, MANIFEST)
    try:
        if manifest["format"] != FORMAT:
            raise Bad("format", str(manifest["format"]))
        public_key = _unb64(manifest["node"]["public_key"])
        signed = (by_name[SIGNATURE].data or b"").decode("ascii")
        if not signed.endswith("\n") or not signature_holds(public_key, statement(raw), signed[:-1]):
            raise Bad("signature", MANIFEST)
        _compare(manifest, files, by_name, ordered)
        entry = _audited(by_name[AUDIT].data or b"", hashlib.sha256(raw).hexdigest(), public_key)
        summary = list(_summary(manifest))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise Bad("malformed", MANIFEST) from None
    shown = fingerprint(public_key)
    return {"manifest": manifest, "summary": summary, "fingerprint": shown, "audit": entry, "files": len(files)}


def _compare(
    manifest: dict[str, Any],
    files: list[Packed],
    by_name: dict[str, Packed],
    ordered: bool,
) -> None:
    listed = [one["name"] for one in manifest["files"]]
    for one in manifest["files"]:
        found = by_name.get(one["name"])
        if found is None:
            raise Bad("missing", one["name"])
        if (found.size, found.sha256) != (one["bytes"], one["sha256"]):
            raise Bad("changed", one["name"])
        if not _SAFE_NAME.match(one["name"]):
            raise Bad("malformed", one["name"])
    for name in by_name:
        if name not in listed and name not in LAST:
            raise Bad("unlisted", name)
    if ordered and [one.name for one in files] != [*listed, *LAST]:
        raise Bad("order", "ZIP")
    named = [segment["file"] for camera in manifest["cameras"] for segment in camera["segments"]]
    if sorted(named) != sorted(name for name in listed if name.startswith("footage/")):
        raise Bad("malformed", MANIFEST)
    for camera in manifest["cameras"]:
        for segment in camera["segments"]:
            as_recorded = by_name[segment["file"]].sha256 == segment["recorded_sha256"]
            if as_recorded == bool(segment.get("damaged", False)):
                raise Bad("recorded", segment["file"])


def _audited(data: bytes, manifest_sha256: str, public_key: bytes) -> dict[str, Any]:
    """The entry of the audit log that names the manifest, and the signed head that it is."""
    lines = data.split(b"\n")
    if len(lines) != 4 or lines[3] or _parsed(lines[0], AUDIT) != {"kind": "tiergate-audit", "format": AUDIT_FORMAT}:
        raise Bad("malformed", AUDIT)
    entry, head = _parsed(lines[1], AUDIT), _parsed(lines[2], AUDIT)
    if set(entry) != {"kind", "seq", "at_ms", "actor", "action", "subject", "details", "previous", "digest"}:
        raise Bad("malformed", AUDIT)
    previous = bytes.fromhex(entry["previous"])
    if entry["kind"] != "entry" or _entry_digest(entry, previous).hex() != entry["digest"]:
        raise Bad("audit", AUDIT)
    # What is signed are texts: 1 and "1" would have one digest, as would two ways to write a byte.
    numbers, texts = (entry["seq"], entry["at_ms"], head["seq"], head["at_ms"]), (entry["actor"], entry["subject"])
    typed = all(type(one) is int for one in numbers) and all(type(one) is str for one in texts)
    if not typed or previous.hex() != entry["previous"]:
        raise Bad("malformed", AUDIT)
    if entry["action"] != AUDIT_ACTION or entry["details"]["manifest_sha256"] != manifest_sha256:
        raise Bad("audit", AUDIT)
    if not _is_head_by(head, public_key) or (head["seq"], head["digest"]) != (entry["seq"], entry["digest"]):
        raise Bad("audit", AUDIT)
    return {"seq": entry["seq"], "digest": entry["digest"], "at_ms": entry["at_ms"]}


def _is_head_by(head: dict[str, Any], public_key: bytes) -> bool:
    if set(head) != {"kind", "format", "seq", "digest", "at_ms", "public_key", "signature"}:
        return False
    said = f"{AUDIT_FORMAT} checkpoint\n{head['seq']}\n{head['digest']}\n{head['at_ms']}\n"
    mine = (head["kind"], head["format"], _unb64(head["public_key"])) == ("checkpoint", AUDIT_FORMAT, public_key)
    return mine and signature_holds(public_key, said.encode(), head["signature"])


def find_in_log(path: str, audit: dict[str, Any]) -> None:
    """That an export of the node's audit log (``tiergate audit export``) holds the package's entry, in a chain that is
    whole from its first entry on. Raises Bad."""
    previous, seq, found = _GENESIS, 0, False
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            value = _parsed(line.rstrip(b"\n"), f"{path}: {number}")
            try:
                if value["kind"] != "entry":
                    continue
                seq += 1
                digest = _entry_digest(value, previous)
                if value["seq"] != seq or value["previous"] != previous.hex() or value["digest"] != digest.hex():
                    raise Bad("log", f"{path}: {number}")
            except (KeyError, TypeError):
                raise Bad("log", f"{path}: {number}") from None
            previous = digest
            found = found or (seq, digest.hex()) == (audit["seq"], audit["digest"])
    if not found:
        raise Bad("log", path)


def verify(path: str, key: str | None = None, log: str | None = None) -> dict[str, Any]:
    """Judges the package at `path`, a ZIP or a folder. Raises Bad, OSError."""
    if os.path.isdir(path):
        found = judge(list(read_folder(path)), ordered=False)
    else:
        with open(path, "rb") as stream:
            found = judge(list(read_zip(stream)), ordered=True)
    if key is not None and not is_key(key, found["fingerprint"]):
        raise Bad("key", found["fingerprint"])
    if log is not None:
        find_in_log(log, found["audit"])
    return found


def is_key(given: str, shown: str) -> bool:
    """Whether `given`, a fingerprint however it is parted or a public key in base64url, is that of `shown`."""
    hexadecimal = re.sub(r"[\s:-]", "", given).lower()
    if re.match(r"[0-9a-f]{64}\Z", hexadecimal):
        return hexadecimal == shown.replace("-", "")
    try:
        return fingerprint(_unb64(given.strip())) == shown
    except ValueError:
        return False


# --- for people ------------------------------------------------------------------------------------------------------

WORDS = {
    "cut": ("{what}: ends too early", "{what}：提前结束，内容不全"),
    "malformed": ("{what}: is not written as a package is", "{what}：不符合证据包格式"),
    "missing": ("{what}: is missing", "{what}：缺失"),
    "unlisted": ("{what}: is not in the manifest, or stands twice", "{what}：清单中没有，或重复出现"),
    "changed": ("{what}: has been changed", "{what}：内容已被改动"),
    "recorded": ("{what}: is not what was recorded, and nobody says so", "{what}：与录制时不符，且未注明"),
    "order": ("{what}: the files stand in another order", "{what}：文件次序不符"),
    "format": ("{what}: is a format that this program does not know", "{what}：本程序不支持的格式"),
    "signature": ("{what}: was not signed by the node that it names", "{what}：并非由所称节点签名"),
    "audit": ("{what}: is not the audit entry of this package", "{what}：不是本证据包的审计记录"),
    "log": (
        "{what}: the audit log is broken, or does not name this package",
        "{what}：审计日志不完整，或未记录本证据包",
    ),
    "key": ("signed by another key: {what}", "签名密钥不是所给的密钥：{what}"),
}


def _time(ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%d %H:%M:%S UTC")


def _visible(text: str) -> str:
    """A manifest is anybody's until its key was compared: nothing in it may write on the terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _summary(manifest: dict[str, Any]) -> Iterator[str]:
    node, maker = manifest["node"], manifest["maker"]
    yield _visible(f"node / 节点: {node['name']} ({node['region']}, {node['id']})")
    yield _visible(f"made / 制作: {_time(manifest['made_ms'])}  {maker['unit']} {maker['person']}")
    yield _visible(f"case / 案件: {manifest.get('case_no', '-')}  reason / 事由: {manifest['reason']}")
    for camera in manifest["cameras"]:
        segments, gaps, deleted = camera["segments"], camera["gaps"], camera["deleted"]
        damaged = sum(1 for segment in segments if segment.get("damaged"))
        span = f"{_time(segments[0]['start_ms'])} - {_time(segments[-1]['end_ms'])}" if segments else "-"
        yield _visible(f"camera / 摄像机 {camera['id']} {camera['name']}: {len(segments)} segments / 段, {span}")
        yield f"    gaps / 缺失 {len(gaps)}, deleted / 已删除 {len(deleted)}, damaged / 损坏 {damaged}"


def report(found: dict[str, Any], compared: bool) -> Iterator[str]:
    """The lines for a package that holds; `compared`: its key is the one that was given."""
    yield "WHOLE  every byte is what was signed / 完整：每个字节均与签名一致"
    yield from found["summary"]
    yield f"audit entry / 审计记录: {found['audit']['seq']} {found['audit']['digest']}"
    yield f"key fingerprint / 密钥指纹: {found['fingerprint']}"
    if not compared:
        yield "NOT COMPARED  whose key this is: ask the node's office for its fingerprint and give it with --key"
        yield "未比对：请向节点管理单位索取密钥指纹，并用 --key 给出"


def _with_values(arguments: list[str]) -> list[str]:
    """`--key VALUE` as one word: argparse takes a value that begins with "-" for another option, and of 64 public keys
    one begins so."""
    left, joined = list(arguments), []
    while left:
        word = left.pop(0)
        joined.append(f"{word}={left.pop(0)}" if word in ("--key", "--audit") and left else word)
    return joined


def main(arguments: list[str] | None = None) -> int:
    """0 whole; 1 not; 2 asked wrongly; 3 cannot be judged here."""
    parser = argparse.ArgumentParser(description="Judge an evidence package of tiergate / 核验 tiergate 证据包")
    parser.add_argument("package", help="ZIP, or the folder that it was unpacked into / ZIP 文件或解压后的文件夹")
    parser.add_argument("--key", help="fingerprint or public key of the node / 节点密钥指纹或公钥")
    parser.add_argument("--audit", help="export of the node's audit log, which must name it / 节点审计日志导出文件")
    parser.add_argument("--json", action="store_true", help="one line of JSON / 输出 JSON")
    asked = parser.parse_args(_with_values(sys.argv[1:] if arguments is None else arguments))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a console that has no Chinese
    try:
        import cryptography  # noqa: F401 - whether it is there
    except ImportError:
        print("needs: pip install cryptography / 需要先安装 cryptography", file=sys.stderr)
        return 3
    try:
        found = verify(asked.package, asked.key, asked.audit)
    except OSError as exc:
        print(f"{asked.package}: {exc.strerror}", file=sys.stderr)
        return 3
    except Bad as bad:
        if asked.json:
            print(json.dumps({"whole": False, "code": bad.code, "what": bad.what}))
        else:
            english, chinese = (words.format(what=_visible(bad.what)) for words in WORDS[bad.code])
            print(f"NOT WHOLE  {english}\n不完整：{chinese}")
        return 1
    if asked.json:
        shown = {name: found[name] for name in ("fingerprint", "audit", "files")}
        print(json.dumps({"whole": True, "key_compared": asked.key is not None, **shown}))
    else:
        print("\n".join(report(found, asked.key is not None)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
