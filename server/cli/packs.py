"""``muster packs``: the commands that have to do with packs."""

from __future__ import annotations

import click

from server.cli.packs_cases import test
from server.cli.packs_check import check
from server.cli.packs_exchange import export, import_
from server.cli.packs_folder import init, schemas
from server.cli.packs_list import list_packs
from server.cli.packs_plan import plan
from server.cli.packs_schema import schema
from server.cli.packs_status import status
from server.cli.shipping import apply, history, promote, rollback


@click.group()
def packs() -> None:
    """Query packs: what the fleet is asked, and by which controls it is judged."""


for _command in (
    *(check, test, list_packs, init, plan, apply, promote, rollback, history, status, import_, export),
    *(schema, schemas),
):
    packs.add_command(_command)
