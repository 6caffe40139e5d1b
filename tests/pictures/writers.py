"""Where the code puts bytes outside its memory, read from its source.

A call counts as such by its name: what opens a file to write, makes a temporary one, links, moves or copies files, or
gives bytes to a store. Not seen: what a library writes by itself, and a name that is only made while the program runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "storage", "tiering", "gateway")

#: Functions and methods by their last name, whoever they belong to.
_NAMES = frozenset(
    # whole files
    "write_bytes write_text write_synced replace_synced "
    "touch truncate mkfifo mknod memfd_create copyfile copyfileobj copy2 copytree sendfile "
    "copy_file_range posix_fallocate mmap dump savez save tofile savefig "
    # temporary ones
    "mkstemp mkdtemp NamedTemporaryFile TemporaryFile SpooledTemporaryFile TemporaryDirectory nameless "
    # other names for bytes that are there
    "link symlink symlink_to hardlink_to link_to "
    # stores
    "put_file put_bytes put_locked copy_from put_object fput_object compose_object upload_file".split()
)
#: `rename` and `replace` move what one of the others has written, mostly onto its final name; of text they are no calls
#: to a file system at all. They are followed by the modules they are called on.
_MOVES = frozenset("rename renames replace move".split())
_MOVERS = frozenset("os shutil".split())
_WRITING = frozenset("wax+")


def writers() -> dict[str, int]:
    """``file.py::Class.function`` → how many such calls stand in it."""
    found: dict[str, int] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "vendor" in path.parts:
                continue
            name = path.relative_to(ROOT).as_posix()
            for place in places_in(path.read_text(encoding="utf-8")):
                key = f"{name}::{place}"
                found[key] = found.get(key, 0) + 1
    return found


def places_in(source: str) -> Iterator[str]:
    """The function of each call that puts bytes somewhere; "" at the module's own level."""
    yield from _walk(ast.parse(source), ())


def _walk(node: ast.AST, inside: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        inside = (*inside, node.name)
    if isinstance(node, ast.Call) and _writes(node):
        yield ".".join(inside)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, inside)


def _writes(call: ast.Call) -> bool:
    function = call.func
    name = owner = ""
    if isinstance(function, ast.Name):
        name = function.id
    elif isinstance(function, ast.Attribute):
        name, of = function.attr, function.value
        owner = of.id if isinstance(of, ast.Name) else ""
    if name in _NAMES:
        return True
    if name in _MOVES:
        return owner in _MOVERS
    if name == "open":
        return _opens_to_write(call, owner)
    return False


def _opens_to_write(call: ast.Call, owner: str) -> bool:
    """`os.open` by its flags, everything else by its mode; what cannot be read from the source counts as writing."""
    arguments = [*call.args, *(k.value for k in call.keywords)]
    if owner == "os":
        flags = {node.attr for argument in arguments for node in ast.walk(argument) if isinstance(node, ast.Attribute)}
        return not (flags & {"O_RDONLY"} and not flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TMPFILE", "O_APPEND"})
    modes = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return any(set(mode) & _WRITING and set(mode) <= set("rwaxbt+") for mode in modes)
