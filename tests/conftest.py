"""Fixtures that hand the real parts of `tests.parts` to tests, and a clean environment before anything else."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from storage import questions
from tests.parts import clips as clip_recipes
from tests.parts import hanging_disk
from tests.parts.browser import Chromium, chromium
from tests.parts.catalog import new_catalog
from tests.parts.hanging_disk import HangingDisk
from tests.parts.mounts import Mounts
from tests.parts.onvif_ipycam import OnvifCamera
from tests.parts.postgres import Postgres
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_server import RtspServer
from tests.parts.s3 import MinIO, S3Server, SeaweedFS

# What the person at the keyboard has set for their own node must not steer a test.
for _name in [name for name in os.environ if name.startswith("TIERGATE_")]:
    if _name != "TIERGATE_CACHE" and not _name.startswith("TIERGATE_TORTURE_"):
        del os.environ[_name]

# How long one example takes says how busy the machine is.
hypothesis.settings.register_profile("tiergate", deadline=None)
hypothesis.settings.load_profile("tiergate")


def pytest_report_header() -> str:
    return f"S3 servers: SeaweedFS from its wheel; MinIO: {MinIO.version()}"


@pytest.fixture(scope="session")
def clips() -> Callable[[str], Path]:
    """clips("tiny") -> path of the clip of that recipe (tests.parts.clips.RECIPES), made once per machine."""
    return clip_recipes.clip


@pytest.fixture(scope="session")
def rtsp_server() -> Iterator[RtspServer]:
    """Cameras with digest, shared by the whole run: `rtsp_server.url("tiny")`. Do not stop it, nor unplug its mounts
    that others use; `rtsp_factory` gives cameras to be broken."""
    with RtspServer() as server:
        yield server


@pytest.fixture
def rtsp_factory() -> Iterator[Callable[..., RtspServer]]:
    """rtsp_factory({"gate": "tiny"}, auth="basic") -> a started RtspServer of this test alone."""
    servers: list[RtspServer] = []

    def make(*args: Any, **kwargs: Any) -> RtspServer:
        servers.append(RtspServer(*args, **kwargs))
        return servers[-1].start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[S3Server]:
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def minio_server() -> Iterator[S3Server]:
    if MinIO.binary() is None:
        pytest.skip("no MinIO server on this machine: scripts/install --tests could not build it (see what it printed)")
    with MinIO() as server:
        yield server


@pytest.fixture(scope="session", params=["seaweedfs", "minio"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Both real S3 servers, one after the other. Do not stop it; `s3_factory` gives one to be broken."""
    server: S3Server = request.getfixturevalue("seaweedfs" if request.param == "seaweedfs" else "minio_server")
    return server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """A new bucket on `s3_server`."""
    return s3_server.new_bucket()


@pytest.fixture
def s3_factory() -> Iterator[Callable[[], S3Server]]:
    """s3_factory() -> a started SeaweedFS of this test alone."""
    servers: list[S3Server] = []

    def make() -> S3Server:
        servers.append(SeaweedFS())
        return servers[-1].start()

    yield make
    for server in servers:
        server.remove()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Shared by the whole run: `postgres.new_database()`. Do not stop it; `postgres_factory` gives one to be broken."""
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def postgres_factory() -> Iterator[Callable[[], Postgres]]:
    """postgres_factory() -> a started PostgreSQL of this test alone."""
    servers: list[Postgres] = []

    def make() -> Postgres:
        servers.append(Postgres())
        return servers[-1].start()

    yield make
    for server in servers:
        server.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated catalog of this test alone, on each database that tiergate runs on."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.fresh_catalog()
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    new_catalog(url)
    return url


@pytest.fixture(scope="session")
def onvif_camera(rtsp_server: RtspServer) -> Iterator[OnvifCamera]:
    """ipycam with the mounts tiny (main) and tiny2 (sub) of `rtsp_server`, and its account."""
    with OnvifCamera(rtsp_server, "tiny", "tiny2") as camera:
        yield camera


@pytest.fixture
def relay_factory() -> Iterator[Callable[..., TcpRelay]]:
    """relay_factory(port, rate_bps=10e6) -> a started TcpRelay in front of a loopback port."""
    relays: list[TcpRelay] = []

    def make(*args: Any, **kwargs: Any) -> TcpRelay:
        relays.append(TcpRelay(*args, **kwargs))
        return relays[-1].start()

    yield make
    for relay in relays:
        relay.stop()


@pytest.fixture
def browser() -> Iterator[Chromium]:
    """Chromium with one page; only in tests that are not coroutines."""
    with chromium() as opened:
        yield opened


# --- what tests counted: kills, steps, hits; printed at the end whether they passed or not ---


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[object], None]:
    """counted("kills 50, lost 0"): a line for the end of the run."""

    def add(what: object) -> None:
        # Reports carry it to the process that prints: a test may run in a worker of its.
        request.node.user_properties.append(("counted", f"{request.node.name}: {what}"))

    return add


class _Counts:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self._lines += [str(line) for name, line in report.user_properties if name == "counted"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section("counted")
            for line in self._lines:
                terminalreporter.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Counts())


@pytest.fixture(scope="session", autouse=True)
def _unclosed_at_the_end() -> Iterator[None]:
    """What the run leaves unclosed fails its last test. pytest looks for it too, but of a worker nobody hears that."""
    yield
    for _ in range(5):  # what is only freed by freeing may need several; as often as pytest
        gc.collect()


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of lives are copied, and kill -9 leaves the page cache alone."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="tiergate-", dir=shared))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HangingDisk]:
    """A disk that never answers, and patience of half a second with it."""
    if not hanging_disk.usable():
        pytest.skip("mounting needs root, namespaces and FUSE on this machine")
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    with Mounts(tmp_path) as mounts, HangingDisk(mounts, tmp_path / "hung") as disk:
        yield disk
