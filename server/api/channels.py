"""The open channels of this server, and the look, twice a second while there are any, at what is new for them.

A look costs a few statements, however many channels there are: who has a question waiting, which keys are in use no
more, whose verdicts changed. What this process asks itself is pushed at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from aiohttp import WSCloseCode, web

from server.api.keys import Presence
from server.api.outbox import Outbox
from server.api.peers import Greeting, Peer
from server.api.postures import Postures
from server.api.said import Hellos
from server.store.devices import COLLECTOR, Device, devices_of_keys, keys_version
from server.store.driver import StoreError, Transaction
from server.store.questions import Caller
from server.store.store import Store
from server.wire import collector_messages as messages
from server.wire.collector_messages import Hello

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
LEAST_SECONDS = 0.02
"""Between looks that are asked for."""
IDLE_SECONDS = 60.0
KEYS_SECONDS = 2.0
KEYS_AT_ONCE = 500
CONFIG_BYTES_A_LOOK = 32 * 2**20
"""Configs that are put into queues at once: a fleet's devices get another one within a minute, not in one moment."""
POLLER_SECONDS = 600.0
"""How long a collector that polls is remembered."""
CLOSE_SECONDS = 2.0


class Channel:
    """An open channel: its socket, what waits to be sent, and who is at its other end."""

    __slots__ = ("outbox", "peer", "socket")

    def __init__(self, socket: web.WebSocketResponse, outbox: Outbox, caller: Caller) -> None:
        self.socket = socket
        self.outbox = outbox
        self.peer = Peer(caller, outbox)

    async def close(self, code: WSCloseCode, why: str) -> None:
        """Send what waits, if it is read, and say goodbye; who does not listen is broken off."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.outbox.sent()
        self.outbox.end()
        try:
            async with asyncio.timeout(2 * CLOSE_SECONDS):
                await self.socket.close(code=code, message=why.encode())
        except TimeoutError:
            self.outbox.abort()


class Channels:
    """All channels of a server, and the collectors that poll it."""

    def __init__(self, store: Store, presence: Presence) -> None:
        self._store = store
        self._greeting = Greeting(store, presence)
        self._by_key: dict[str, Channel] = {}
        self._by_device: dict[int, Channel] = {}
        self._pollers: dict[int, Peer] = {}
        self._wake = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._keys: tuple[str | None, float] = (None, 0.0)
        self._in_force = store.in_force
        self._days: object = None
        self._config_due: dict[Peer, None] = {}
        self.postures = Postures(store)
        self.hellos = Hellos(store)
        store.questions.listen(self.wake)

    def __len__(self) -> int:
        return len(self._by_key)

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    # -- coming and going --------------------------------------------------------------------------------------

    def open(self, channel: Channel) -> None:
        """Take a channel in; an older one with the same key is closed."""
        key = channel.peer.caller.node_key
        before = self._by_key.get(key)
        self._by_key[key] = channel
        if before is not None:
            self._close(before, WSCloseCode.POLICY_VIOLATION, "another channel was opened with this key")

    def leave(self, channel: Channel) -> None:
        """Forget a channel that is closed."""
        peer = channel.peer
        channel.outbox.end()
        self._config_due.pop(peer, None)
        self.postures.forget(peer)
        if self._by_key.get(peer.caller.node_key) is channel:
            del self._by_key[peer.caller.node_key]
        if self._by_device.get(peer.device_no) is channel:
            del self._by_device[peer.device_no]
            if peer.hello is not None:
                self.hellos.left(peer.device_no, peer.hello)

    async def hello(self, channel: Channel, hello: Hello) -> None:
        """Answer a collector that says hello; from the first time on it is pushed what is new."""
        peer = channel.peer
        for message in await self._greeting.answer(peer, hello):
            channel.outbox.put(message)
        if self._by_key.get(peer.caller.node_key) is not channel:
            return  # it was closed meanwhile
        self._by_device[peer.device_no] = channel
        self.hellos.heard(peer.device_no, hello, connected=True)
        if self.postures.greet(peer, hello):
            self.wake()

    async def poll(self, caller: Caller, hello: Hello) -> list[bytes]:
        """The messages for a collector that polls."""
        peer = self._pollers.get(caller.device.device_no)
        if peer is None or peer.caller.node_key != caller.node_key:
            peer = self._pollers[caller.device.device_no] = Peer(caller)
        peer.caller = caller
        said = await self._greeting.answer(peer, hello)
        # Its owner may want news beside an open channel.
        self.hellos.heard(peer.device_no, hello, connected=peer.device_no in self._by_device)
        if self.postures.greet(peer, hello):
            self.wake()
        return said + [message for _, message in await self.postures.due([peer])]

    def _close(self, channel: Channel, code: WSCloseCode, why: str) -> None:
        self.leave_device(channel)
        task = asyncio.get_running_loop().create_task(channel.close(code, why), name="muster-channel-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def leave_device(self, channel: Channel) -> None:
        """Push nothing more to a channel that is about to be closed."""
        if self._by_device.get(channel.peer.device_no) is channel:
            del self._by_device[channel.peer.device_no]

    # -- the look ----------------------------------------------------------------------------------------------

    async def attend(self, _app: web.Application) -> AsyncIterator[None]:
        """Look as long as the application runs."""
        task = asyncio.get_running_loop().create_task(self._attend(), name="muster-channels")
        yield
        task.cancel()
        await asyncio.wait((task,))

    async def shut(self, _app: web.Application) -> None:
        """Close every channel: the server ends, and the collectors go to another or come again."""
        channels = list(self._by_key.values())
        closing = [channel.close(WSCloseCode.GOING_AWAY, "the server ends") for channel in channels]
        await asyncio.gather(*closing, *self._closing, return_exceptions=True)
        try:
            await self.hellos.note(now=True)
            await self.hellos.forget(ends=True)
        except StoreError as error:
            log.warning("which collectors were connected was not written down: %s", error)

    async def _attend(self) -> None:
        forgot_at, failing = float("-inf"), False
        while True:
            self._wake.clear()
            try:
                if time.monotonic() - forgot_at > IDLE_SECONDS:
                    self._forget_pollers()
                    await self.hellos.forget()
                    forgot_at = time.monotonic()
                if self._by_key or self._pollers:
                    await self.look()
                await self.hellos.note()
                failing = False
            except StoreError as error:
                log.log(logging.DEBUG if failing else logging.ERROR, "what is new for collectors is unknown: %s", error)
                failing = True
            except Exception:
                log.exception("the look at what is new for collectors failed")
            await asyncio.sleep(LEAST_SECONDS)
            busy = self._by_key or self._pollers or self.hellos.waiting
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if busy else IDLE_SECONDS):
                    await self._wake.wait()

    def _forget_pollers(self) -> None:
        old = time.monotonic() - POLLER_SECONDS
        for number in [number for number, peer in self._pollers.items() if peer.heard_at < old]:
            self.postures.forget(self._pollers.pop(number))

    async def look(self) -> None:
        """Push what is new to whom it concerns. Raises ``StoreError``."""
        await self._push_questions()
        await self._look_at_keys()
        await self._push_days()
        self._push_configs()
        await self._push_postures()

    async def _push_questions(self) -> None:
        news = await self._store.questions.news()
        waiting = [self._by_device[number].peer for number in news.waiting if number in self._by_device]
        if waiting:
            found = await self._store.questions.due_of_collectors([peer.caller for peer in waiting])
            made: dict[str, bytes] = {}
            for number, questions in found.items():
                self._ask(number, questions, made)
        if news.withdrawn:
            await self._cancel([channel.peer for channel in self._by_device.values() if channel.peer.asked])

    def _ask(self, number: int, questions: dict[str, str], made: dict[str, bytes]) -> None:
        """Put questions into a device's queue. Of one that is gone meanwhile they are put once more when it is back."""
        channel = self._by_device.get(number)
        if channel is not None:
            for question, message in zip(questions, channel.peer.remember(questions), strict=True):
                channel.outbox.put(made.setdefault(question, message))

    async def _cancel(self, peers: Sequence[Peer]) -> None:
        sent = [(peer.device_no, question) for peer in peers for question in peer.asked]
        for number, question in await self._store.questions.unawaited(sent):
            channel = self._by_device.get(number)
            if channel is not None and channel.peer.asked.pop(question, None) is not None:
                channel.outbox.put(messages.cancel(question))

    async def _look_at_keys(self) -> None:
        version, looked = self._keys
        if time.monotonic() - looked < KEYS_SECONDS:
            return
        now = await self._store.read(keys_version)
        if now != version:
            channels = list(self._by_key.values())
            for start in range(0, len(channels), KEYS_AT_ONCE):
                await self._check_keys(channels[start : start + KEYS_AT_ONCE])
        self._keys = (now, time.monotonic())

    async def _check_keys(self, channels: Sequence[Channel]) -> None:
        """Close the channels of keys that are in use no more; note which devices are others than they were."""
        keys = [channel.peer.caller.node_key for channel in channels]
        found = await self._store.read(partial(_collectors_of, keys))
        for channel, device in zip(channels, found, strict=True):
            peer = channel.peer
            if device is None:
                channel.outbox.put(messages.NODE_INVALID)
                self._close(channel, WSCloseCode.POLICY_VIOLATION, "the key is in use no more")
            elif device != peer.caller.device:
                peer.caller = Caller(device, peer.caller.node_key)
                self._config_due[peer] = None

    async def _push_days(self) -> None:
        """Tell of other days: another one has begun, or another zone will come."""
        days = await self._greeting.days()
        if days is not self._days:
            self._days = days
            for channel in list(self._by_device.values()):
                for message in await self._greeting.greet(channel.peer):
                    channel.outbox.put(message)

    def _push_configs(self) -> None:
        if self._store.in_force is not self._in_force:
            self._in_force = self._store.in_force
            peers = [channel.peer for channel in self._by_device.values()]
            self._config_due |= dict.fromkeys(peers)
            self.postures.doubt([*peers, *self._pollers.values()])
        size = 0
        while self._config_due and size < CONFIG_BYTES_A_LOOK:
            peer = next(iter(self._config_due))
            del self._config_due[peer]
            if peer.hello is not None and peer.outbox is not None:
                for message in self._greeting.config(peer):
                    peer.outbox.put(message)
                    size += len(message)

    async def _push_postures(self) -> None:
        changed = await self.postures.changed()
        if changed is None:
            self.postures.doubt([*(channel.peer for channel in self._by_device.values()), *self._pollers.values()])
        else:
            self.postures.doubt(peer for number in changed for peer in self._peers_of(number))
        for peer, message in await self.postures.due():
            if peer.outbox is not None:
                peer.outbox.put(message)
        if self.postures.more:
            self.wake()

    def _peers_of(self, number: int) -> list[Peer]:
        found = [self._pollers[number]] if number in self._pollers else []
        return [*found, self._by_device[number].peer] if number in self._by_device else found


async def _collectors_of(keys: Sequence[str], tx: Transaction) -> list[Device | None]:
    found = await devices_of_keys(tx, keys)
    return [device if device is not None and device.agent == COLLECTOR else None for device in found]


CHANNELS = web.AppKey("channels", Channels)
