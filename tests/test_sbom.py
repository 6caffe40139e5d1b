"""The list of parts: every locked package and every library of the page, with hashes and licence, and nothing else."""

from __future__ import annotations

import base64
import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SBOM = runpy.run_path(str(ROOT / "scripts" / "sbom.py"))

pytestmark = pytest.mark.fault("S28")


def locked() -> dict[str, set[str]]:
    """What the lock files name, read another way than scripts/sbom.py does: purl and hashes."""
    found: dict[str, set[str]] = {}
    for lock in ("runtime.txt", "postgresql.txt"):
        purl = ""
        for word in (ROOT / "scripts" / "requirements" / lock).read_text().split():
            if "==" in word:
                purl = "pkg:pypi/" + word.replace("==", "@")
            elif word.startswith("--hash=sha256:"):
                found.setdefault(purl, set()).add(word.removeprefix("--hash=sha256:"))
    packages = json.loads((ROOT / "scripts" / "vendor" / "package-lock.json").read_text())["packages"]
    for path, package in packages.items():
        if path:
            purl = f"pkg:npm/{path.removeprefix('node_modules/')}@{package['version']}"
            found[purl] = {base64.b64decode(package["integrity"].removeprefix("sha512-")).hex()}
    return found


def parts(document: str) -> dict[str, dict[str, Any]]:
    return {part["purl"]: part for part in json.loads(document)["components"]}


def test_it_names_what_is_locked_and_nothing_else() -> None:
    document = SBOM["document"]()
    named = parts(document)
    assert len(json.loads(document)["components"]) == len(named), "a part is named twice"
    hashes = {
        purl: {one["content"] for reference in part["externalReferences"] for one in reference["hashes"]}
        for purl, part in named.items()
    }
    assert hashes == locked()
    assert {"pkg:npm/preact", "pkg:pypi/av", "pkg:pypi/psycopg"} <= {purl.rpartition("@")[0] for purl in named}
    assert named[next(purl for purl in named if "psycopg@" in purl)]["scope"] == "optional"


def test_each_part_has_a_licence() -> None:
    for purl, part in parts(SBOM["document"]()).items():
        said = [one.get("expression") or one["license"].get("id") or one["license"]["name"] for one in part["licenses"]]
        assert said and all(said), purl
    assert {"expression": "Apache-2.0"} in json.loads(SBOM["document"]())["metadata"]["component"]["licenses"]


def test_the_same_checkout_gives_the_same_bytes() -> None:
    document = SBOM["document"]()
    assert document == SBOM["document"]()
    assert "timestamp" not in document and "serialNumber" not in document and str(ROOT) not in document


@pytest.mark.parametrize(
    ("name", "was", "becomes", "says"),
    [
        ("requirements/runtime.txt", "aiohttp==", "aiohttp>=", "not a pinned package"),
        ("requirements/runtime.txt", "aiohttp==3", "aiohttp==2", "is locked"),
        ("requirements/runtime.txt", "aiohttp==", "no-such-package==", "not installed"),
        ("vendor/package-lock.json", "sha512-", "sha1-", "hashed by sha1"),
    ],
)
def test_a_lock_that_says_less_makes_no_list(tmp_path: Path, name: str, was: str, becomes: str, says: str) -> None:
    for path in ("pyproject.toml", "scripts/requirements", "scripts/vendor"):
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / path, tmp_path / path)
    changed = tmp_path / "scripts" / name
    assert was in changed.read_text()
    changed.write_text(changed.read_text().replace(was, becomes, 1))
    with pytest.raises(ValueError, match=says):
        SBOM["document"](tmp_path)
