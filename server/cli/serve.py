"""``muster serve``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click

from server.app import ServeOptions
from server.app import serve as serve_app
from server.cli.alerts import alert_options
from server.cli.options import (
    FAILED,
    applied_packs_option,
    database_option,
    fail,
    keep_options,
    key_file_option,
    max_age_option,
    run,
    sql_database_option,
)
from server.notify.tell import Telling
from server.worker import Keep

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@database_option
@sql_database_option
@applied_packs_option
@max_age_option
@key_file_option
@keep_options
@alert_options
@click.option("--listen", envvar="MUSTER_LISTEN", default="127.0.0.1:8443", show_default=True, show_envvar=True,
              metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")  # fmt: skip
@click.option("--tls-cert", envvar="MUSTER_TLS_CERT", type=_FILE, show_envvar=True, help="Certificate chain, PEM.")
@click.option("--tls-key", envvar="MUSTER_TLS_KEY", type=_FILE, show_envvar=True, help="Its private key, PEM.")
def serve(
    database: str,
    sql_database: str | None,
    packs: Path | None,
    max_age_days: int,
    key_file: Path | None,
    keep_rows_days: int,
    keep_events_days: int,
    keep_verdicts_days: int,
    telling: Telling,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Answer osquery and people, judge every day, and delete what is too old.

    osquery speaks TLS only: give a certificate, or put a proxy that has one in front.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise click.UsageError(f"--listen {listen!r} is not HOST:PORT")
    options = ServeOptions(
        database=database,
        packs=packs,
        host=host.strip("[]"),
        port=int(port),
        tls_cert=tls_cert,
        tls_key=tls_key,
        max_age_days=max_age_days,
        key_file=key_file,
        keep=Keep(keep_rows_days, keep_events_days, keep_verdicts_days),
        sql_database=sql_database,
        telling=telling,
    )
    _look_for_cycles_seldom()
    try:
        run(serve_app(options, lambda address: click.echo(f"Muster listens on {address}")), _fastest_loop())
    except OSError as error:
        fail(f"cannot listen on {listen}: {error.strerror or error}", FAILED)


def _fastest_loop() -> Callable[..., Any]:
    """uvloop where there is one (not on Windows)."""
    try:
        return cast("Callable[..., Any]", import_module("uvloop").run)
    except ImportError:
        return asyncio.run


GC_THRESHOLDS = (100_000, 20, 20)
"""Rows of bodies wait for their commit by the ten thousand and hold no cycles; by default each few of them would make
Python look through all the others."""


def _look_for_cycles_seldom() -> None:
    """Leave what was loaded at the start out of garbage collection, and look through the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
