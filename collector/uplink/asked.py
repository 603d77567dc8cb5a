"""Everything by which the server reaches the device, put together."""

from __future__ import annotations

from collector.live.queue import LiveQueue
from collector.policy.questions import QuestionCheck
from collector.spool import LIVE
from collector.uplink.channel import Channel
from collector.uplink.context import Component, Context
from collector.uplink.hello import Hello
from collector.uplink.messages import Messages


def asked(context: Context) -> list[Component]:
    """The components: the watch of the network, the channel, and the questions that come by it."""
    queue = LiveQueue(
        context.spool,
        context.osquery,
        QuestionCheck(context.policy, context.spool),
        context.turns,
        lambda: context.sender.wake(LIVE),
    )
    hello = Hello(context.spool, context.osquery, queue.unanswered, context.policy.describe)
    channel = Channel(context, hello, Messages(context.spool, queue), context.network)
    return [context.network, channel, queue]
