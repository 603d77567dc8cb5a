"""The collector's settings: a file, the environment before it, and plain words for what cannot be used."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from collector import VERSION, main, settings
from collector.settings import Settings, SettingsError, load

ROOT = Path(__file__).parent.parent.parent


def file_of(directory: Path, text: str) -> Path:
    path = directory / "collector.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_said_is_what_the_installer_lays_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "CONFIG_FILE", tmp_path / "none.toml")
    assert load(environ={"PATH": "/bin"}) == Settings()
    assert Settings().spool_path == Path("/var/lib/muster-collector/spool.db")
    assert Settings().control_socket == Path("/run/muster-collector/control.sock")


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = file_of(
        tmp_path,
        'server = "https://muster.example"\nspool_bytes = 2000000\nstate_dir = "/srv/state"\nca_file = "/etc/ca.pem"\n',
    )
    read = load(
        environ={
            "MUSTER_COLLECTOR_CONFIG": str(path),
            "MUSTER_COLLECTOR_SERVER": "https://elsewhere.example:8443",
            "MUSTER_COLLECTOR_SPOOL_BYTES": "3000000",
            "MUSTER_COLLECTOR_CA_FILE": "",
            "MUSTER_COLLECTOR_ALLOW_HTTP": "true",
        }
    )
    assert read == Settings(
        server="https://elsewhere.example:8443",
        spool_bytes=3_000_000,
        state_dir=Path("/srv/state"),
        control_socket=Path("/srv/state/control.sock"),
        ca_file=None,
        allow_http=True,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('servr = "https://a.example"', "servr is not known; is server meant?"),
        ("wholly_else = 1", "wholly_else is not known"),
        ("spool_bytes = true", "spool_bytes is to be a whole number, not True"),
        ("spool_bytes = 10", "at least 1048576, not 10"),
        ("server = 7", "server is to be text, not 7"),
        ('server = "muster.example"', "not of the form https://HOST"),
        ('server = "https://a.example:port"', "is no URL"),
        ('server = "https://user@a.example"', "no user or password"),
        ('server = "https://a.example/api"', "end after the host"),
        ('server = "http://a.example"', "in the clear"),
        ('server = "http://127.a.example"', "in the clear"),
        ('state_dir = "state"', "not an absolute path"),
        ('state_dir = ""', "state_dir is empty"),
        ('client_key = "/etc/key.pem"', "client_key is given without client_cert"),
        ('proxy = "socks5://h:1"', "proxy is not of the form"),
        ('log_level = "loud"', "one of debug, info, warning, error"),
        ("server = ", "collector.toml: "),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file_of(tmp_path, text), environ={})
    assert said in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8765", "http://localhost:1", "http://[::1]:1", "https://a.example/"])
def test_in_the_clear_only_to_this_machine(url: str) -> None:
    assert load(environ={"MUSTER_COLLECTOR_SERVER": url}).server == url


def test_variables_are_checked_as_keys_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MUSTER_COLLECTOR_SEVER is not known; is MUSTER_COLLECTOR_SERVER meant"):
        load(environ={"MUSTER_COLLECTOR_SEVER": "https://a.example"})
    with pytest.raises(SettingsError, match="neither true nor false"):
        load(environ={"MUSTER_COLLECTOR_ALLOW_HTTP": "perhaps"})
    with pytest.raises(SettingsError, match="not a number of bytes"):
        load(environ={"MUSTER_COLLECTOR_SPOOL_BYTES": "256M"})


def test_a_password_of_the_proxy_is_never_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ={"MUSTER_COLLECTOR_PROXY": "https://user:hidden@proxy.example"})
    assert "hidden" not in str(caught.value)


def test_a_file_that_was_named_has_to_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["uplink", "--config", str(tmp_path / "none.toml")]) == main.EXIT_USAGE
    assert "there is no such file" in capsys.readouterr().err


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
