"""The command ``muster-collector check``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from collector.checks.autoload import extension_file
from collector.checks.finding import Finding
from collector.checks.flags import flag_file
from collector.checks.place import settings_findings
from collector.settings import Settings

FLAGS_FILE = Path("/etc/osquery/osquery.flags")
EXIT_OK, EXIT_PROBLEMS = 0, 3


def check(settings: Settings, flags: Path | None, extension: Path | None, *, as_json: bool) -> int:
    """Look at everything and say what has to be mended; returns the exit code.

    ``flags`` is osqueryd's flag file, by default the usual one where there is one; ``extension`` is looked at alone.
    """
    found = extension_file(extension) if extension else _everything(settings, flags)
    if as_json:
        sys.stdout.write(json.dumps([one.as_json() for one in found]) + "\n")
    else:
        sys.stdout.write("".join(map(_shown, found)))
    return EXIT_OK if all(one.good for one in found) else EXIT_PROBLEMS


def _everything(settings: Settings, flags: Path | None) -> list[Finding]:
    found = settings_findings(settings)
    if flags is not None or FLAGS_FILE.exists():
        found += flag_file(flags or FLAGS_FILE, settings)
    return found


def _shown(one: Finding) -> str:
    mend = f"\n         {one.mend}" if one.mend else ""
    return f"{'ok      ' if one.good else 'problem '} {one.subject}: {one.told}{mend}\n"
