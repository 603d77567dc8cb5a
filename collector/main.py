"""The command ``muster-collector``. Each command imports what it needs when it is called, and nothing more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
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

    running = commands.add_parser(
        "run",
        parents=[common],
        help="keep the uplink and the extension running: what a service starts",
        description="Start the uplink and the extension and start them again if they end, until SIGTERM.",
    )
    running.add_argument(
        "--no-extension",
        dest="extension",
        action="store_false",
        help="the uplink only: where osqueryd starts the extension itself, or has its own logger and config",
    )
    running.set_defaults(command=_run)

    extension = commands.add_parser(
        "extension",
        parents=[common],
        help="take osqueryd's log and give it its config; osqueryd starts this itself, or it attaches by itself",
        description="Attach to osqueryd as its logger and config plugin 'muster', and again whenever osqueryd is there"
        " again. Started by osqueryd (from a file named *.ext) it ends with it.",
    )
    extension.add_argument("--socket", type=Path, metavar="PATH", help="osqueryd's extension socket")
    extension.add_argument("--timeout", type=float, default=3, metavar="SECONDS", help="given by osqueryd; not needed")
    extension.add_argument(
        "--interval", type=float, default=3, metavar="SECONDS", help="between looks at osqueryd (default 3)"
    )
    extension.add_argument("--verbose", action="store_true", help="log what happens in detail")
    extension.add_argument("--kept", help=argparse.SUPPRESS)
    extension.add_argument("--keeper", type=int, help=argparse.SUPPRESS)
    extension.set_defaults(command=_extension)
    return parser


def _uplink(arguments: argparse.Namespace) -> int:
    from collector.uplink.process import main as uplink

    return uplink(load(arguments.config))


def _extension(arguments: argparse.Namespace) -> int:
    if os.environ.get("OSQUERY_EXTENSION") and arguments.keeper is None:
        return _kept_extension(arguments)
    from collector.extension.process import main as extension

    settings = load(arguments.config)
    if arguments.socket:
        settings = replace(settings, socket=arguments.socket)
    return extension(
        settings,
        interval=arguments.interval,
        verbose=arguments.verbose,
        kept=arguments.kept,
        keeper=arguments.keeper,
    )


def _kept_extension(arguments: argparse.Namespace) -> int:
    """What osqueryd starts: a process that does nothing but hold the socket of the one that works."""
    from collector.logs import to_stderr
    from collector.supervise import Child, Supervisor

    to_stderr("debug" if arguments.verbose else load(arguments.config).log_level)
    parent = os.getppid()
    child = Child("extension", ["extension", *_passed_on(arguments)], keeps_socket=True)
    return Supervisor([child], goes_on=lambda: os.getppid() == parent, interval=arguments.interval).run()


def _run(arguments: argparse.Namespace) -> int:
    from collector.logs import to_stderr
    from collector.supervise import Child, Supervisor

    to_stderr(load(arguments.config).log_level)
    passed_on = _passed_on(arguments)
    children = [Child("uplink", ["uplink", *passed_on])]
    if arguments.extension:
        children.append(Child("extension", ["extension", *passed_on], keeps_socket=True))
    return Supervisor(children).run()


def _passed_on(arguments: argparse.Namespace) -> list[str]:
    """The options of a command that are its processes', too."""
    passed = []
    for name in ("config", "socket", "interval"):
        value = getattr(arguments, name, None)
        if value is not None:
            passed += [f"--{name}", str(value)]
    return [*passed, "--verbose"] if getattr(arguments, "verbose", False) else passed


if __name__ == "__main__":
    main()
