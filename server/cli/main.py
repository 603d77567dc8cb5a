"""The command line: every subcommand, and the settings file."""

from __future__ import annotations

import logging

import click

from server import __version__
from server.cli.ask import sql
from server.cli.credentials import secret, token
from server.cli.database import init, migrate
from server.cli.exemptions import exempt
from server.cli.ingest import ingest
from server.cli.judge import evaluate
from server.cli.options import settings_of
from server.cli.packs import packs
from server.cli.serve import serve


class _MusterGroup(click.Group):
    def make_context(self, *arguments: object, **options: object) -> click.Context:  # type: ignore[override]
        return super().make_context(*arguments, **options, default_map=settings_of(self))  # type: ignore[arg-type]


@click.group(cls=_MusterGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="muster")
@click.option("-v", "--verbose", is_flag=True, help="Log more, to standard error.")
def cli(verbose: bool) -> None:
    """Call the roll of a fleet: osquery's answers kept as SQL rows, controls judged every day.

    Every option can be given as MUSTER_… in the environment or as a key of muster.toml; an option on the command line
    comes first, then the environment, then the file. Exit codes: 0 ok, 1 failed, 2 usage, 3 problems found, 4 the
    database is not ready.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")


for _command in (init, serve, migrate, evaluate, sql, ingest, packs, token, secret, exempt):
    cli.add_command(_command)


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="muster")


if __name__ == "__main__":
    main()
