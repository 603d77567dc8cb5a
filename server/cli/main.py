"""The command line: every subcommand, and the settings file."""

from __future__ import annotations

import logging
from importlib import import_module

import click

from server import __version__
from server.cli.options import settings_of

COMMANDS = {
    "demo": "server.cli.demo",
    "init": "server.cli.database",
    "serve": "server.cli.serve",
    "migrate": "server.cli.database",
    "zone": "server.cli.zone",
    "doctor": "server.cli.doctor",
    "evaluate": "server.cli.judge",
    "posture": "server.cli.posture",
    "explain": "server.cli.explain",
    "sql": "server.cli.ask",
    "ingest": "server.cli.ingest",
    "packs": "server.cli.packs",
    "token": "server.cli.credentials",
    "secret": "server.cli.credentials",
    "exempt": "server.cli.exemptions",
    "alerts": "server.cli.alerts",
    "device": "server.cli.device",
    "roster": "server.cli.roster",
    "hold": "server.cli.hold",
    "simulate": "server.cli.simulate",
}
"""Where each command is. Only the one that is called is imported, so that short commands stay short."""


class _MusterGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name and command:
            ctx.default_map = settings_of({name: command})
        return name, command, rest


@click.group(cls=_MusterGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "MUSTER"})
@click.version_option(__version__, prog_name="muster")
@click.option("-v", "--verbose", is_flag=True, help="Log more, to standard error.")
def cli(verbose: bool) -> None:
    """Call the roll of a fleet: osquery's answers kept as SQL rows, controls judged every day.

    Every option can be given in the environment (MUSTER_DATABASE, or MUSTER_SQL_LIMIT for the --limit of sql) or as a
    key of muster.toml; an option on the command line comes first, then the environment, then the file.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 problems found, 4 the database is not ready.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    # A job that is still at work when its turn comes again is no trouble, and some have a turn every two seconds.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="muster")


if __name__ == "__main__":
    main()
