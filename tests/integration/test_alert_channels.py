"""``muster alerts``, and what ``muster serve`` makes of its options, with real receivers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from server.notify import mail
from server.notify.channels import NotDeliveredError
from server.notify.mail import Mail
from server.notify.webhook import Webhook
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
        (["--alert-smtp", "smtps://x", "--alert-from", "m@x", "--alert-to", "a@x,b@x"], "is not an address"),
        (["--alert-smtp", "imap://x", "--alert-from", "m@x", "--alert-to", "a@x"], "imap:// is not a mail server"),
    ],
    ids=[*"no-secret scheme short not-base64 no-address no-server password address two-in-one imap".split()],
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


MESSAGE = {"type": "muster.test", "summary": "s", "groups": []}


async def test_who_was_refused_is_tried_again_and_nobody_else(tmp_path: Path) -> None:
    with sinks.mails() as sink:
        sink.refused = {"bob@example.org"}
        channel = Mail(sink.url, "muster@example.org", ["ada@example.org", "bob@example.org"])
        with pytest.raises(NotDeliveredError, match=r"refused for bob@example\.org: 450 not now"):
            await channel.send("msg_1", MESSAGE)
        sink.refused = set()
        await channel.send("msg_1", MESSAGE)
        assert [to for to, _ in sink.mails] == [["ada@example.org"], ["bob@example.org"]]
        await channel.send("msg_2", MESSAGE)
        assert sink.mails[-1][0] == ["ada@example.org", "bob@example.org"]


async def test_a_mail_server_has_so_long_for_all_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "SECONDS", 0.3)

    over = asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 slow\r\n")
        while await reader.readline():  # each answer in time, and all together not
            await asyncio.sleep(0.2)
            writer.write(b"250 well\r\n")
        writer.close()
        over.set()

    server = await asyncio.start_server(slowly, "127.0.0.1", 0)
    channel = Mail(f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}", "muster@x.org", ["ada@x.org"])
    try:
        with pytest.raises(NotDeliveredError, match="did not take the mail within"):
            await channel.send("msg_1", MESSAGE)
        await over.wait()
    finally:
        server.close()


@pytest.mark.parametrize("host", ["a..b", "127.0.0.1"])
async def test_what_no_webhook_answers_is_told_without_the_urls_secret(host: str) -> None:
    async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"no HTTP at all\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(junk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(NotDeliveredError) as raised:
            await Webhook(f"http://{host}:{port}/hook?token=petunia", b"k" * 16).send("msg_1", MESSAGE)
        assert "petunia" not in str(raised.value)
    finally:
        server.close()


async def test_two_webhooks_that_only_their_secrets_tell_apart(tmp_path: Path) -> None:
    async with sinks.posts() as sink:
        options = ["--alert-webhook", f"{sink.url}-1", "--alert-webhook", f"{sink.url}-2"]
        options += ["--alert-webhook-secret-file", _file(tmp_path, SECRET)]
        done = await asyncio.to_thread(muster, "alerts", "test", *options)
        names = [line.partition(": taken")[0] for line in done.stdout.splitlines()]
        assert len(set(names)) == 2 and "not-for-lists" not in done.stdout and len(sink.requests) == 2


async def test_the_settings_file_names_one_webhook_or_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = _file(tmp_path, SECRET)
    async with sinks.posts() as sink:
        for value, count in ((f'"{sink.url}"', 1), (f'["{sink.url}", "{sink.url}-2"]', 2)):
            text = f'alert_webhook = {value}\nalert_webhook_secret_file = "{secret}"\n'
            (tmp_path / "muster.toml").write_text(text, encoding="utf-8")
            done = await asyncio.to_thread(muster_here, "alerts", "test", check=False)
            assert (done.returncode, len(done.stdout.splitlines())) == (0, count), done.stderr
