"""``muster packs``: its commands."""

from __future__ import annotations

import click

from server.cli.packs_check import check


@click.group()
def packs() -> None:
    """Query packs: what the fleet is asked, and by which controls it is judged."""


packs.add_command(check)
