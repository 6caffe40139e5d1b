"""The wheel, built and installed away from the checkout, is the whole product: commands, page, migrations, licences."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.real


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools would find the leavings of older builds in the checkout."""
    copy = tmp_path_factory.mktemp("source") / "tiergate"
    named = (".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "node_modules", "var")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*named))
    out = tmp_path_factory.mktemp("wheel")
    # The locked setuptools of .venv builds it: nothing is fetched, no Node is called.
    bare_path = {**os.environ, "PATH": "/usr/bin:/bin", "npm_config_offline": "true"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", "-w", out, copy, cwd=copy, env=bare_path)
    (built,) = out.glob("tiergate-*.whl")
    return built


def test_the_wheel_carries_all_that_it_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for ring in ("config", "storage", "tiering", "gateway")
        for path in (ROOT / ring).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".pyc", ".md"}
        and path.name != ".stamp"
    }  # fmt: skip
    assert wanted - names == set()
    for licence in ("hls.js.txt", "htm.txt", "preact.txt"):
        assert f"gateway/web/page/vendor/licenses/{licence}" in names
    info = next(n.partition("/")[0] for n in names if ".dist-info/" in n)
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= names
    tops = {n.partition("/")[0] for n in names}
    assert tops == {"config", "storage", "tiering", "gateway", info}


def test_the_installed_command_runs_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """A venv of its own; the locked dependencies are those that .venv was made of, seen by way of a path file."""
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    python = venv / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TIERGATE_"))}
    run(python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index", wheel,
        cwd=tmp_path, env=env)  # fmt: skip
    site = next((venv / "lib").glob("python3.*/site-packages"))
    (site / "locked.pth").write_text(f"{next((Path(sys.prefix) / 'lib').glob('python3.*/site-packages'))}\n")
    # A .pth inside a directory that a .pth names is not read: the checkout's editable install stays out of sight.
    where = run(python, "-c", "import config, gateway; print(config.__file__, gateway.__file__)", cwd=tmp_path, env=env)
    assert all(Path(path).is_relative_to(site) for path in where.stdout.split()), where.stdout
    shown = run(venv / "bin" / "tiergate", "--version", cwd=tmp_path, env=env)
    assert "0.1.0" in shown.stdout
