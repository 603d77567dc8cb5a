"""What is asked of the code itself: style, types, the order of the stages, and files one can read in one sitting."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LONGEST_MODULE = 400
LONGEST_FUNCTION = 60


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("importlinter.cli", "lint"),
    ],
    ids=["style", "format", "types", "imports"],
)
def test_the_code_is_clean(command: tuple[str, ...]) -> None:
    module, *arguments = command
    if module == "importlinter.cli":
        arguments = ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
        run = [sys.executable, *arguments]
    else:
        run = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


SOURCES = sorted([*ROOT.glob("server/**/*.py"), *ROOT.glob("collector/**/*.py"), *ROOT.glob("tests/**/*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_the_collector_needs_little() -> None:
    allowed = {"osquery", "thrift", "aiohttp", "orjson", "collector"} | set(sys.stdlib_module_names)
    for path in ROOT.glob("collector/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            assert {name.split(".")[0] for name in names} <= allowed, path


def test_every_migration_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in sorted(ROOT.glob("server/store/migrations/*.sql"))]
    assert numbers == sorted(set(numbers)), "of two with one number only one would be applied"
