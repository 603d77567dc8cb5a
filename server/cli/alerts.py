"""``muster alerts``: what people were told, whether it arrived, and a message to try the channels with."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from server.cli.options import FAILED, database_option, fail, json_option, print_json, run
from server.cli.tables import print_table
from server.cli.transactions import read_from
from server.notify.channels import Channel, NotDeliveredError
from server.notify.mail import Mail
from server.notify.tell import Telling
from server.notify.webhook import Webhook, secret_bytes
from server.store.alert_messages import list_deliveries
from server.store.alerts import SEVERITIES, Limits

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_CHANNELS = (
    click.option("--alert-webhook", envvar="MUSTER_ALERT_WEBHOOK", multiple=True, show_envvar=True, metavar="URL",
                 help="Post alerts there, signed. May be given several times."),
    click.option("--alert-webhook-secret-file", envvar="MUSTER_ALERT_WEBHOOK_SECRET_FILE", type=_FILE, show_envvar=True,
                 help="What the posts are signed with: whsec_ and base64, or any text of 16 bytes or more."),
    click.option("--alert-smtp", envvar="MUSTER_ALERT_SMTP", show_envvar=True, metavar="URL",
                 help="The mail server: smtps://USER@HOST, starttls://USER@HOST or smtp://HOST."),
    click.option("--alert-smtp-password-file", envvar="MUSTER_ALERT_SMTP_PASSWORD_FILE", type=_FILE, show_envvar=True,
                 help="The user's password at the mail server."),
    click.option("--alert-from", envvar="MUSTER_ALERT_FROM", show_envvar=True, metavar="ADDRESS",
                 help="Whom alerts come from."),
    click.option("--alert-to", envvar="MUSTER_ALERT_TO", multiple=True, show_envvar=True, metavar="ADDRESS",
                 help="Whom alerts are mailed to. May be given several times."),
)  # fmt: skip
_LIMITS = (
    click.option("--alert-silent-days", envvar="MUSTER_ALERT_SILENT_DAYS", default=3, show_default=True,
                 show_envvar=True, type=click.IntRange(1, 365), help="A device not heard of for so long is silent."),
    click.option("--alert-expiring-days", envvar="MUSTER_ALERT_EXPIRING_DAYS", default=14, show_default=True,
                 show_envvar=True, type=click.IntRange(1, 365), help="Tell of exemptions so long before they end."),
    click.option("--alert-severity", envvar="MUSTER_ALERT_SEVERITY", default="low", show_default=True,
                 show_envvar=True, type=click.Choice(SEVERITIES), help="Tell of failures of this severity and above."),
)  # fmt: skip


def _with_channels(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``channels``, made of the options that tell of them."""

    @wraps(command)
    def called(
        *arguments: Any, alert_webhook: tuple[str, ...], alert_webhook_secret_file: Path | None,
        alert_smtp: str | None, alert_smtp_password_file: Path | None, alert_from: str | None,
        alert_to: tuple[str, ...], **options: Any,
    ) -> Any:  # fmt: skip
        try:
            channels: list[Channel] = [*_webhooks(alert_webhook, alert_webhook_secret_file)]
            channels += _mail(alert_smtp, alert_smtp_password_file, alert_from, alert_to)
        except ValueError as error:
            raise click.UsageError(f"alerts: {error}") from error
        return command(*arguments, channels=channels, **options)

    return called


def _webhooks(urls: Sequence[str], secret_file: Path | None) -> list[Webhook]:
    if not urls:
        return []
    if secret_file is None:
        raise ValueError("--alert-webhook needs --alert-webhook-secret-file, so that the receiver can check who posts")
    key = secret_bytes(secret_file.read_text(encoding="utf-8"))
    hooks = [Webhook(url, key) for url in dict.fromkeys(urls)]
    alike = Counter[str]()
    for hook in hooks:  # what tells them apart may be a secret of the URL
        alike[hook.name] += 1
        if alike[hook.name] > 1:
            hook.name += f" ({alike[hook.name]})"
    return hooks


def _mail(server: str | None, password_file: Path | None, sender: str | None, to: Sequence[str]) -> list[Mail]:
    if not to and server is None:
        return []
    if server is None or sender is None or not to:
        raise ValueError("mail needs --alert-smtp, --alert-from and --alert-to")
    password = password_file.read_text(encoding="utf-8").strip() if password_file else ""
    return [Mail(server, sender, to, password)]


def alert_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say whom to tell and of what, given as ``telling``."""

    @wraps(command)
    def called(
        *arguments: Any, channels: list[Channel], alert_silent_days: int, alert_expiring_days: int,
        alert_severity: str, **options: Any,
    ) -> Any:  # fmt: skip
        limits = Limits(silent_days=alert_silent_days, expiring_days=alert_expiring_days, severity=alert_severity)
        return command(*arguments, telling=Telling(channels=channels, limits=limits), **options)

    decorated = _with_channels(called)
    for option in reversed((*_CHANNELS, *_LIMITS)):
        decorated = option(decorated)
    return decorated


def channel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say whom to tell, given as ``channels``."""
    decorated = _with_channels(command)
    for option in reversed(_CHANNELS):
        decorated = option(decorated)
    return decorated


@click.group()
def alerts() -> None:
    """Alerts: devices newly failing or silent, exemptions that end soon, canaries that were stopped."""


@alerts.command("list")
@click.option("--undelivered", is_flag=True, help="Only what has not arrived.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="The newest so many.")
@database_option
@json_option
def listing(undelivered: bool, limit: int, database: str, as_json: bool) -> None:
    """Show the messages that were sent, how often each was tried, and why it did not arrive.

    What they told of is in the view posture_alerts: muster sql 'SELECT * FROM posture_alerts'.
    """
    found = run(read_from(database, partial(list_deliveries, limit=limit, undelivered=undelivered)))
    if as_json:
        print_json(found)
        return
    table = Table("made", "alerts", "channel", "tried", "state", box=None, header_style="bold")
    for one in found:
        state = f"delivered {one['delivered_at']}" if one["delivered_at"] else str(one["error"] or "waiting")
        state = f"given up: {state}" if one["given_up_at"] else state
        table.add_row(*(str(one[key]) for key in ("made_at", "alerts", "channel", "attempts")), state)
    print_table(table)


@alerts.command()
@channel_options
def test(channels: list[Channel]) -> None:
    """Send a message over each channel, now, and say whether it arrived."""
    if not channels:
        raise click.UsageError("no channel is given: --alert-webhook, or --alert-smtp with --alert-from and --alert-to")
    failed = run(_test(channels))
    if failed:
        fail(f"{failed} of {len(channels)} channel(s) did not take it", FAILED)


async def _test(channels: Sequence[Channel]) -> int:
    message = {"type": "muster.test", "summary": "a message to try the channel with", "groups": []}
    message_id = f"msg_{secrets.token_hex(12)}"
    answers = await asyncio.gather(*(_sent(channel, message_id, message) for channel in channels))
    for channel, answer in zip(channels, answers, strict=True):
        click.echo(f"{channel.name}: {answer or 'taken'}")
    return sum(answer is not None for answer in answers)


async def _sent(channel: Channel, message_id: str, message: dict[str, Any]) -> str | None:
    try:
        await channel.send(message_id, message)
    except NotDeliveredError as error:
        return str(error)
    return None
