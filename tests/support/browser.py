"""Installing the browser that the browser tests drive, where that is possible, and saying so where it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

CANDIDATES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in CANDIDATES if (path := shutil.which(name))), None)


def main() -> None:
    """Install Chromium with apt as root; elsewhere say what is left out."""
    if find():
        return
    if os.environ.get("MUSTER_NO_BROWSER"):
        print("MUSTER_NO_BROWSER is set and there is no Chromium: the browser tests are left out.")
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("installing Chromium for the browser tests", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (("update", "-qq"), ("install", "-qq", "-y", "--no-install-recommends", "chromium")):
            subprocess.run(["apt-get", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
        return
    sys.exit(
        "The browser tests need Chromium, and it can be installed by itself only by root on Debian.\n"
        "Install it, or set MUSTER_NO_BROWSER=1 to leave those tests out."
    )


if __name__ == "__main__":
    main()
