"""``muster`` whose server looks every second at what it looks at four times a minute elsewhere; the rest is as it is.

For tests of what a server does by itself, which would only wait.
"""

from __future__ import annotations

from server import worker
from server.cli.main import main
from server.store import devices

if __name__ == "__main__":
    worker.PRESENCE_SECONDS = worker.CANARY_SECONDS = devices.HEARD_SECONDS = 1
    main()
