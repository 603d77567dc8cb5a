"""``python -m tests.bench.bare_logger SOCKET``: a Thrift server that answers a logger's calls and does nothing."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping

from osquery.extensions.ttypes import ExtensionResponse, ExtensionStatus

from tests.support.core import wire


class Nothing:
    """What is called."""

    def call(self, registry: str, item: str, request: Mapping[str, str]) -> ExtensionResponse:
        """Success, whatever it is."""
        return ExtensionResponse(status=ExtensionStatus(code=0, message="OK"), response=[])


if __name__ == "__main__":
    wire.serve(sys.argv[1], Nothing())
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    signal.pause()
