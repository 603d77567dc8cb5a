"""Run the stand-in with osqueryd's flags."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.support.core.control import Control
from tests.support.core.daemon import Daemon
from tests.support.core.flags import Flags


def main() -> None:
    flags = Flags.parse(sys.argv[1:])
    daemon = Daemon(flags)
    # Not blocked and waited for: its extensions would inherit that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.end(0))
    if "control" in flags.given:
        Path(flags.given["control"]).unlink(missing_ok=True)
        Control(daemon, flags.given["control"]).start()
    daemon.start()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
