"""Build the collector's archive for this kind of machine: ``make collector``.

It holds everything, an interpreter too; it is built where it is to run, by kind: Linux on Linux (the oldest there is,
for its C library), macOS on macOS.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOT_NEEDED = (
    "distutils", "multiprocessing", "pip", "pkg_resources", "pydoc", "setuptools", "tkinter", "unittest",
    "hypothesis", "mypy", "mypyc", "psutil", "pydantic", "pytest", "server", "tests", "uvloop",
)  # fmt: skip
"""Modules that cost memory in every process once they are in the bundle, and that nothing of ours calls: libraries use
them where they are there, as in an environment for development they are."""
BESIDE = ("install.sh", "INSTALL.md")
FOLDERS = ("etc", "osquery", "systemd", "launchd")


def main(output: Path) -> Path:
    """Build the archive in a folder and return its path; a line with its digest lies beside it."""
    sys.path.insert(0, str(ROOT))
    from collector import VERSION

    name = f"muster-collector-{VERSION}-{platform.system().lower()}-{platform.machine()}"
    work = output / "work"
    shutil.rmtree(work, ignore_errors=True)
    tree = work / name
    _bundle(work, tree)
    for one in BESIDE:
        shutil.copy(HERE / one, tree / one)
    for folder in FOLDERS:
        shutil.copytree(HERE / folder, tree / folder)
    archive = output / f"{name}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, name, filter=_owned_by_root)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest}  {archive.name}\n")
    shutil.rmtree(work)
    return archive


def _bundle(work: Path, tree: Path) -> None:
    """The program and its interpreter, as ``TREE/collector``."""
    excluded = [f"--exclude-module={name}" for name in NOT_NEEDED]
    subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--onedir", "--log-level=ERROR"),
            *("--name=muster-collector", "--optimize=1", f"--paths={ROOT}", *excluded),
            *(f"--workpath={work / 'steps'}", f"--specpath={work}", f"--distpath={work / 'made'}"),
            str(ROOT / "collector" / "main.py"),
        ],
        check=True,
        cwd=ROOT,
    )
    shutil.move(work / "made" / "muster-collector", tree / "collector")


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


if __name__ == "__main__":
    made = main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
    sys.stdout.write(f"{made} ({made.stat().st_size / 2**20:.0f} MiB)\n")
