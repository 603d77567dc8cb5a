"""Run the stand-in with osqueryd's flags."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.support.core.control import Control
from tests.support.core.daemon import Daemon
from tests.support.core.flags import Flags


def main() -> None:
    # Before any thread begins, so that only the main one gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    flags = Flags.parse(sys.argv[1:])
    daemon = Daemon(flags)
    if "control" in flags.given:
        Path(flags.given["control"]).unlink(missing_ok=True)
        Control(daemon, flags.given["control"]).start()
    daemon.start()
    daemon.wait()


if __name__ == "__main__":
    main()
