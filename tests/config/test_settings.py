"""Settings: unknown keys name the nearest known one, unsafe ones what to do; environment wins; secrets hide."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.errors import TiergateError
from config.load import load
from config.settings import build


def test_an_unknown_key_names_its_nearest_neighbour() -> None:
    with pytest.raises(TiergateError) as caught:
        build({"recorder": {"segment_second": 30}})
    assert caught.value.reason.params == {"key": "recorder.segment_second", "nearest": "recorder.segment_seconds"}


@pytest.mark.parametrize(
    "raw",
    [
        {"web": {"tls_cert": "a.pem"}},
        {"store": {"kind": "s3"}},
        {"cameras": {"allowed_networks": ["10.0.0.0/33"]}},
        {"spool": {"critical_free_percent": 20}},
        {"live": {"whep_port_min": 9000}},
        {"node": {"region": "abc"}},
        {"web": {"public_url": "foo"}},
        {"web": {"listen": "127.0.0.1:8090"}},
        {"store": {"kind": "s3", "endpoint": "foo", "access_key": "a", "secret_key": "b"}},
        {"recorder": {"fragment_ms": 5000}},
        {"node": {"tier": "province"}},
        {"web": {"listen": "8080"}},
        {"rtsp": {"listen": "8554"}},
        {"rtsp": {"tls_listen": "0.0.0.0:8322"}},
    ],
)
def test_values_that_cannot_work_or_are_unsafe_are_refused(raw: dict[str, dict[str, object]]) -> None:
    with pytest.raises(TiergateError) as caught:
        build(raw)
    assert caught.value.reason.code == "settings.bad_value"


def test_a_key_like_none_is_not_likened_to_one() -> None:
    with pytest.raises(TiergateError) as caught:
        build({"classes": {}})
    assert caught.value.reason.code == "settings.no_such_key"


@pytest.mark.parametrize("twice", ["evidence_bucket", "cache_bucket"])
def test_a_bucket_of_two_purposes_is_refused(twice: str) -> None:
    """The rule that empties the cache's bucket by age would empty the other's too."""
    store = {"kind": "s3", "endpoint": "https://s3.example", "access_key": "a", "secret_key": "b", "bucket": "one"}
    assert build({"store": store}).store.bucket == "one"
    with pytest.raises(TiergateError, match="three different buckets"):
        build({"store": store | {twice: "one"}})


def test_plain_http_beyond_loopback_needs_the_explicit_switch() -> None:
    with pytest.raises(TiergateError) as caught:
        build({"web": {"listen": "0.0.0.0:8080"}})
    assert caught.value.reason.code == "settings.plain_http"
    assert build({"web": {"listen": "0.0.0.0:80", "allow_plain_http": True}}).web.scheme == "http"


def test_environment_wins_and_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file, secret = tmp_path / "tiergate.toml", tmp_path / "key"
    file.write_text('[node]\nname = "a"\n[store]\nkind = "s3"\nendpoint = "http://127.0.0.1:1"\naccess_key = "k"\n')
    secret.write_text("canary\n")
    environment = {"TIERGATE_NODE__NAME": "b", "TIERGATE_STORE__SECRET_KEY_FILE": str(secret), "TIERGATE_CONFIG": "x"}
    settings = load(file, environment)
    assert settings.node.name == "b"
    assert settings.store.secret_key.reveal() == "canary"
    assert "canary" not in repr(settings) + settings.model_dump_json()


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tiergate.toml"
    file.write_text('[paths]\ndata = "data"\n')
    assert load(file, {}).paths.data == tmp_path / "data"


def test_spool_folders_come_from_file_or_environment(tmp_path: Path) -> None:
    file = tmp_path / "tiergate.toml"
    file.write_text('[paths]\ndata = "data"\nextra_spools = ["b", "/disk/c"]\n')
    dirs = {"spool": tmp_path / "data" / "spool", "spool-2": tmp_path / "b", "spool-3": Path("/disk/c")}
    assert load(file, {}).paths.spool_dirs == dirs
    told = load(file, {"TIERGATE_PATHS__EXTRA_SPOOLS": "/disk/x,/disk/y"}).paths.spool_dirs
    assert list(told.values())[1:] == [Path("/disk/x"), Path("/disk/y")]


@pytest.mark.parametrize("content", ["[node", "\xff\xfe", "node = 1\n"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tiergate.toml"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(TiergateError):
        load(file, {})


def test_half_a_name_in_the_environment_is_refused_and_a_command_is_read_as_a_shell_does(tmp_path: Path) -> None:
    file = tmp_path / "tiergate.toml"
    file.write_text("")
    with pytest.raises(TiergateError) as caught:
        load(file, {"TIERGATE_WEB_LISTEN": "127.0.0.1:1"})
    assert caught.value.reason.params["nearest"] == "TIERGATE_WEB__LISTEN"
    told = load(file, {"TIERGATE_ALARMS__COMMAND": "/usr/bin/notify 'duty room' -x", "TIERGATE_CACHE": "/tmp/c"})
    assert told.alarms.command == ("/usr/bin/notify", "duty room", "-x")
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    with pytest.raises(TiergateError, match="UTF-8"):
        load(file, {"TIERGATE_STORE__SECRET_KEY_FILE": str(tmp_path / "secret")})


def test_every_path_in_the_file_is_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tiergate.toml"
    file.write_text('[paths]\nevidence_dir = "e"\n[clips]\nfont = "f"\n[alarms]\nca_file = "c"\n')
    told = load(file, {})
    assert (told.paths.evidence_dir, told.clips.font, told.alarms.ca_file) == tuple(tmp_path / name for name in "efc")


def test_a_missing_file_says_to_run_init(tmp_path: Path) -> None:
    with pytest.raises(TiergateError, match="tiergate init"):
        load(tmp_path / "none.toml", {})
