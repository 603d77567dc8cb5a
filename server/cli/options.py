"""Options that commands share, where their values come from, and how commands end."""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from server.app import UsageError, shipped_packs
from server.catalog.canary import Selector, SelectorError, parse_selector
from server.catalog.catalog import Catalog, load_catalog
from server.catalog.problems import CatalogError
from server.store.ask import SqlRefusedError
from server.store.driver import NotReadyError, StoreError

FAILED, PROBLEMS, NOT_READY = 1, 3, 4
SETTINGS_FILE = "muster.toml"

Result = TypeVar("Result")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def database_option(command: Decorated) -> Decorated:
    """``--database URL``."""
    return click.option(
        "--database", envvar="MUSTER_DATABASE", default="sqlite:///muster.db", show_default=True, show_envvar=True,
        metavar="URL", help="Where everything is kept: sqlite:///PATH (four slashes for an absolute path) or"
        " postgresql://ROLE:PASSWORD@HOST/NAME.",
    )(command)  # fmt: skip


def sql_database_option(command: Decorated) -> Decorated:
    """``--sql-database URL``."""
    return click.option(
        "--sql-database", envvar="MUSTER_SQL_DATABASE", default=None, show_envvar=True, metavar="URL",
        help="Postgres: the URL with which users' SQL is run, of a role that was granted nothing; it may lead to a"
        " replica.  [default: a role that Muster makes]",
    )(command)  # fmt: skip


def packs_option(command: Decorated) -> Decorated:
    """``--packs DIR``."""
    return click.option(
        "--packs", envvar="MUSTER_PACKS", default=None, show_envvar=True, metavar="DIR",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The folder with queries, controls and packs.  [default: those that come with Muster]",
        callback=lambda _context, _option, value: value or shipped_packs(),
    )(command)  # fmt: skip


def applied_packs_option(command: Decorated) -> Decorated:
    """``--packs DIR``, for commands that have a database."""
    return click.option(
        "--packs", envvar="MUSTER_PACKS", default=None, show_envvar=True, metavar="DIR",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="The folder with queries, controls and packs.  [default: the packs in force in the database]",
    )(command)  # fmt: skip


def _selector(_context: click.Context, _option: click.Parameter, value: str | None) -> Selector | None:
    try:
        return parse_selector(value) if value else None
    except SelectorError as error:
        raise click.BadParameter(str(error)) from error


def canary_option(command: Decorated) -> Decorated:
    """``--canary 5%|tag=NAME``, given as ``selector``."""
    return click.option(
        "--canary", "selector", callback=_selector, metavar="5%|tag=NAME",
        help="Only for so many of the devices, or for those with the tag, until it is promoted.",
    )(command)  # fmt: skip


def json_option(command: Decorated) -> Decorated:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")(command)


def max_age_option(command: Decorated) -> Decorated:
    """``--max-age-days N``."""
    return click.option(
        "--max-age-days", envvar="MUSTER_MAX_AGE_DAYS", default=90, show_default=True, show_envvar=True,
        type=click.IntRange(1, 36_500), help="Answers older than this are set aside as rejects.",
    )(command)  # fmt: skip


def key_file_option(command: Decorated) -> Decorated:
    """``--minimise-key-file PATH``."""
    return click.option(
        "--minimise-key-file", "key_file", envvar="MUSTER_MINIMISE_KEY_FILE", show_envvar=True, metavar="PATH",
        type=click.Path(dir_okay=False, path_type=Path), help="The key with which rules of minimise.yaml hash; made "
        "when first needed.  [default: PATH-minimise-key beside a SQLite file]",
    )(command)  # fmt: skip


def keep_options(command: Decorated) -> Decorated:
    """``--keep-rows-days``, ``--keep-events-days`` and ``--keep-verdicts-days``."""
    for what, least, days, says in (
        ("verdicts", 32, 2557, "Verdicts, with their days. Exemptions are kept for ever."),
        ("events", 1, 30, "Rows of event queries."),
        ("rows", 32, 550, "Rows that ended, and when devices answered. Older days cannot be judged again."),
    ):
        command = click.option(
            f"--keep-{what}-days", envvar=f"MUSTER_KEEP_{what.upper()}_DAYS", default=days, show_default=True,
            show_envvar=True, type=click.IntRange(least, 36_500), help=f"{says} What a hold needs stays.",
        )(command)  # fmt: skip
    return command


def run(work: Coroutine[Any, Any, Result], runner: Callable[..., Any] = asyncio.run) -> Result:
    """Run a command's work; an error that is the user's to mend ends it with its message and exit code."""
    try:
        result: Result = runner(work)
        return result
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except NotReadyError as error:
        fail(str(error), NOT_READY)
    except CatalogError as error:
        _refuse(error)
    except (StoreError, SqlRefusedError) as error:
        fail(str(error), FAILED)


def loaded(packs: Path) -> Catalog:
    """The catalog under ``packs``; its problems end the command."""
    try:
        return load_catalog(packs)
    except CatalogError as error:
        _refuse(error)


def _refuse(error: CatalogError) -> NoReturn:
    fail(f"{error}\n{len(error.problems)} problem(s) in the packs", PROBLEMS)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a message on standard error."""
    click.echo(f"muster: {message}", err=True)
    sys.exit(code)


def print_json(value: object) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def settings_of(commands: Mapping[str, click.Command]) -> dict[str, Any]:
    """The defaults that ``muster.toml`` in the working folder gives the options of these commands.

    A key is an option's name; a key under ``[command]`` is for that command alone.
    """
    path = Path(SETTINGS_FILE)
    if not path.is_file():
        return {}
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{SETTINGS_FILE} is not TOML: {error}") from error
    return _defaults(commands, settings)


def _defaults(commands: Mapping[str, click.Command], settings: dict[str, Any]) -> dict[str, Any]:
    common = {key.replace("-", "_"): value for key, value in settings.items() if not isinstance(value, dict)}
    defaults: dict[str, Any] = {}
    for name, command in commands.items():
        own = settings.get(name, {})
        own = own if isinstance(own, dict) else {}
        if isinstance(command, click.Group):
            defaults[name] = _defaults(command.commands, {**common, **own})
            continue
        values = common | {key.replace("-", "_"): value for key, value in own.items()}
        defaults[name] = {
            str(parameter.name): _listed(parameter, values[key])
            for parameter in command.params
            for key in (option.lstrip("-").replace("-", "_") for option in parameter.opts)
            if key in values
        }
    return defaults


def _listed(parameter: click.Parameter, value: Any) -> Any:
    """What may be given several times may stand alone in the file too."""
    return [value] if parameter.multiple and not isinstance(value, list) else value
