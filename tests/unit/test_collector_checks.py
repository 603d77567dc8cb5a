"""``muster-collector check`` says of a file what osqueryd was seen to do with it, and of flags what goes with them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.checks import flags as flags_module
from collector.checks.autoload import extension_file, load_file
from collector.checks.finding import Finding
from collector.checks.flags import flag_file, read_flags
from collector.checks.place import settings_findings
from collector.main import run
from collector.settings import Settings
from tests.support.recorded import TRANSCRIPTS

NOBODY = 65534
RECORDED = {
    case["case"]: bool(case["extension_started"])
    for case in map(json.loads, (TRANSCRIPTS / "s12_autoload_permissions.jsonl").read_text().splitlines())
    if "extension_started" in case
}
GOOD = "#!/bin/sh\nexit 0\n"


def _file(folder: Path, text: str = GOOD, mode: int = 0o755, name: str = "muster.ext") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def _owned_by_nobody(folder: Path) -> Path:
    path = _file(folder)
    os.chown(path, NOBODY, NOBODY)
    return path


def _in_folder(mode: int, owner: int | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = _file(folder)
        folder.chmod(mode)
        if owner is not None:
            os.chown(folder, owner, owner)
        return path

    return make


def _link(folder: Path) -> Path:
    link = folder / "link.ext"
    link.symlink_to(_file(folder))
    return link


MADE: dict[str, Callable[[Path], Path]] = {
    "root-owned, 0755, name ends in .ext": _file,
    "mode 0775 (group-writable)": lambda folder: _file(folder, mode=0o775),
    "mode 0777 (world-writable)": lambda folder: _file(folder, mode=0o777),
    "mode 0644 (not executable)": lambda folder: _file(folder, mode=0o644),
    "mode 0700": lambda folder: _file(folder, mode=0o700),
    "name ends in .py": lambda folder: _file(folder, name="muster.py"),
    "no suffix": lambda folder: _file(folder, name="muster"),
    "owned by another user (nobody), 0755": _owned_by_nobody,
    "directory 0777": _in_folder(0o777),
    "directory 1777 (like /tmp)": _in_folder(0o1777),
    "directory owned by nobody": _in_folder(0o755, NOBODY),
    "a symlink to a safe file": _link,
    "no #! line": lambda folder: _file(folder, "exit 0\n"),
    "#! names an interpreter that is not there": lambda folder: _file(folder, "#!/not/there\nexit 0\n"),
    "CRLF line ends": lambda folder: _file(folder, GOOD.replace("\n", "\r\n")),
}


@pytest.mark.parametrize("case", MADE)
def test_a_file_is_found_good_where_osqueryd_started_it(case: str, tmp_path: Path) -> None:
    if os.getuid() and "nobody" in case:
        pytest.skip("only root gives files away")
    folder = tmp_path / "ext"
    folder.mkdir()
    found = extension_file(MADE[case](folder), os.getuid())
    assert all(one.good for one in found) is RECORDED[case], found
    assert all(one.good or one.mend for one in found)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert [one.good for one in extension_file(tmp_path / "muster.ext", os.getuid())] == [False]


def test_a_load_file_names_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "ext"
    folder.mkdir()
    one, other = _file(folder), _file(folder, name="other.ext")
    load = tmp_path / "extensions.load"
    load.write_text(f"# ours\n\n{folder}\n")
    assert load_file(load)[1] == [one, other]
    load.write_text(f"{one}\n")
    assert load_file(load, one)[0][0].good
    assert not load_file(load, other)[0][0].good


def _looked_at(tmp_path: Path, **flags: str) -> list[Finding]:
    folder = tmp_path / "ext"
    folder.mkdir(exist_ok=True)
    load = tmp_path / "extensions.load"
    load.write_text(f"{_file(folder)}\n")
    given = {
        "extensions_socket": "/var/osquery/osquery.em",
        "extensions_autoload": str(load),
        "extensions_require": "muster",
        "extensions_timeout": "30",
        "logger_plugin": "muster",
        **flags,
    }
    path = tmp_path / "osquery.flags"
    path.write_text("# flags\n" + "".join(f"--{name}={value}\n" for name, value in given.items() if value))
    return [one for one in flag_file(path, Settings(), os.getuid()) if not one.good]


def test_flags_of_the_extension_that_go_together(tmp_path: Path) -> None:
    assert _looked_at(tmp_path) == []
    assert _looked_at(tmp_path, logger_plugin="filesystem,muster", config_plugin="muster") == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"extensions_require": ""}, "--extensions_require=muster"),
        ({"extensions_require": "other"}, "--extensions_require=muster"),
        ({"extensions_timeout": "3"}, "--extensions_timeout=10"),
        ({"extensions_timeout": ""}, "--extensions_timeout=10"),
        ({"extensions_timeout": "soon"}, "--extensions_timeout=10"),
        ({"disable_extensions": "true"}, "--disable_extensions"),
        ({"extensions_socket": "/elsewhere.em"}, 'socket = "/elsewhere.em"'),
        ({"extensions_autoload": "/not/there"}, "extension's path"),
    ],
)
def test_flags_that_do_not_go_together(flags: dict[str, str], said: str, tmp_path: Path) -> None:
    assert any(said in one.mend for one in _looked_at(tmp_path, **flags))


def test_beside_an_osqueryd_that_logs_itself_the_extension_is_not_asked_for(tmp_path: Path) -> None:
    assert _looked_at(tmp_path, logger_plugin="tls", extensions_require="", extensions_autoload="") == []


def test_an_extension_that_attaches_itself_is_in_no_load_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags_module, "AUTOLOAD_DEFAULT", str(tmp_path / "none.load"))
    assert _looked_at(tmp_path, extensions_autoload="") == []


def test_a_file_of_certificates_that_holds_none_is_a_problem(tmp_path: Path) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_text("garbage")
    settings = Settings(server="https://muster.test", ca_file=garbage, state_dir=tmp_path, socket=tmp_path / "none.em")
    (found,) = (one for one in settings_findings(settings) if one.subject == "certificates")
    assert not found.good and str(garbage) in found.told


def test_flags_are_read_as_osqueryd_reads_them() -> None:
    text = "# --no\n--verbose\n-logger_plugin = tls\n\n--tls_hostname=h:1\n"
    assert read_flags(text) == {"verbose": "true", "logger_plugin": "tls", "tls_hostname": "h:1"}


def test_the_command_says_what_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o644)
    for name, value in {
        "SERVER": "https://muster.test",
        "ENROLL_SECRET_PATH": str(secret),
        "STATE_DIR": str(tmp_path / "state"),
        "SOCKET": str(tmp_path / "none.em"),
        "POLICY_FILE": str(tmp_path / "policy.toml"),
    }.items():
        monkeypatch.setenv(f"MUSTER_COLLECTOR_{name}", value)
    assert run(["check", "--flagfile", str(tmp_path / "none")]) == 3
    said = capsys.readouterr().out
    assert f"chmod 0600 {secret}" in said and "osqueryd does not answer there" in said
    assert run(["check", "--json", "--extension", str(_file(tmp_path, mode=stat.S_IRWXU))]) == (
        0 if not os.getuid() else 3
    )
    assert json.loads(capsys.readouterr().out)[0]["subject"].endswith("muster.ext")
