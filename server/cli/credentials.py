"""``muster token`` and ``muster secret``: who may ask, and who may enrol."""

from __future__ import annotations

import time

import click

from server.cli.options import database_option, json_option, print_json, run
from server.cli.transactions import read_from, write_to
from server.store import access


@click.group()
def token() -> None:
    """Bearer tokens for the API and the console."""


@click.group()
def secret() -> None:
    """Enrol secrets for osquery's --enroll_secret_path."""


@token.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(access.ROLES), default="reader", show_default=True)
@database_option
@json_option
def add_token(name: str, role: str, database: str, as_json: bool) -> None:
    """Make a token and show it, this once."""
    _show("token", run(write_to(database, lambda tx: access.add_token(tx, name, role, time.time()))), as_json)


@secret.command("add")
@click.argument("name")
@database_option
@json_option
def add_secret(name: str, database: str, as_json: bool) -> None:
    """Make an enrol secret and show it, this once."""
    _show("secret", run(write_to(database, lambda tx: access.add_enroll_secret(tx, name, time.time()))), as_json)


def _show(kind: str, value: str, as_json: bool) -> None:
    print_json({kind: value}) if as_json else click.echo(value)


def _listing(kind: str) -> click.Command:
    @click.command("list", help=f"Show the {kind}s, without their values.")
    @database_option
    @json_option
    def listing(database: str, as_json: bool) -> None:
        found = run(read_from(database, lambda tx: access.list_credentials(tx, kind)))
        if as_json:
            print_json(found)
            return
        for entry in found:
            state = f"revoked {entry['revoked_at']}" if entry["revoked_at"] else "active"
            click.echo(f"{entry['id']}  {entry['role']:8}{entry['name']:20}  since {entry['created_at']}  {state}")

    return listing


def _revoking(kind: str) -> click.Command:
    @click.command("revoke", help=f"Revoke the {kind} with this id. It stops working within two seconds.")
    @click.argument("credential_id", metavar="ID")
    @database_option
    def revoking(credential_id: str, database: str) -> None:
        run(write_to(database, lambda tx: access.revoke(tx, kind, credential_id, time.time())))

    return revoking


for _group in (token, secret):
    _group.add_command(_listing(str(_group.name)))
    _group.add_command(_revoking(str(_group.name)))
