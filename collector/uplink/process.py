"""The uplink's process: its components side by side, each started again if it fails, all ended by SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from collector import VERSION
from collector.logs import to_stderr
from collector.settings import Settings, check_server, make_state_dir
from collector.spool import Spool
from collector.turns import Turns
from collector.uplink.backoff import Backoff
from collector.uplink.context import Component, Context, Standing
from collector.uplink.memory import Memory, small_aiohttp
from collector.uplink.network import Network
from collector.uplink.notify import ServiceManager, Watchdog
from collector.uplink.single import AlreadyRunningError, only_one

with small_aiohttp():
    from collector.uplink.enrol import Enrolment
    from collector.uplink.http import Http
    from collector.uplink.sender import Sender

if TYPE_CHECKING:
    from collector.osqueryd import Osquery

EXIT_RUNNING = 1
END_SECONDS = 2.0
"""For components to end once they are told to."""
THREADS = 6
"""For what blocks: osqueryd's socket and the spool."""
RESTART_SECONDS = 60.0
"""The most a component that failed waits before it is started again."""

log = logging.getLogger("uplink")


def components(context: Context) -> list[Component]:
    """Everything the uplink does; parts are imported here, so that the process holds what it runs and no more."""
    from collector.uplink.asked import asked
    from collector.uplink.owner import Deeds, evidence_of, owner_components, policy_of

    policy = policy_of(context)
    evidence = evidence_of(context, policy)
    channel, queue = asked(context, policy, lambda kind: evidence.stir() if kind in ("hello", "config") else None)
    context.network.tell(lambda reason: evidence.stir())
    owner = owner_components(context, policy, Deeds(context, evidence, channel))
    return [context.enrolment, *context.sender.lanes, context.network, channel, queue, evidence, *owner]


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. Raises ``SettingsError``.

    The process ends in here, with all its threads: one that waits for osqueryd must not hold up a shutdown. Whatever
    was accepted is on the disk by then.
    """
    check_server(settings.server, allow_http=settings.allow_http)
    to_stderr(settings.log_level)
    make_state_dir(settings)
    try:
        with only_one(settings.state_dir / "uplink.lock"):
            asyncio.new_event_loop().run_until_complete(_serve(settings))
            logging.shutdown()
            sys.stderr.flush()
            os._exit(0)
    except AlreadyRunningError as error:
        log.error("%s", error)
        return EXIT_RUNNING


def made(settings: Settings) -> Context:
    """What the components share. Raises ``SettingsError``."""
    spool, standing, memory = Spool(settings.spool_path, settings.spool_bytes), Standing(), Memory()
    http = Http(settings)
    enrolment = Enrolment(settings, http, standing, lambda seconds: _osquery(settings.socket, seconds))
    return Context(
        settings=settings,
        spool=spool,
        http=http,
        enrolment=enrolment,
        sender=Sender(spool, http, enrolment, standing, memory.give_back),
        standing=standing,
        turns=Turns(),
        network=Network(),
        memory=memory,
        osquery=lambda seconds: _osquery(settings.socket, seconds),
    )


def _osquery(socket: Path, seconds: float) -> Osquery:
    from collector.osqueryd import Osquery  # thrift takes megabytes, and is needed only when osqueryd is asked

    return Osquery(socket, seconds)


async def _serve(settings: Settings) -> None:
    loop, ended, manager = asyncio.get_running_loop(), asyncio.Event(), ServiceManager()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="blocking"))
    with suppress(NotImplementedError):  # Windows: the process is ended as it is
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
    context = made(settings)
    parts = [*components(context), Watchdog(manager)]
    context.memory.settle()
    log.info("uplink %s to %s, state in %s", VERSION, settings.server, settings.state_dir)
    work = asyncio.create_task(kept_all(parts))
    manager.say("READY=1")
    await ended.wait()
    manager.say("STOPPING=1")
    log.info("uplink ends")
    work.cancel()
    await asyncio.wait([work], timeout=END_SECONDS)
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await context.http.close()


async def kept_all(parts: Sequence[Component]) -> None:
    """Run components side by side, each again if it fails, until they are done or this is cancelled."""
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(_kept(part), name=part.name)


async def _kept(part: Component) -> None:
    """Run a component; again, if it fails."""
    backoff = Backoff(most=RESTART_SECONDS)
    while True:
        since = time.monotonic()
        try:
            return await part.run()
        except Exception:
            if time.monotonic() - since > RESTART_SECONDS:
                backoff.reset()
            wait = backoff.failed()
            log.exception("%s failed and is started again in %.0f s:", part.name, wait)
        await asyncio.sleep(wait)
