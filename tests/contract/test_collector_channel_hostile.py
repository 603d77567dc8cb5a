"""What strangers and broken collectors do to a channel: it ends, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.api import channel as channel_module
from server.wire.limits import MESSAGE_BYTES
from tests.contract.test_collector_channel import a_question, asked_again, in_a_hurry, silent, small
from tests.support.channel import ChannelPeer, channel, eventually, greeted, hello

__all__ = ["in_a_hurry"]


@pytest.mark.parametrize("key", ["", "nobody's", "x" * 5000], ids=["none", "unknown", "long"])
async def test_a_key_that_nobody_has_is_told_so(tmp_path: Path, key: str) -> None:
    async with small(tmp_path) as app:
        assert await app.post("poll", key, {"hello": {}}) == (401, {"node_invalid": True})
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with channel(app.port, key):
                pass
        assert len(app.channels) == 0


async def test_of_many_channels_with_one_key_the_newest_stays(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        device, key = await app.collector("a")
        headers = {"Authorization": f"NodeKey {key}"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
            address = f"http://127.0.0.1:{app.port}/api/collector/channel"
            sockets = [await session.ws_connect(address) for _ in range(200)]
            newest = ChannelPeer(sockets.pop())
            await newest.say(hello())
            await newest.next("hello")
            codes = [await ChannelPeer(socket).closed() for socket in sockets]
            assert set(codes) == {aiohttp.WSCloseCode.POLICY_VIOLATION}
            assert len(app.channels) == 1
            await asked_again(app.store, device)
            await newest.until(a_question, "the question")
            await newest.socket.close()

        async def gone() -> bool:
            return not len(app.channels)

        await eventually(gone)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", aiohttp.WSCloseCode.INVALID_TEXT),
        ("[]", aiohttp.WSCloseCode.INVALID_TEXT),
        ('{"type": 1}', aiohttp.WSCloseCode.INVALID_TEXT),
        ("[" * 50_000, aiohttp.WSCloseCode.INVALID_TEXT),
        ("x" * (MESSAGE_BYTES + 1), aiohttp.WSCloseCode.MESSAGE_TOO_BIG),
        (b"{}", aiohttp.WSCloseCode.UNSUPPORTED_DATA),
    ],
    ids=["broken", "array", "no type", "deep", "giant", "binary"],
)
async def test_what_is_no_message_ends_a_channel_and_nothing_else(
    tmp_path: Path, sent: str | bytes, code: aiohttp.WSCloseCode
) -> None:
    async with small(tmp_path) as app:
        _, key = await app.collector("a")
        _, other = await app.collector("b")
        async with greeted(app.port, other) as peer:
            async with greeted(app.port, key) as hostile:
                await (hostile.socket.send_str(sent) if isinstance(sent, str) else hostile.socket.send_bytes(sent))
                assert await hostile.closed() == code
            assert await silent(peer, "never")


async def test_odd_hellos_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "collector": 7, "config_hash": None, "queued": [1, "", "x" * 5000, None, "\0"], "backlog": {"lines": "many"},
        "policy": "p\0" * 1000, "osquery": ["5"], "posture_hash": "\ud800", "serves_config": "yes", "more": {},
    }  # fmt: skip
    async with small(tmp_path) as app:
        _, key = await app.collector("a")
        async with channel(app.port, key) as peer:
            await peer.socket.send_str('{"type":"what","is":"this"}')
            await peer.socket.send_str(json.dumps({"type": "hello", **odd}))
            await peer.next("hello")
            assert await silent(peer, "never")
        assert (await app.post("poll", key, {"hello": "hello"}))[0] == 400
        assert (await app.post("poll", key, {}))[0] == 400


async def test_too_many_messages_end_a_channel(tmp_path: Path) -> None:
    async with small(tmp_path) as app:
        _, key = await app.collector("a")
        async with greeted(app.port, key) as peer:
            for _ in range(channel_module.MESSAGES_A_MINUTE):
                await peer.socket.send_str('{"type":"what"}')
            assert await peer.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_who_never_says_hello_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "HELLO_SECONDS", 0.1)
    async with small(tmp_path) as app, channel(app.port, (await app.collector("a"))[1]) as peer:
        assert await peer.closed() == aiohttp.WSCloseCode.POLICY_VIOLATION
