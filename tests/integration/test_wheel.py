"""The built wheel, installed outside the checkout, works by itself with the packs inside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_wheel_runs_without_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    wheel = next(tmp_path.glob("*.whl"))
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # The dependencies are those of this environment; what is under test is what the wheel itself holds.
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, timeout=120)
    here = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": str(here), "PYTHONSAFEPATH": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(tmp_path / "env" / "bin" / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "no problems" in run("muster", "packs", "check")
    assert "admin_token" in json.loads(run("muster", "init", "--database", "sqlite:///t.db", "--json"))
    answer = json.loads(run("muster", "sql", "--database", "sqlite:///t.db", "--json", "SELECT COUNT(*) FROM users"))
    assert answer["rows"] == [[0]]
    assert run("muster-collector", "--version").startswith("muster-collector ")
    found = subprocess.run(
        [python, "-c", "import server; print(server.__file__)"], cwd=tmp_path, env=environment, capture_output=True
    )
    assert str(tmp_path) in found.stdout.decode()
