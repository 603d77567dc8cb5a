"""``muster alerts``, and what ``muster serve`` makes of its options, with real receivers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support import sinks
from tests.support.server import muster, muster_here

SECRET = "whsec_c2l4dGVlbiBieXRlcyBhdCBsZWFzdA=="


def _file(directory: Path, text: str) -> str:
    path = directory / "secret"
    path.write_text(f"{text}\n", encoding="utf-8")
    return str(path)


async def test_a_message_to_try_channels_with_goes_over_each(tmp_path: Path) -> None:
    async with sinks.posts() as sink:
        with sinks.mails() as mail_sink:
            sink.statuses = [503]
            options = ["--alert-webhook", sink.url, "--alert-webhook-secret-file", _file(tmp_path, SECRET)]
            options += ["--alert-smtp", mail_sink.url, "--alert-from", "muster@example.org"]
            options += ["--alert-to", "ada@example.org", "--alert-to", "bob@example.org"]
            done = await asyncio.to_thread(muster, "alerts", "test", *options, check=False)
            assert done.returncode == 1
            assert "hook: it answered 503" in done.stdout
            assert "mail to ada@example.org, bob@example.org: taken" in done.stdout
            assert "1 of 2 channel(s) did not take it" in done.stderr
            [(to, mail)] = mail_sink.mails
            assert to == ["ada@example.org", "bob@example.org"] and "to try the channel" in mail.get_content()
            assert json.loads(sink.requests[0][1])["type"] == "muster.test"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--alert-webhook", "https://hooks.example.org/x"], "--alert-webhook needs --alert-webhook-secret-file"),
        (["--alert-webhook", "ftp://x/y", "--alert-webhook-secret-file", SECRET], "ftp:// is not a URL of a webhook"),
        (["--alert-webhook", "https://x/y", "--alert-webhook-secret-file", "short"], "shorter than 16 bytes"),
        (["--alert-webhook", "https://x/y", "--alert-webhook-secret-file", "whsec_!"], "is not base64"),
        (["--alert-smtp", "smtp://x"], "mail needs --alert-smtp, --alert-from and --alert-to"),
        (["--alert-to", "ada@example.org"], "mail needs --alert-smtp, --alert-from and --alert-to"),
        (["--alert-smtp", "smtps://u:p@x", "--alert-from", "m@x", "--alert-to", "a@x"], "goes into a file of its own"),
        (["--alert-smtp", "smtps://x", "--alert-from", "m@x", "--alert-to", "a@x\r\nbcc: b"], "is not an address"),
        (["--alert-smtp", "imap://x", "--alert-from", "m@x", "--alert-to", "a@x"], "imap:// is not a mail server"),
    ],
    ids=[*"no-secret scheme short not-base64 no-address no-server password address imap".split()],
)
def test_channels_that_cannot_be(tmp_path: Path, options: list[str], said: str) -> None:
    for position, option in enumerate(options[:-1]):
        if option == "--alert-webhook-secret-file":
            options = [*options[: position + 1], _file(tmp_path, options[position + 1])]
    for command in (["alerts", "test"], ["serve", "--database", f"sqlite:///{tmp_path / 'none.db'}"]):
        done = muster_here(*command, *options, check=False)
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())


def test_no_channel_is_said(tmp_path: Path) -> None:
    done = muster_here("alerts", "test", check=False)
    assert done.returncode == 2 and "no channel is given" in done.stderr
    database = f"sqlite:///{tmp_path / 'muster.db'}"
    muster_here("init", "--database", database, "--json")
    assert json.loads(muster_here("alerts", "list", "--database", database, "--json").stdout) == []
