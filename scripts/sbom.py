"""The list of parts (SBOM) of a release: CycloneDX 1.6 from the lock files, with each part's hashes and licence.

Parts are what the lock files name: those of every installation, those of the extra `postgresql` (optional), and the
page's libraries. Hashes are the locks'; a licence is what the installed package says of itself. Nothing else goes in,
no time and no number that differs from run to run: the same checkout gives the same bytes. What a wheel carries
inside (FFmpeg in PyAV) is in NOTICE.

Run by scripts/sbom, with the Python of .venv; standard library only.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", re.IGNORECASE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
#: Metadata from before PEP 639 that means one SPDX id and no other ("BSD License" does not).
_SPDX = {
    "Apache-2.0": "Apache-2.0",
    "BSD-3-Clause": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT": "MIT",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def pins(lock: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(name, version, SHA-256 of each file) of a lock file of pip-compile. Raises ValueError on another line."""
    logical = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in logical.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pin, hashes = _PIN.match(line), _HASH.findall(line)
        if pin is None or not hashes:
            raise ValueError(f"{lock.name}: not a pinned package with hashes: {line[:80]}")
        yield pin[1].lower(), pin[2], hashes


def licence(name: str, version: str) -> list[dict[str, Any]]:
    """As CycloneDX has it. Raises ValueError when another version is installed, or the package names none."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError as exc:
        raise ValueError(f"{name} {version} is not installed: its licence is not known") from exc
    if found["Version"] != version:
        raise ValueError(f"{name} {found['Version']} is installed, {version} is locked")
    if "License-Expression" in found:
        return [{"expression": found["License-Expression"]}]
    text = (found["License"] if "License" in found else "").strip().partition("\n")[0][:100]
    classified = [c.rpartition(" :: ")[2] for c in found.get_all("Classifier") or () if c.startswith("License :: ")]
    named = [text] if text in _SPDX or not classified else [c for c in classified if c != "OSI Approved"]
    if any(named):
        return [{"license": {"id": _SPDX[one]} if one in _SPDX else {"name": one}} for one in named]
    raise ValueError(f"{name} {version} names no licence")


def _component(purl: str, name: str, version: str, scope: str, algorithm: str, hashes: list[str]) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "purl": purl,
        "name": name,
        "version": version,
        "scope": scope,
        "externalReferences": [
            {
                "type": "distribution",
                "url": purl,
                "comment": "any one of its files",
                "hashes": [{"alg": algorithm, "content": content} for content in sorted(hashes)],
            }
        ],
    }


def components(root: Path = ROOT) -> list[dict[str, Any]]:
    """Every part, by its purl. Raises ValueError."""
    found: dict[str, dict[str, Any]] = {}
    for lock, scope in (("runtime.txt", "required"), ("postgresql.txt", "optional")):
        for name, version, hashes in pins(root / "scripts" / "requirements" / lock):
            purl = f"pkg:pypi/{name}@{version}"
            if purl not in found:  # postgresql.txt names again what runtime.txt has
                found[purl] = _component(purl, name, version, scope, "SHA-256", hashes)
                found[purl]["licenses"] = licence(name, version)
    locked = json.loads((root / "scripts" / "vendor" / "package-lock.json").read_text(encoding="utf-8"))
    for path, package in locked["packages"].items():
        if not path:  # the list itself
            continue
        name = path.rpartition("node_modules/")[2]
        algorithm, _, digest = package["integrity"].partition("-")
        if algorithm != "sha512":
            raise ValueError(f"{name}: hashed by {algorithm}")
        purl = f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"
        hashes = [base64.b64decode(digest, validate=True).hex()]
        found[purl] = _component(purl, name, package["version"], "required", "SHA-512", hashes)
        found[purl]["licenses"] = [{"expression": package["license"]}]
    return [found[purl] for purl in sorted(found)]


def document(root: Path = ROOT) -> str:
    """The whole list as JSON text, the same for the same checkout."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    purl = f"pkg:pypi/{project['name']}@{project['version']}"
    value = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": purl,
                "purl": purl,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": components(root),
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    try:
        Path(sys.argv[1]).write_text(document(), encoding="utf-8")
    except (IndexError, OSError, ValueError) as problem:
        print(f"sbom: {problem}", file=sys.stderr)
        sys.exit(1)
