"""The command ``muster-collector``. Each command imports what it needs when it is called, and nothing more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from collector import VERSION
from collector.settings import CONFIG_FILE, CONFIG_VARIABLE, SettingsError, load

EXIT_USAGE = 2


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except SettingsError as error:
        print(f"muster-collector: {error}", file=sys.stderr)  # noqa: T201 - no log is set up yet
        return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muster-collector",
        description="The device side of Muster: it keeps what osqueryd observes until the server has it.",
        epilog="'muster-collector COMMAND --help' says more of a command.",
    )
    parser.add_argument("--version", action="version", version=f"muster-collector {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the settings (or {CONFIG_VARIABLE}; {CONFIG_FILE} where it is there)",
    )

    uplink = commands.add_parser(
        "uplink",
        parents=[common],
        help="send what waits, and hear what the server asks; ends on SIGTERM",
        description="Send what is spooled to the server and hear what it asks, until SIGTERM. Logs to standard error.",
    )
    uplink.set_defaults(command=_uplink)
    return parser


def _uplink(arguments: argparse.Namespace) -> int:
    from collector.uplink.process import main as uplink

    return uplink(load(arguments.config))


if __name__ == "__main__":
    main()
