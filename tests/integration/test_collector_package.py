"""The archive: built by the documented command, installed by its script, and running with nothing else at hand."""

from __future__ import annotations

import os
import plistlib
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.collector import settings, wait_until
from tests.support.core.running import core
from tests.support.server import ROOT, ask, serving

HOME = "opt/muster-collector"
LINE = '{"name":"made_up","unixTime":%d,"epoch":0,"counter":0,"action":"added","columns":{"word":"here"}}'
COUNTED = "SELECT COUNT(*) FROM coverage WHERE query = 'made_up'"

only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root installs it")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The unpacked archive."""
    output = tmp_path_factory.mktemp("package")
    subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "collector" / "build.py"), str(output)], check=True, capture_output=True
    )
    (archive,) = output.glob("*.tar.gz")
    subprocess.run(["sha256sum", "--check", f"{archive.name}.sha256"], cwd=output, check=True, capture_output=True)
    with tarfile.open(archive) as tar:
        assert {(member.uid, member.mode & 0o022) for member in tar} == {(0, 0)}
        tar.extractall(output, filter="data")
    yield output / archive.name.removesuffix(".tar.gz")
    shutil.rmtree(output)


def bare() -> dict[str, str]:
    """An environment without an interpreter or anything of ours."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def run(*command: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], env=environment or bare(), capture_output=True, text=True, timeout=60, cwd="/"
    )


def test_the_program_needs_nothing_else(tree: Path) -> None:
    program = tree / "collector" / "muster-collector"
    assert run(program, "--version").stdout.startswith("muster-collector ")
    assert run(program, "status").returncode == 1
    held = {path.name for path in (tree / "collector" / "_internal").iterdir()}
    assert not held & {"server", "tests", "pydantic", "hypothesis", "mypy", "setuptools"}, held


@pytest.mark.timeout(300)
def test_the_program_delivers_what_osqueryd_logs(tree: Path, tmp_path: Path) -> None:
    """osqueryd starts the extension from the bundle; the uplink of the bundle enrols and delivers."""
    program = str(tree / "collector" / "muster-collector")
    with serving(tmp_path) as (server, made):
        flags = {"logger_plugin": "muster", "extensions_require": "muster"}
        with core(flags, begin=False, autoload=(program, "extension")) as osqueryd:
            address = f"http://127.0.0.1:{server.port}"
            environment = settings(tmp_path, address, made["enroll_secret"], osqueryd.socket)
            osqueryd.environment.update(environment)
            osqueryd.start()
            osqueryd.await_ready()
            assert osqueryd.log("made_up", {"string": LINE % time.time()}) == [[0, "OK"]]
            with subprocess.Popen([program, "uplink"], env=environment, stderr=subprocess.DEVNULL, cwd="/") as uplink:
                wait_until(lambda: ask(server.database, COUNTED) == [[1]])
                uplink.terminate()
                assert uplink.wait(20) == 0
        assert ask(server.database, "SELECT word FROM made_up") == [["here"]]


@only_root
def test_installing_and_bringing_up_to_date(tree: Path, tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    secret.write_text("s3cret\n")
    install = tree / "install.sh"
    done = run(*(install, "--root", root, "--server", "https://muster.test", "--secret", secret, "--mode", "autoload"))
    assert done.returncode == 0, done.stderr
    extension = root / HOME / "muster.ext"
    assert extension.read_text().startswith(
        "#!/bin/sh\nexec /opt/muster-collector/collector/muster-collector extension"
    )
    program = root / HOME / "collector" / "muster-collector"
    assert os.readlink(root / "usr/local/bin/muster-collector") == f"/{HOME}/collector/muster-collector"
    looked = run(program, "check", "--extension", extension)
    assert (looked.returncode, looked.stdout) == (0, f"ok       {extension}: osqueryd can start it\n")
    loose = [path for path in (root / HOME).rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022]
    assert loose == []
    etc = root / "etc"
    assert 'server = "https://muster.test"' in (etc / "muster" / "collector.toml").read_text()
    assert stat.S_IMODE((etc / "muster" / "enroll_secret").stat().st_mode) == 0o600
    assert (etc / "osquery" / "extensions.load").read_text() == "/opt/muster-collector/muster.ext\n"
    unit = etc / "systemd" / "system" / "muster-collector.service"
    assert "muster-collector uplink\n" in unit.read_text()
    assert (unit.parent / "osqueryd.service.d" / "muster.conf").exists()

    (etc / "muster" / "policy.toml").write_text("deny_live = true\n")
    (root / HOME / "left-over").write_text("of the version before")
    again = run(install, "--root", root, "--mode", "attach")
    assert again.returncode == 0, again.stderr
    assert (etc / "muster" / "policy.toml").read_text() == "deny_live = true\n"
    assert (etc / "muster" / "enroll_secret").read_text() == "s3cret\n"
    assert (etc / "osquery" / "extensions.load").read_text().count("muster.ext") == 1
    assert not (root / HOME / "left-over").exists()
    assert "muster-collector run\n" in unit.read_text()
    newer = run(install, "--root", root)
    assert "mode attach" in newer.stdout and "muster-collector run\n" in unit.read_text()


@only_root
@pytest.mark.parametrize(
    "arguments",
    [("--mode", "other"), ("--server",), ("--what",), ("--server", "muster.test"), ("--server", 'https://a"b')],
)
def test_what_cannot_be_installed_changes_nothing(arguments: tuple[str, ...], tree: Path, tmp_path: Path) -> None:
    done = run(tree / "install.sh", "--root", tmp_path / "root", *arguments)
    assert done.returncode in (1, 2) and done.stderr
    assert not (tmp_path / "root").exists()


@only_root
def test_another_server_in_the_settings_is_kept(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert run(tree / "install.sh", "--root", root, "--server", "https://one.test").returncode == 0
    done = run(tree / "install.sh", "--root", root, "--server", "https://two.test")
    assert (done.returncode, "names another server" in done.stderr) == (1, True)


def test_the_units_are_what_they_are_read_by(tree: Path, tmp_path: Path) -> None:
    described = plistlib.loads((tree / "launchd" / "org.muster.collector.plist").read_bytes())
    assert described["ProgramArguments"] == [f"/{HOME}/collector/muster-collector", "uplink"]
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not here")
    unit = (tree / "systemd" / "muster-collector.service").read_text().replace(f"/{HOME}", str(tree))
    for name, text in {
        "muster-collector.service": unit,
        "osqueryd.service": "[Service]\nExecStart=/bin/true\n",
    }.items():
        (tmp_path / name).write_text(text)
    done = run(verify, "verify", tmp_path / "muster-collector.service")
    assert done.stderr.replace("\n", "") == "" and done.returncode == 0, done.stderr
