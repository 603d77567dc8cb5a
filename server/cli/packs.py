"""``muster packs``: the commands that have to do with packs."""

from __future__ import annotations

import click

from server.cli.packs_cases import test
from server.cli.packs_check import check
from server.cli.packs_exchange import export, import_
from server.cli.packs_folder import init, schemas
from server.cli.packs_list import list_packs
from server.cli.packs_schema import schema


@click.group()
def packs() -> None:
    """Query packs: what the fleet is asked, and by which controls it is judged."""


packs.add_command(check)
packs.add_command(schema)
packs.add_command(import_)
packs.add_command(export)
packs.add_command(init)
packs.add_command(list_packs)
packs.add_command(schemas)
packs.add_command(test)
