"""The command ``muster-collector``."""

from __future__ import annotations

import argparse
from importlib.metadata import version


def main() -> None:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(
        prog="muster-collector",
        description="The device side of Muster. It has no function yet: until it does, point osqueryd's own TLS plugins"
        " at 'muster serve', as the README shows.",
    )
    parser.add_argument("--version", action="version", version=f"muster-collector {version('muster-posture')}")
    parser.parse_args()
    parser.print_help()


if __name__ == "__main__":
    main()
