"""All settings of a node: names, types, defaults, help. Frozen; unknown keys are refused. (pure)

Belongs here: what an administrator writes into ``tiergate.toml`` or the environment. Does not belong here: anything
that is data (classes, grants, links: catalog), reading of files and environment (`config.load`). docs/settings.md is
held true to this file by a test.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from config.errors import Kind, TiergateError
from config.ids import region_code
from config.redact import HIDDEN, Secret

TierName = Literal["city", "district", "street", "community"]


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise ValueError("must be a text")


SecretText = Annotated[Any, BeforeValidator(_secret), PlainSerializer(lambda _: HIDDEN)]


class Section(BaseModel):
    """A table of the settings file."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def split_listen(listen: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError("write host:port, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _web_address(value: str | None) -> str | None:
    if value is not None:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address like https://centre.example:8443")
    return value


def _region(value: str) -> str:
    try:
        return region_code(value)
    except TiergateError:
        raise ValueError("must be a division code of 2, 4, 6, 9 or 12 digits") from None


WebAddress = Annotated[str | None, AfterValidator(_web_address)]


class Node(Section):
    name: str = Field("tiergate", min_length=1, max_length=80, description="Name shown on the page and to other nodes.")
    region: Annotated[str, AfterValidator(_region)] = Field(
        "21", description="Division code of the region this node serves (2/4/6/9/12 digits)."
    )
    tier: TierName = Field("community", description="Tier of this node.")
    language: Literal["zh", "en"] = Field(
        "zh", description="Language of the command line and of the page's first visit."
    )
    governance: Literal["small", "full"] = Field(
        "small", description="`full`: a second person approves; `small`: delay and notice upward stand in for them."
    )


class Paths(Section):
    data: Path = Field(Path("/var/lib/tiergate"), description="Root of spool, objects, catalog, keys and run.")
    spool: Path | None = Field(None, description="Spool folder; default <data>/spool.")
    extra_spools: tuple[Path, ...] = Field(
        (),
        description="Further spool folders, each on a disk of its own: cameras are spread over all, and a disk that "
        "fails or fills hands its cameras to another. A new disk gets a new folder name.",
    )
    evidence_dir: Path | None = Field(
        None,
        description="Folder of the second copy of held footage when the store is a folder, best on another disk; "
        "default: beside the store, <store folder>-evidence.",
    )

    @model_validator(mode="after")
    def _check(self) -> Paths:
        folders = list(self.spool_dirs.values())
        if len({str(folder) for folder in folders}) < len(folders):
            raise ValueError("each spool folder may be named once")
        return self

    @property
    def spool_dir(self) -> Path:
        return self.spool or self.data / "spool"

    @property
    def spool_dirs(self) -> dict[str, Path]:
        """Name for people → folder, of every spool volume."""
        more = {f"spool-{number}": folder for number, folder in enumerate(self.extra_spools, 2)}
        return {"spool": self.spool_dir, **more}

    @property
    def catalog_dir(self) -> Path:
        return self.data / "catalog"

    @property
    def keys_dir(self) -> Path:
        return self.data / "keys"

    @property
    def run_dir(self) -> Path:
        return self.data / "run"


class Listener(Section):
    listen: str = Field("127.0.0.1:8080", description="Address and port.")
    tls_cert: Path | None = Field(None, description="PEM certificate chain; `init` makes one from a private CA.")
    tls_key: Path | None = Field(None, description="PEM private key of `tls_cert`.")
    allow_plain_http: bool = Field(
        False, description="Serve without TLS on an address that is not loopback (a proxy in front)."
    )

    @model_validator(mode="after")
    def _check(self) -> Listener:
        host, _ = split_listen(self.listen)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_cert is None and not is_loopback(host) and not self.allow_plain_http:
            raise PydanticCustomError("plain_http", "not loopback", {"listen": self.listen})
        return self

    @property
    def scheme(self) -> str:
        return "https" if self.tls_cert else "http"


class Web(Listener):
    workers: int = Field(1, ge=1, le=16, description="Web processes that share the port.")
    public_url: WebAddress = Field(None, description="URL under which browsers reach this node (Origin check, links).")
    session_hours: int = Field(12, ge=1, le=24 * 7, description="A sign-in lasts this long.")
    requests_per_s: int = Field(
        50,
        ge=1,
        le=100_000,
        description="Requests a second that each web process takes of one person or token; of this and the two limits "
        "below 20 s worth may come at once.",
    )
    media_requests_per_s: int = Field(
        500, ge=1, le=100_000, description="The same for the pieces that a player fetches of recordings."
    )
    anonymous_requests_per_s: int = Field(
        200, ge=1, le=100_000, description="The same for one address from which nobody is signed in."
    )


class Relay(Listener):
    listen: str = Field("127.0.0.1:8090", description="Address and port for other nodes (`/tier/v1`).")
    public_url: WebAddress = Field(None, description="URL other nodes use; written into invitations.")
    allowed_networks: tuple[str, ...] = Field(
        (),
        description="Networks in which other nodes are; empty: anywhere but loopback and link-local addresses (SSRF).",
    )
    max_main: int = Field(1, ge=0, description="Static line cap on 10 Mbit/s: main streams upward at once.")
    max_sub: int = Field(4, ge=0, description="Static line cap on 10 Mbit/s: sub streams upward at once.")
    cache_max_bytes: int = Field(20 * 10**9, ge=0, description="Quota of the temporary cache of lower tiers' footage.")

    @model_validator(mode="after")
    def _check_networks(self) -> Relay:
        for network in self.allowed_networks:
            ipaddress.ip_network(network)
        return self


class Catalog(Section):
    url: SecretText = Field(
        Secret(""),
        description="SQLAlchemy URL, `postgresql://…` or `sqlite:///…`; default SQLite under <data>/catalog. Never on "
        "NFS. With a password in it better TIERGATE_CATALOG__URL_FILE.",
    )

    @model_validator(mode="after")
    def _check(self) -> Catalog:
        scheme = self.url.reveal().partition(":")[0].partition("+")[0]
        if scheme not in ("", "sqlite", "postgresql"):
            raise ValueError("url must begin with postgresql:// or sqlite:///")
        return self


class Store(Section):
    kind: Literal["folder", "s3"] = Field("folder", description="Where sealed segments go.")
    folder: Path | None = Field(None, description="Folder store; default <data>/objects.")
    endpoint: WebAddress = Field(None, description="S3 endpoint URL, for example https://minio.example:9000.")
    region: str = Field("us-east-1", description="S3 region (given, so that the client need not ask).")
    bucket: str = Field("tiergate-video", description="Bucket of own footage: no versioning, no lock.")
    evidence_bucket: str = Field("tiergate-evidence", description="Bucket of held footage (versioned, Object Lock).")
    cache_bucket: str = Field("tiergate-cache", description="Bucket of the temporary cache.")
    access_key: SecretText = Field(Secret(""), description="S3 access key.")
    secret_key: SecretText = Field(Secret(""), description="S3 secret key; better TIERGATE_STORE__SECRET_KEY_FILE.")
    ca_file: Path | None = Field(None, description="CA certificate of the endpoint, when it is private.")
    capacity_bytes: int | None = Field(
        None,
        gt=0,
        description="Most that the store may hold: S3 does not tell the size of a bucket.",
    )
    expire_by_rule: bool = Field(
        False,
        description="S3 only: a last net of the bucket itself, a month after the longest class; never while a hold "
        "stands. `tiergate retention apply` sets it.",
    )
    upload_workers: int = Field(4, ge=1, le=64, description="Uploads at once.")
    scrub_bytes_per_s: int = Field(
        2_000_000, ge=0, description="How fast stored footage is read again and compared with its digest; 0: never."
    )

    @model_validator(mode="after")
    def _check(self) -> Store:
        if self.kind == "s3" and not (self.endpoint and self.access_key and self.secret_key):
            raise ValueError("kind = s3 needs endpoint, access_key and secret_key")
        if len({self.bucket, self.evidence_bucket, self.cache_bucket}) != 3:
            # What the cache's bucket may expire, evidence and footage would go with.
            raise ValueError("bucket, evidence_bucket and cache_bucket must be three different buckets")
        return self


class Recorder(Section):
    shard_size: int = Field(32, ge=1, le=64, description="Cameras per recorder process (libav: one thread each).")
    segment_seconds: int = Field(60, ge=2, le=600, description="Target length of a segment.")
    fragment_ms: int = Field(680, ge=100, le=1000, description="Longest fragment: the unit of crash loss.")
    sync_ms: int = Field(800, ge=100, le=2000, description="Interval of fdatasync over all open part files.")
    media_timeout_s: float = Field(8.0, gt=0, le=60, description="No media for this long means the connection is dead.")


class Spool(Section):
    min_free_percent: float = Field(
        5.0, ge=0, le=50, description="Below this free space new non-key footage is not admitted."
    )
    critical_free_percent: float = Field(2.0, ge=0, le=50, description="Below this no footage is admitted.")

    @model_validator(mode="after")
    def _check(self) -> Spool:
        if self.critical_free_percent > self.min_free_percent:
            raise ValueError("critical_free_percent must not be above min_free_percent")
        return self


class Cameras(Section):
    allowed_networks: tuple[str, ...] = Field(
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        description="Networks in which cameras live; any other address is refused (SSRF).",
    )
    connect_timeout_s: float = Field(5.0, gt=0, le=60, description="Deadline of one connection attempt.")

    @model_validator(mode="after")
    def _check(self) -> Cameras:
        for network in self.allowed_networks:
            ipaddress.ip_network(network)
        return self


class Retention(Section):
    sweep_minutes: int = Field(10, ge=1, le=24 * 60, description="Interval of the sweep.")
    grace_hours: int = Field(24, ge=0, le=72, description="A condemned segment can be rescued by a hold this long.")
    clock_source: Literal["kernel", "trusted"] = Field(
        "kernel",
        description="`kernel`: trust the wall clock when the kernel says it is synchronised; `trusted`: always (lab).",
    )
    owner_check_instants: int = Field(
        3,
        ge=0,
        le=24,
        description="Of each camera with `recorded_by=owner`, for how many instants of what is promised its owner's "
        "recorder is asked a day; 0: it is not asked.",
    )


class Live(Section):
    linger_s: float = Field(
        10.0, ge=0, le=300, description="A stream opened for a watcher stays open this long after the last."
    )
    whep_port_min: int = Field(0, ge=0, le=65535, description="Lowest UDP port for WHEP; 0 lets the kernel choose.")
    whep_port_max: int = Field(0, ge=0, le=65535, description="Highest UDP port for WHEP.")
    allowed_networks: tuple[str, ...] = Field(
        (),
        description="Networks to which a viewer's WebRTC offer may direct us beside the viewer's own address; empty: "
        "none, as a browser opens the path from its side, and an offer could name anybody (SSRF).",
    )

    @model_validator(mode="after")
    def _check(self) -> Live:
        for network in self.allowed_networks:
            ipaddress.ip_network(network)
        if self.whep_port_max < self.whep_port_min:
            raise ValueError("whep_port_max must not be below whep_port_min")
        return self


class Rtsp(Section):
    listen: str | None = Field(
        None,
        description="Address and port for RTSP, for example 10.1.2.3:8554; none: off. Passwords do not travel in the "
        "clear, pictures do.",
    )
    tls_listen: str | None = Field(
        None, description="The same over TLS (rtsps), for example 0.0.0.0:8322, with the certificate web.tls_cert."
    )
    max_connections: int = Field(500, ge=1, le=10_000, description="RTSP connections that each web process takes.")

    @model_validator(mode="after")
    def _check(self) -> Rtsp:
        for listen in (self.listen, self.tls_listen):
            if listen is not None:
                split_listen(listen)
        return self

    @property
    def listeners(self) -> dict[str, str]:
        """Scheme → address and port, of what is on."""
        both = {"rtsp": self.listen, "rtsps": self.tls_listen}
        return {scheme: listen for scheme, listen in both.items() if listen is not None}


class Clips(Section):
    font: Path | None = Field(
        None,
        description="Font file for the watermark in clips; default: the first of Noto Sans CJK, WenQuanYi and Droid "
        "Fallback that Debian has installed.",
    )


class Health(Section):
    interval_s: int = Field(60, ge=2, le=86400, description="Interval between two picture checks of a camera.")


class Backup(Section):
    folder: Path | None = Field(
        None, description="Folder into which the keeper puts a backup each night; none: no nightly backup."
    )
    hour: int = Field(3, ge=0, le=23, description="Hour of the day, Asia/Shanghai, from which that is done.")
    keep: int = Field(14, ge=1, le=1000, description="So many nightly backups stay; older ones are removed.")
    passphrase: SecretText = Field(
        Secret(""),
        description="What backups are encrypted with; better TIERGATE_BACKUP__PASSPHRASE_FILE. Keep a copy elsewhere: "
        "without it a backup is worth nothing.",
    )

    @model_validator(mode="after")
    def _check(self) -> Backup:
        if self.folder is not None and not self.passphrase:
            raise ValueError("folder needs passphrase")
        return self


class Alarms(Section):
    least: Literal["warn", "bad"] = Field("warn", description="Findings of `doctor` below this are no alarm.")
    command: tuple[str, ...] = Field(
        (),
        description="Program and arguments, run for each alarm that is raised, gets worse or is over; it reads JSON "
        "from its standard input.",
    )
    webhook: str | None = Field(None, description="Address that gets the same by POST; https unless on loopback.")
    secret: SecretText = Field(
        Secret(""), description="Signs what the webhook gets; better TIERGATE_ALARMS__SECRET_FILE."
    )
    ca_file: Path | None = Field(None, description="CA certificate of the webhook, when it is private.")

    @model_validator(mode="after")
    def _check(self) -> Alarms:
        if self.webhook is not None:
            parts = urlsplit(self.webhook)
            plain = parts.scheme == "http" and is_loopback(parts.hostname or "")
            if not parts.hostname or not (parts.scheme == "https" or plain):
                raise ValueError("webhook must be an https address, or http on loopback")
            if parts.username or parts.password:
                raise ValueError("webhook must not hold a password; secret signs it")
        return self


class Clock(Section):
    """The machine's, but for a node under test: a clock that somebody moves deletes footage too early."""

    test_file: Path | None = Field(
        None, description="Test clock: the wall clock of every process is moved by what this file says. Tests only."
    )
    allow_test_clock: bool = Field(False, description="Without it a node with a test clock does not start. Tests only.")

    @model_validator(mode="after")
    def _check(self) -> Clock:
        if self.test_file is not None and not self.allow_test_clock:
            raise PydanticCustomError("test_clock", "not allowed")
        return self


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written to stderr.")


class Settings(Section):
    """Everything. Built once by `config.load`, then passed by constructor; nobody reads it from a global."""

    node: Node = Node()
    paths: Paths = Paths()
    web: Web = Web()
    relay: Relay = Relay()
    catalog: Catalog = Catalog()
    store: Store = Store()
    recorder: Recorder = Recorder()
    spool: Spool = Spool()
    cameras: Cameras = Cameras()
    retention: Retention = Retention()
    live: Live = Live()
    rtsp: Rtsp = Rtsp()
    clips: Clips = Clips()
    health: Health = Health()
    backup: Backup = Backup()
    alarms: Alarms = Alarms()
    clock: Clock = Clock()
    log: Log = Log()

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.rtsp.tls_listen is not None and self.web.tls_cert is None:
            raise ValueError("rtsp.tls_listen needs web.tls_cert and web.tls_key")
        ports = [listen for listen in (self.web.listen, self.relay.listen) if split_listen(listen)[1]]
        if len(set(ports)) < len(ports):
            raise ValueError("web.listen and relay.listen must be two addresses")
        return self

    @property
    def catalog_url(self) -> str:
        return self.catalog.url.reveal() or f"sqlite:///{self.paths.catalog_dir / 'catalog.db'}"

    @property
    def store_folder(self) -> Path:
        return self.store.folder or self.paths.data / "objects"


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every dotted key an administrator may write."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def build(raw: Mapping[str, Any]) -> Settings:
    """`raw` (nested tables) as `Settings`. Raises settings.unknown_key (naming the nearest), settings.no_such_key,
    settings.bad_value."""
    try:
        return Settings.model_validate(dict(raw))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            names = known_keys() + list(Settings.model_fields)
            nearest = difflib.get_close_matches(key, names, n=1)
            if not nearest:
                raise TiergateError(Kind.ENVIRONMENT, "settings.no_such_key", key=key) from None
            raise TiergateError(Kind.ENVIRONMENT, "settings.unknown_key", key=key, nearest=nearest[0]) from None
        if first["type"] == "plain_http":
            raise TiergateError(Kind.ENVIRONMENT, "settings.plain_http", key=key, **first["ctx"]) from None
        if first["type"] == "test_clock":
            raise TiergateError(Kind.ENVIRONMENT, "clock.test_not_allowed") from None
        problem = str(first["msg"]).removeprefix("Value error, ")
        raise TiergateError(Kind.ENVIRONMENT, "settings.bad_value", key=key, problem=problem) from None
