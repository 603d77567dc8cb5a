"""What by which the server reaches the device, put together."""

from __future__ import annotations

from collections.abc import Callable

from collector.live.queue import LiveQueue
from collector.policy import Policy
from collector.policy.questions import QuestionCheck
from collector.spool import LIVE
from collector.uplink.channel import Channel
from collector.uplink.context import Context
from collector.uplink.hello import Hello
from collector.uplink.messages import Messages


def asked(
    context: Context, policy: Policy, changed: Callable[[str], None] = lambda kind: None
) -> tuple[Channel, LiveQueue]:
    """The components: the channel, and the questions that come by it.

    ``changed`` is called with the kind of a message of the server's that was kept: hello, config or posture.
    """
    queue = LiveQueue(
        context.spool,
        context.osquery,
        QuestionCheck(policy, context.spool),
        context.turns,
        lambda: context.sender.wake(LIVE),
    )
    hello = Hello(context.spool, context.osquery, queue.unanswered, policy.describe)
    return Channel(context, hello, Messages(context.spool, queue, changed), context.network), queue
