"""``muster simulate``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from server.cli.options import json_option, packs_option, print_json, run
from server.simulate.fleet import Progress as Told
from server.simulate.fleet import span_of
from server.simulate.options import FleetOptions
from server.simulate.processes import Outcome
from server.simulate.processes import simulate as simulate_fleet
from server.simulate.truth import Expected

PHASES = {"enrol": "Devices enrol", "history": "History arrives"}


@click.command()
@click.option("--devices", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="How many.")
@click.option("--server", required=True, metavar="URL", help="The server's address, without a path.")
@click.option("--secret", required=True, envvar="MUSTER_ENROLL_SECRET", show_envvar=True, help="An enrol secret.")
@click.option("--days", default=0, show_default=True, type=click.IntRange(0, 3650),
              help="Days of history that arrive as a backlog first.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="The same seed is the same fleet.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.001, 100_000),
              help="Divides the intervals of the schedule while the fleet lives.")  # fmt: skip
@click.option("--duration", type=click.FloatRange(0), metavar="SECONDS",
              help="How long the fleet lives after its history.  [default: until interrupted]")  # fmt: skip
@click.option(
    "--truth", metavar="FILE", help="Write the expected verdicts, one JSON object a line; - is standard output."
)
@click.option("--never-sleep", is_flag=True, help="Laptops stay awake at night and at weekends.")
@click.option("--connection-per-request", is_flag=True, help="As osqueryd does; without it connections are reused.")
@packs_option
@json_option
def simulate(
    devices: int, server: str, secret: str, days: int, seed: int, speed: float, duration: float | None,
    truth: str | None, never_sleep: bool, connection_per_request: bool, packs: Path, as_json: bool,
) -> None:  # fmt: skip
    """Let a fleet of made-up devices speak osquery's TLS API to a server, and measure how it answers.

    The devices answer the queries they are served with real SQL over made-up facts. The server's certificate is not
    checked: this is for tests, never for secrets that matter.
    """
    now = time.time()
    options = FleetOptions(
        url=server, secret=secret, span=span_of(days, now), seed=seed, count=devices, history=days > 0, horizon=now,
        speed=speed, never_sleep=never_sleep, each_connection=connection_per_request,
    )  # fmt: skip
    with ProgressBars() as told:
        outcome = run(simulate_fleet(options, packs, duration, truth=truth is not None, progress=told))
    if truth:
        write_truth(truth, outcome.truth)
    _report(outcome, as_json, to_stderr=truth == "-")


def write_truth(target: str, entries: Sequence[Expected]) -> None:
    """Write expected verdicts, one JSON object a line."""
    lines = b"".join(orjson.dumps(entry.as_dict()) + b"\n" for entry in entries)
    if target == "-":
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    else:
        Path(target).write_bytes(lines)


class ProgressBars:
    """A bar for every phase on a terminal's standard error, nothing in a pipe; entering gives the function to tell."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(console=console, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Told:
        self._progress.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _tell(self, phase: str, done: int, of: int) -> None:
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(PHASES.get(phase, phase), total=of)
        self._progress.update(self._tasks[phase], completed=done, total=of)


def _report(outcome: Outcome, as_json: bool, *, to_stderr: bool) -> None:
    summary = outcome.measure.summary(outcome.seconds)
    if as_json and not to_stderr:
        print_json(summary)
        return
    for line in report_lines(summary):
        click.echo(line, err=to_stderr)


def report_lines(summary: Mapping[str, Any]) -> list[str]:
    """The figures as text."""
    lines = [
        f"{summary['requests']} requests in {summary['seconds']} s: {summary['requests_per_second']} a second",
        f"{summary['lines']} log lines: {summary['lines_per_second']} a second, {summary['lines_repeated']} repeated",
        f"{summary['sent_bytes']} bytes sent, {summary['received_bytes']} received",
        f"errors: {', '.join(f'{name} {count}' for name, count in summary['errors'].items()) or 'none'}",
    ]
    for endpoint, found in summary["latency_ms"].items():
        times = "   ".join(f"{name} {found[name]} ms" for name in ("p50", "p95", "p99"))
        lines.append(f"{endpoint:18} {found['count']:8} requests   {times}")
    return lines
