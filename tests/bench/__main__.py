"""``python -m tests.bench``: run benchmarks, print a JSON object a line, and write ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import sys

import orjson

from tests.bench import document
from tests.bench.places import KINDS
from tests.bench.registry import BENCHES
from tests.bench.scale import Scale


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for."""
    options = _options().parse_args(arguments)
    scale = Scale(options.scale, options.rounds, options.full)
    kinds = KINDS if options.database == "both" else (options.database,)
    chosen = [
        bench for bench in BENCHES if (bench.name in options.names if options.names else bench.load == options.load)
    ]
    results = []
    for bench in chosen:
        for kind in (kind for kind in kinds if kind in bench.databases):
            sys.stderr.write(f"{bench.name} on {kind} …\n")
            load = document.load_average()
            lines = []
            for line in bench.measure(kind, scale):
                lines.append(line)
                sys.stdout.write(orjson.dumps(line.as_dict()).decode() + "\n")
                sys.stdout.flush()
            results.append(document.record(bench.name, scale, kind, lines, load))
    if scale.share == 1.0:
        document.write(results)
    else:
        sys.stderr.write("docs/benchmarks.md stays as it is: it has figures at the default scale only.\n")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition(": ")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(b.name for b in BENCHES)}")
    parser.add_argument("--database", choices=(*KINDS, "both"), default="both")
    parser.add_argument("--load", action="store_true", help="run what takes minutes: the simulated fleet")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of value and limit")
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the default amounts, to try the harness")
    parser.add_argument("--full", action="store_true", help="DESIGN's own amounts where they take long: hours")
    return parser


if __name__ == "__main__":
    main()
