"""Whatever is done to a package, the program in it finds it, alone: bits, files, order, names, signatures, logs."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import random
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config import crypto
from gateway.evidence import verifier
from storage.audit import log
from tests.gateway.evidence.packages import CONFIG, UNITS, Judge, ask, files_of, footage_with_a_gap, later, zipped
from tests.gateway.watching import rig

FLIPS = 1_000

Counted = Callable[[object], None]


@dataclass(frozen=True, slots=True)
class Made:
    """Two packages of one node that overlap, its log, its key, and the program out of the first."""

    first: bytes
    second: bytes
    log_lines: list[str]
    public_key: bytes
    judge: Judge

    @property
    def files(self) -> list[tuple[str, bytes]]:
        return list(files_of(self.first).items())

    def refused(self, package: bytes | Path, *more: str) -> tuple[str, str]:
        """Code and place of the refusal."""
        status, said = self.judge.judge(package, *more)
        assert status == 1 and said["whole"] is False, said
        return said["code"], said["what"]


@pytest.fixture
async def made(tmp_path: Path) -> Made:
    async with rig(tmp_path / "node") as node:
        other = await footage_with_a_gap(node)
        await node.record(CONFIG, later(UNITS, 100))
        await node.services.write(lambda c: log.append(c, 1, "user:x", "camera.add", "gate", {}))
        headers = await node.sign_in("duty")
        first = await ask(node, headers, other)
        second = await ask(node, headers, from_s=0, to_s=104, reason="another case of the same night")
        assert (first.status_code, second.status_code) == (200, 200), first.text
        catalog, keys = node.services.catalog, node.services.keys
        lines = catalog.read(lambda c: list(log.export(log.entries(c), [log.checkpoint(c, keys.node, 1)])))
        judge = Judge(tmp_path / "elsewhere", files_of(first.content)["verify_evidence.py"])
        return Made(first.content, second.content, lines, keys.node_public, judge)


@pytest.mark.fault("S20")
def test_a_package_as_it_came_is_whole_packed_and_unpacked(made: Made) -> None:
    assert made.judge.judge(made.second)[0] == 0
    status, said = made.judge.judge(made.first)
    assert (status, said["whole"], said["key_compared"]) == (0, True, False)
    assert said["fingerprint"] == verifier.fingerprint(made.public_key)
    assert zipped(made.files) == made.first, "the tests put a package together otherwise than the node"
    assert made.judge.judge(made.judge.unpacked(made.first))[0] == 0
    done = made.judge.run(str(made.judge.folder / "package.zip"))
    assert [word for word in ("WHOLE", "gate", "NOT COMPARED", "未比对") if word not in done.stdout] == []


DRIVER = """
import contextlib, io, json, random, runpy, sys
program, package, count, seed, quiet_from, quiet_to = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
main = runpy.run_path(program)["main"]
whole = open(package, "rb").read()
chance, missed = random.Random(seed), []
for number in range(count):
    # Half of them outside the pictures, where most kinds of bytes are and few of the bytes.
    at = chance.randrange(len(whole))
    while number % 2 and quiet_from <= at < quiet_to:
        at = chance.randrange(len(whole))
    bit = chance.randrange(8)
    changed = bytearray(whole)
    changed[at] ^= 1 << bit
    with open(package + ".flipped", "wb") as file:
        file.write(changed)
    with contextlib.redirect_stdout(io.StringIO()):
        status = main([package + ".flipped"])
    if status != 1:
        missed.append([at, bit, status])
print(json.dumps(missed))
"""


@pytest.mark.fault("S20")
def test_a_flipped_bit_is_found_wherever_it_is(made: Made, counted: Counted) -> None:
    package, driver = made.judge.folder / "package.zip", made.judge.folder / "driver.py"
    package.write_bytes(made.first)
    driver.write_text(DRIVER, encoding="utf-8")
    pictures = [at for name, data in made.files if name.startswith("footage/") for at in [made.first.index(data)]]
    quiet = min(pictures), max(pictures)
    seed = random.randrange(1 << 30)
    numbers = (str(number) for number in (FLIPS, seed, *quiet))
    done = made.judge.run(str(made.judge.program), str(package), *numbers, program=driver)
    assert json.loads(done.stdout) == [], f"seed {seed}: place, bit and exit status of what went by"
    counted(f"{FLIPS} flips in {len(made.first)} bytes, none went by")


@pytest.mark.fault("S20")
def test_every_byte_of_what_is_not_pictures_is_looked_at(made: Made, counted: Counted) -> None:
    """Fields of a ZIP that no unpacker minds, the manifest, its signature, the audit entry: one by one."""
    start = len(made.first) - len(zipped([(n, d) for n, d in made.files if n in verifier.LAST]))
    before = min(made.first.index(data) for name, data in made.files if name.startswith("footage/"))
    heads = range(before - 200, before)  # the end of the program, and the header of the first segment
    places = [*heads, *range(start, len(made.first))]
    missed = []
    for at in places[:: max(1, len(places) // 800)]:
        changed = bytearray(made.first)
        changed[at] ^= 0x20
        (made.judge.folder / "one.zip").write_bytes(changed)
        try:
            verifier.verify(str(made.judge.folder / "one.zip"))
            missed.append(at)
        except verifier.Bad:
            pass
    assert missed == []
    counted(f"of {len(places)} places, one in {max(1, len(places) // 800)}")


@pytest.mark.fault("S20")
def test_nothing_in_what_is_signed_may_be_written_otherwise(made: Made) -> None:
    """As if the ZIP were made anew around it, so that no checksum helps: bytes of the last files, two bits of each."""
    files = list(verifier.read_zip(io.BytesIO(made.first)))
    verifier.judge(files, ordered=True)
    missed = []
    for place in range(len(files) - len(verifier.LAST), len(files)):
        name, data = files[place].name, files[place].data or b""
        for at in range(0, len(data), max(1, len(data) // 2000)):
            for bit in (0x20, 0x01):  # the other case of a letter; its neighbour
                changed = bytearray(data)
                changed[at] ^= bit
                packed = verifier.Packed(name, len(data), "", bytes(changed))
                try:
                    verifier.judge([*files[:place], packed, *files[place + 1 :]], ordered=True)
                    missed.append((name, at, bit))
                except verifier.Bad:
                    pass
    assert missed == []


def test_the_program_needs_nothing_but_an_old_python_and_cryptography() -> None:
    source = Path(verifier.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert foreign == {"cryptography"}


@pytest.mark.fault("S20")
def test_files_that_are_dropped_reordered_added_renamed_or_exchanged_are_found(made: Made) -> None:
    files = made.files
    footage = [at for at, (name, _) in enumerate(files) if name.startswith("footage/")]
    one, two = files[footage[0]], files[footage[1]]
    for at, (name, data) in enumerate(files):
        assert made.refused(zipped(files[:at] + files[at + 1 :]))[0] == "missing", name
        if name not in verifier.LAST:
            renamed = [*files[:at], (name + "x", data), *files[at + 1 :]]
            assert made.refused(zipped(renamed))[0] == "missing", name
    swapped = [*files]
    swapped[footage[0]], swapped[footage[1]] = two, one
    assert made.refused(zipped(swapped)) == ("order", "ZIP")
    exchanged = [*files]
    exchanged[footage[0]], exchanged[footage[1]] = (one[0], two[1]), (two[0], one[1])
    assert made.refused(zipped(exchanged)) == ("changed", one[0])
    assert made.refused(zipped([*files[:5], ("footage/extra.mp4", b"x"), *files[5:]])) == (
        "unlisted", "footage/extra.mp4",
    )  # fmt: skip
    assert made.refused(zipped([one, *files])) == ("unlisted", one[0])
    assert made.refused(zipped([*files, ("notes.txt", b"x")])) == ("unlisted", "notes.txt")
    assert made.refused(made.first + b"\0")[0] == "malformed"
    assert made.refused(b"MZ" + made.first)[0] == "malformed"


@pytest.mark.fault("S20")
def test_a_manifest_proves_no_other_package(made: Made) -> None:
    """Both were made by the same node, of the same camera; the second holds all that the first has of it."""
    first, second = files_of(made.first), files_of(made.second)
    for names in (verifier.LAST, verifier.LAST[:2], verifier.LAST[:1], verifier.LAST[1:2], verifier.LAST[2:]):
        mixed = first | {name: second[name] for name in names}
        made.refused(zipped(list(mixed.items())))
    # Of all files only the audit entry is another package's: it names that one's manifest.
    assert made.refused(zipped(list((second | {verifier.AUDIT: first[verifier.AUDIT]}).items())))[0] == "audit"


@pytest.mark.fault("S20")
def test_a_package_that_ends_anywhere_is_not_whole(made: Made) -> None:
    chance, size = random.Random(5), len(made.first)
    ends = {0, 1, 29, 30, size - 22, size - 1, *(chance.randrange(size) for _ in range(200))}
    for end in sorted(ends):
        path = made.judge.folder / "cut.zip"
        path.write_bytes(made.first[:end])
        with pytest.raises(verifier.Bad):
            verifier.verify(str(path))
    assert made.refused(made.first[: len(made.first) // 2])[0] == "cut"


@pytest.mark.fault("S20")
def test_an_unpacked_package_hides_nothing(made: Made) -> None:
    folder = made.judge.unpacked(made.first)
    name = next(name for name, _ in made.files if name.startswith("footage/"))
    (folder / "footage" / "more.mp4").write_bytes(b"x")
    assert made.refused(folder) == ("unlisted", "footage/more.mp4")
    (folder / "footage" / "more.mp4").unlink()
    (folder / name).rename(folder / "elsewhere.mp4")
    assert made.refused(folder) == ("missing", name)
    (folder / name).symlink_to(folder / "elsewhere.mp4")
    assert made.refused(folder) == ("unlisted", name)


@pytest.mark.fault("S20")
def test_a_package_signed_anew_by_somebody_else_is_found_by_the_key(made: Made) -> None:
    """Everything is made anew: manifest, signature, audit entry and head. Only the key cannot be."""
    thief = bytes(range(32))
    public = crypto.DEFAULT_SUITE.public_key(thief)
    files = dict(made.files)
    manifest = json.loads(files[verifier.MANIFEST])
    name = manifest["cameras"][0]["segments"][0]["file"]
    forged = forge(files, name, files[name][:-1] + b"?", thief)
    good, thiefs = verifier.fingerprint(made.public_key), verifier.fingerprint(public)
    status, said = made.judge.judge(forged)
    assert (status, said["fingerprint"], said["key_compared"]) == (0, thiefs, False), "it is whole in itself"
    assert made.refused(forged, "--key", good) == ("key", thiefs)
    for shown in (good, good.replace("-", ""), good.upper().replace("-", ":"), crypto.b64(made.public_key)):
        assert made.judge.judge(made.first, "--key", shown)[0] == 0
        assert made.refused(forged, "--key", shown) == ("key", thiefs)
    for nonsense in ("", "1234", good[:-1], crypto.b64(bytes(31))):
        assert made.refused(made.first, "--key", nonsense)[0] == "key"
    # With the node's name for the key, or the node's key for the thief's signature, it is not even whole in itself.
    mixed = files_of(forged) | {verifier.SIGNATURE: files[verifier.SIGNATURE]}
    assert made.refused(zipped(list(mixed.items()))) == ("signature", verifier.MANIFEST)


def test_a_public_key_that_begins_with_a_dash_is_a_key(made: Made) -> None:
    seeds = (number.to_bytes(32, "big") for number in range(10_000))
    thief = next(s for s in seeds if crypto.b64(crypto.DEFAULT_SUITE.public_key(s)).startswith("-"))
    public = crypto.DEFAULT_SUITE.public_key(thief)
    files = dict(made.files)
    name = json.loads(files[verifier.MANIFEST])["cameras"][0]["segments"][0]["file"]
    forged = forge(files, name, files[name], thief)
    assert made.judge.judge(forged, "--key", crypto.b64(public))[0] == 0
    assert made.refused(made.first, "--key", crypto.b64(public))[0] == "key"


def forge(files: dict[str, bytes], name: str, data: bytes, key: bytes) -> bytes:
    public = crypto.DEFAULT_SUITE.public_key(key)
    manifest: dict[str, Any] = json.loads(files[verifier.MANIFEST])
    sha256 = hashlib.sha256(data).hexdigest()
    for file in manifest["files"]:
        if file["name"] == name:
            file.update(bytes=len(data), sha256=sha256)
    for camera in manifest["cameras"]:
        for segment in camera["segments"]:
            if segment["file"] == name:
                segment.update(recorded_sha256=sha256, recorded_bytes=len(data))
    manifest["node"].update(public_key=crypto.b64(public), id=crypto.key_id(public))
    raw = log.canonical_json(manifest)
    entry = json.loads(files[verifier.AUDIT].splitlines()[1])
    details = entry["details"] | {"manifest_sha256": hashlib.sha256(raw).hexdigest()}
    previous = bytes.fromhex(entry["previous"])
    where = (entry["seq"], entry["at_ms"], entry["actor"], entry["action"], entry["subject"])
    digest = log.entry_digest(*where, details, previous)
    row = log.Entry(*where, details, previous, digest)
    said = f"{log.FORMAT} checkpoint\n{row.seq}\n{digest.hex()}\n{row.at_ms}\n".encode()
    head = log.Checkpoint(row.seq, digest, row.at_ms, public, crypto.sign(key, said))
    changed = files | {
        name: data,
        verifier.MANIFEST: raw,
        verifier.SIGNATURE: crypto.sign(key, verifier.statement(raw)).as_text().encode() + b"\n",
        verifier.AUDIT: "".join(log.export([row], [head])).encode(),
    }
    return zipped(list(changed.items()))


@pytest.mark.fault("S20", "S18")
def test_damage_that_the_manifest_keeps_quiet_about_is_found_though_it_is_signed(made: Made) -> None:
    """A node whose owner lists other bytes than were recorded must say so: the two digests stand side by side."""
    key = bytes(range(32))
    files = files_of(forge(dict(made.files), made.files[4][0], made.files[4][1], key))
    manifest = json.loads(files[verifier.MANIFEST])
    segment = manifest["cameras"][0]["segments"][0]
    segment["recorded_sha256"] = "00" * 32
    raw = log.canonical_json(manifest)
    changed = files | {
        verifier.MANIFEST: raw,
        verifier.SIGNATURE: crypto.sign(key, verifier.statement(raw)).as_text().encode() + b"\n",
    }
    assert made.refused(zipped(list(changed.items()))) == ("recorded", segment["file"])


@pytest.mark.fault("S20", "S18")
def test_the_nodes_log_names_the_package_and_the_package_holds_the_log_to_it(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    path.write_text("".join(made.log_lines), encoding="utf-8")
    assert made.judge.judge(made.first, "--audit", str(path))[0] == 0
    assert made.judge.judge(made.second, "--audit", str(path))[0] == 0
    entries = [line for line in made.log_lines if '"kind":"entry"' in line]
    mine = next(at for at, line in enumerate(made.log_lines) if verifier.AUDIT_ACTION in line)
    for lines in (
        made.log_lines[:mine],  # cut before it
        made.log_lines[:mine] + made.log_lines[mine + 1 :],
        [line.replace("fight at the gate", "drill at the gate") for line in made.log_lines],
        [line.replace("another case", "no case") for line in made.log_lines],  # behind the package's own entry
        entries[:1],
        ["nonsense\n"],
    ):
        path.write_text("".join(lines), encoding="utf-8")
        assert made.refused(made.first, "--audit", str(path))[0] in ("log", "malformed")
    # `tiergate audit verify FILE --against audit.ndjson`: the log that lost the entry is found by the package.
    kept = files_of(made.first)[verifier.AUDIT].decode().splitlines()
    assert log.verify_export(kept, made.public_key).whole
    anchors = log.read_checkpoints(kept)
    assert log.verify_export(made.log_lines, made.public_key, anchors).whole
    assert not log.verify_export(made.log_lines[:mine], made.public_key, anchors).whole


def test_what_is_no_package_is_said_to_be_none(made: Made, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as package:
        package.writestr("a.txt", "a" * 100)
    assert made.refused(other)[0] == "malformed"
    assert made.refused(zipped([]))[0] == "missing"
    deep = dict(made.files) | {verifier.MANIFEST: b"[" * 100_000}
    assert made.refused(zipped(list(deep.items()))) == ("malformed", verifier.MANIFEST)
    twice = dict(made.files)
    twice[verifier.MANIFEST] = b'{"format":"x",' + twice[verifier.MANIFEST][1:]
    assert made.refused(zipped(list(twice.items()))) == ("malformed", verifier.MANIFEST)


def test_a_very_large_package_has_the_fields_of_zip64(tmp_path: Path) -> None:
    """A ZIP above 4 GiB and one above 65 535 files, as another program reads them. The first is a hole of a file."""
    big = 5 << 30
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        head = verifier.local_header("footage/a.mp4", big, 7)
        file.write(head)
        behind = len(head) + big
        file.seek(behind)
        file.write(verifier.local_header("b", 1, 0xE8B7BE43) + b"a")  # CRC-32 of "a"
        place = file.tell()
        directory = verifier.central_header("footage/a.mp4", big, 7, 0)
        directory += verifier.central_header("b", 1, 0xE8B7BE43, behind)
        file.write(directory + verifier.directory_end(2, len(directory), place))
    with zipfile.ZipFile(path) as package:
        assert [(i.filename, i.file_size, i.header_offset) for i in package.infolist()] == [
            ("footage/a.mp4", big, 0), ("b", 1, behind),
        ]  # fmt: skip
        assert package.read("b") == b"a"
    many = tmp_path / "many.zip"
    many.write_bytes(zipped([(f"f{n}", b"") for n in range(70_000)]))
    with zipfile.ZipFile(many) as package:
        assert len(package.namelist()) == 70_000
    with many.open("rb") as stream:
        assert sum(1 for _ in verifier.read_zip(stream)) == 70_000
