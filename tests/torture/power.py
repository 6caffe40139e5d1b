"""Power loss, by record and replay: what a disk may hold when the page cache is gone. (FAULTS B2; ALICE, CrashMonkey)

`World` follows a life's system calls as strace wrote them down. It keeps apart what is durable and what only the cache
has, and at any call it can make a state that a disk might be found in:

* bytes that were not synced: of each page any prefix of its writes, the last one torn at a sector; the file's length
  any that it had since, filled with zeros where data did not come;
* names that were not synced: any of them missing, but no later change of a name without the earlier one;
* a sync that failed has made nothing durable, and a later one that succeeds does not make up for it: the kernel has
  called those pages clean. Only what is written again can be synced again.

This is weaker than any one file system, so what survives here survives on all of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.stage import calls_of

PAGE_BYTES, SECTOR_BYTES = 4096, 512
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(slots=True)
class _Data:
    offset: int
    data: bytes
    lost: bool = False  #: a sync of it has failed

    @property
    def page(self) -> int:
        return self.offset // PAGE_BYTES


@dataclass(slots=True)
class _Length:
    length: int
    cut: bool  #: ftruncate, not growth
    lost: bool = False


@dataclass(slots=True, eq=False)
class File:
    durable: bytearray = field(default_factory=bytearray)
    length: int = 0  #: as the cache has it
    pending: list[_Data | _Length] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        while data:
            room = PAGE_BYTES - offset % PAGE_BYTES
            piece, data = data[:room], data[room:]
            self._dirty(offset // PAGE_BYTES)
            self.pending.append(_Data(offset, piece))
            offset += len(piece)
        if end > self.length:
            self._resize(end, cut=False)

    def truncate(self, length: int) -> None:
        self._resize(length, cut=length < self.length)

    def _resize(self, length: int, *, cut: bool) -> None:
        for change in self.pending:
            if isinstance(change, _Length):
                change.lost = False
        self.length = length
        self.pending.append(_Length(length, cut))

    def _dirty(self, page: int) -> None:
        """The whole page goes to the disk with its next write."""
        for change in self.pending:
            if isinstance(change, _Data) and change.page == page:
                change.lost = False

    def sync(self) -> None:
        for change in self.pending:
            if not change.lost:
                _apply(self.durable, change)
        self.pending = [change for change in self.pending if change.lost]

    def fail_sync(self) -> None:
        for change in self.pending:
            change.lost = True

    def sample(self, dice: random.Random, share: float) -> bytes:
        """What the disk may hold of it; `share` says how much of the cache had been written back."""
        data = bytearray(self.durable)
        if any(isinstance(change, _Length) and change.cut for change in self.pending):
            for change in self.pending[: dice.randint(0, len(self.pending))]:
                _apply(data, change)
            return bytes(data)
        lengths = [len(data)]
        pages: dict[int, list[_Data]] = {}
        for change in self.pending:
            if isinstance(change, _Data):
                pages.setdefault(change.page, []).append(change)
            else:
                lengths.append(change.length)
        length = lengths[-1] if share == 1 else lengths[0] if share == 0 else dice.choice(lengths)
        for writes in pages.values():
            kept = sum(dice.random() < share for _ in writes)
            for one in writes[:kept]:
                _apply(data, one)
            if kept < len(writes) and dice.random() < share:
                torn = writes[kept]
                sectors = dice.randint(0, len(torn.data) // SECTOR_BYTES)
                end = max(0, sectors * SECTOR_BYTES - torn.offset % SECTOR_BYTES)
                _apply(data, _Data(torn.offset, torn.data[:end]))
        del data[length:]
        return bytes(data).ljust(length, b"\0")


def _apply(data: bytearray, change: _Data | _Length) -> None:
    if isinstance(change, _Length):
        del data[change.length :]
        data.extend(bytes(change.length - len(data)))
    elif change.data:
        data.extend(bytes(max(0, change.offset - len(data))))
        data[change.offset : change.offset + len(change.data)] = change.data


Names = dict[str, "File | Folder"]


@dataclass(slots=True, eq=False)
class Folder:
    durable: Names = field(default_factory=dict)
    names: Names = field(default_factory=dict)  #: as the cache has it


@dataclass(slots=True)
class _Naming:
    """One call's changes of names; all of them or none."""

    changes: list[tuple[Folder, str, File | Folder | None]]
    lost: bool = False

    def touches(self, folder: Folder) -> bool:
        return any(changed is folder for changed, _, _ in self.changes)


@dataclass(slots=True)
class _Descriptor:
    node: File | Folder
    position: int = 0


class World:
    """`base`: the folder as it was before, all of it durable. `root`: the path under which the life saw it."""

    def __init__(self, base: Path, root: str) -> None:
        self._root = root
        self.tree = _load(base)
        self._namings: list[_Naming] = []
        self._open: dict[int, _Descriptor] = {}
        self.told: dict[str, str] = {}  #: what had been acknowledged
        self.syncs = self.failed_syncs = 0

    def replay(self, log: Path) -> Iterator[str]:
        """Follows the life; yields after each call that changed something, or made it durable."""
        for line in calls_of(log):
            found = _LINE.match(line)
            if found is None:
                assert "unfinished" not in line, line
                continue
            if self._follow(found[1], found[2], int(found[3])):
                yield found[1]

    # --- calls ---

    def _follow(self, call: str, arguments: str, result: int) -> bool:
        strings = [bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(arguments)]
        first = arguments.split(",", 1)[0].split(")", 1)[0]
        opened = self._open.get(int(first)) if first.isdigit() else None
        if call in ("fsync", "fdatasync"):
            return opened is not None and self._sync(opened.node, result == 0)
        if result < 0:
            return False
        if call == "openat":
            return self._opened(strings[0].decode(), arguments, result)
        if call == "close":
            self._open.pop(int(first), None)
            return False
        if call == "sendto":
            segment, digest = strings[0].decode().split()
            self.told[segment] = digest
            return True
        if call in ("rename", "link", "unlink", "mkdir", "rmdir"):
            return self._named(call, [path.decode() for path in strings])
        if opened is None:
            return False
        assert isinstance(opened.node, File), call
        if call == "lseek":
            opened.position = result
            return False
        if call == "ftruncate":
            opened.node.truncate(int(arguments.split(", ")[1]))
        elif call in ("write", "writev"):
            opened.node.write(opened.position, b"".join(strings)[:result])
            opened.position += result
        elif call in ("pwrite64", "pwritev"):
            opened.node.write(int(arguments.rsplit(", ", 1)[1], 0), b"".join(strings)[:result])
        else:
            raise AssertionError(f"{call} is not followed")
        return True

    def _opened(self, path: str, flags: str, descriptor: int) -> bool:
        place = self._place(path)
        if place is None:
            return False
        folder, name = place
        node = folder.names.get(name) if name else folder
        made = node is None
        if node is None:
            assert "O_CREAT" in flags, path
            node = File()
            self._change([(folder, name, node)])
        if "O_TRUNC" in flags and isinstance(node, File) and node.length:
            node.truncate(0)
        assert "O_APPEND" not in flags, path
        self._open[descriptor] = _Descriptor(node)
        return made

    def _named(self, call: str, paths: list[str]) -> bool:
        places = [self._place(path) for path in paths]
        if any(place is None for place in places):
            assert all(place is None for place in places), paths
            return False
        (folder, name), *rest = [place for place in places if place is not None]
        if call == "mkdir":
            self._change([(folder, name, Folder())])
        elif call in ("unlink", "rmdir"):
            self._change([(folder, name, None)])
        elif call == "link":
            self._change([(*rest[0], folder.names[name])])
        else:
            self._change([(folder, name, None), (*rest[0], folder.names[name])])
        return True

    def _change(self, changes: list[tuple[Folder, str, File | Folder | None]]) -> None:
        for folder, name, node in changes:
            _set(folder.names, name, node)
            for naming in self._namings:
                if naming.touches(folder):
                    naming.lost = False
        self._namings.append(_Naming(changes))

    def _sync(self, node: File | Folder, worked: bool) -> bool:
        self.syncs += worked
        self.failed_syncs += not worked
        if isinstance(node, File):
            if worked:
                node.sync()
            else:
                node.fail_sync()
            return True
        for naming in [naming for naming in self._namings if naming.touches(node)]:
            if not worked:
                naming.lost = True
            elif not naming.lost:
                for folder, name, target in naming.changes:
                    _set(folder.durable, name, target)
                self._namings.remove(naming)
        return True

    def _place(self, path: str) -> tuple[Folder, str] | None:
        """The folder that holds it, and its name there; None outside of the world."""
        if path == self._root:
            return self.tree, ""
        if not path.startswith(self._root + "/"):
            return None
        *folders, name = path[len(self._root) + 1 :].split("/")
        folder = self.tree
        for step in folders:
            found = folder.names[step]
            assert isinstance(found, Folder), path
            folder = found
        return folder, name

    # --- states ---

    def lose_power(self, into: Path, dice: random.Random) -> None:
        """One of the states that the disk may be found in, as files."""
        share = dice.choice((0.0, 0.2, 0.5, 0.8, 1.0))
        changed: dict[Folder, Names] = {}
        blocked: set[tuple[Folder, str]] = set()
        for naming in self._namings:
            keys = {(folder, name) for folder, name, _ in naming.changes}
            if keys & blocked or dice.random() >= share:
                blocked |= keys
                continue
            for folder, name, node in naming.changes:
                _set(changed.setdefault(folder, dict(folder.durable)), name, node)
        _store(self.tree, changed, into, dice, share)

    def durable_files(self, *below: str) -> dict[str, bytes]:
        """Files of a folder whose name and bytes no power loss can take."""
        folder = self.tree
        for step in below:
            found = folder.durable.get(step)
            if not isinstance(found, Folder):
                return {}
            folder = found
        return {name: bytes(node.durable) for name, node in folder.durable.items() if isinstance(node, File)}


def _set(names: Names, name: str, node: File | Folder | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _load(path: Path) -> Folder:
    names: Names = {}
    for entry in path.iterdir():
        if entry.is_dir():
            names[entry.name] = _load(entry)
        else:
            data = bytearray(entry.read_bytes())
            names[entry.name] = File(data, len(data))
    return Folder(names, dict(names))


def _store(folder: Folder, changed: dict[Folder, Names], into: Path, dice: random.Random, share: float) -> None:
    into.mkdir()
    for name, node in changed.get(folder, folder.durable).items():
        if isinstance(node, Folder):
            _store(node, changed, into / name, dice, share)
        elif not name.endswith("-shm"):  # SQLite makes it anew from the log
            (into / name).write_bytes(node.sample(dice, share))
