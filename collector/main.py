"""The command ``muster-collector``. Each command imports what it needs when it is called, and nothing more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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

    _check_command(commands, common)
    _owner_commands(commands, common)
    return parser


def _check_command(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command for whoever installs it."""
    check = commands.add_parser(
        "check",
        parents=[common],
        help="look at the installation: settings, osqueryd's flags, and what it needs to load the extension",
        description="Look at the settings, at osqueryd's flag file and at the extension it is to load, and say what has"
        " to be mended and how. Run it as root. Exit codes: 0 ok, 2 usage, 3 problems found.",
    )
    check.add_argument("--json", action="store_true", help="for machines: an array of findings")
    check.add_argument("--flagfile", type=Path, metavar="FILE", help="osqueryd's (default /etc/osquery/osquery.flags)")
    check.add_argument("--extension", type=Path, metavar="FILE", help="look at this extension's file alone")
    check.set_defaults(command=_check)


def _owner_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """The commands for whoever uses the device; none of them needs to be root while the collector runs."""
    codes = "Exit codes: 0 ok, 1 failed, 2 usage, 3 problems found."
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="for machines: one JSON object")
    status = commands.add_parser(
        "status",
        parents=[common, as_json],
        help="how this device fares, and whether the server hears of it",
        description="Say how this device fares and how to mend what fails, and whether the server hears of it.",
        epilog=codes,
    )
    status.set_defaults(command=_status)
    disclose = commands.add_parser(
        "disclose",
        parents=[common, as_json],
        help="what is collected from this device, why, and where it goes",
        description="Say what is collected from this device, how often, why and where it goes; what its own policy"
        " refuses, what was asked live, and what is not collected.",
        epilog=codes,
    )
    disclose.add_argument("--sql", action="store_true", help="with every statement, and where each column comes from")
    disclose.set_defaults(command=_disclose)
    sync = commands.add_parser(
        "sync",
        parents=[common, as_json],
        help="send what waits, take the day's evidence and fetch the verdicts, now",
        description="Send what waits, take the day's evidence and fetch the server's verdicts now, and say what came"
        " of it. Once a minute, but for root.",
        epilog=codes,
    )
    sync.add_argument("--wait", type=_seconds, default=60.0, metavar="SECONDS", help="at most 60 (the default)")
    sync.set_defaults(command=_sync)


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to 60")
    return seconds


def _status(arguments: argparse.Namespace) -> int:
    from collector.openness.commands import owner_settings, status_command

    return status_command(owner_settings(arguments.config), as_json=arguments.json)


def _disclose(arguments: argparse.Namespace) -> int:
    from collector.openness.commands import disclose_command, owner_settings

    return disclose_command(owner_settings(arguments.config), as_json=arguments.json, sql=arguments.sql)


def _sync(arguments: argparse.Namespace) -> int:
    from collector.openness.commands import owner_settings, sync_command

    return sync_command(owner_settings(arguments.config), as_json=arguments.json, wait=arguments.wait)


def _check(arguments: argparse.Namespace) -> int:
    from collector.checks.command import check

    return check(load(arguments.config), arguments.flagfile, arguments.extension, as_json=arguments.json)


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
    from collector.supervise import Child, Supervisor, let_go_of_inherited

    let_go_of_inherited()
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
