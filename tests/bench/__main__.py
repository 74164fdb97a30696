"""`make bench`: every part in a process of its own, one after the other, on one machine; then bench.json and bench.svg."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson

from streams.process.children import STACK_LINES, spawn
from tests.bench.figures import KEYS, RATES, better_round, note_round, with_ratios
from tests.bench.kafka import shared_broker
from tests.bench.machine import describe, stolen_s, yardstick_us
from tests.bench.picture import draw
from tests.bench.report import as_text
from tests.bench.workload import QUICK, Size, build, save

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PARTS = {
    "react": "decode, fold and encode in one process",
    "pipeline": "one worker on a backlog, then the sink alone",
    "two_workers": "two workers on the same backlog",
    "quixstreams": "the same react under quixstreams",
    "stock_faust": "the same react under stock Faust",
    "ceiling": "the same bytes without any work",
    "latency": "at a steady rate, with 4, 12 and 48 partitions",
    "queryable": "until ClickHouse answers with it",
    "restore": "a worker takes over what it finds",
    "takeover": "one of two workers is killed",
    "flat": "more debtors, more open items",
    "where": "where the time goes",
}
WITHOUT_BROKER = {"react", "restore", "flat"}
"""Parts that need no broker, or start one of their own."""
PART_S = 600.0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--only", metavar="PARTS", help=f"Some parts, with commas between them: {', '.join(PARTS)}.")
@click.option("--quick", is_flag=True, help="Less of everything: a look, not a measurement.")
@click.option("--debtors", type=click.IntRange(20), help="Of the simulated portfolio.", show_default=str(Size().debtors))
@click.option("--days", type=click.IntRange(60), help="Of the simulated portfolio.", show_default=str(Size().days))
@click.option("--ledger", type=click.Path(exists=True, dir_okay=False), help="A CSV (mapping highradius) for react, too.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for logs and data, which stays.")
def main(*, only: str | None, quick: bool, debtors: int | None, days: int | None, ledger: str | None, keep: Path | None) -> None:
    """Measure how fast duewatch is on this machine, next to what others make of the same rules.

    What is compared is measured in three rounds: rates are those of the best, ratios those of the middle one.

    A whole run writes tests/bench/bench.json and bench.svg; with --only or --quick they go to .cache/bench.

    \b
    Examples:
      make bench
      make bench ARGS="--only react,pipeline"
    """
    names = _chosen_parts(only)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty: what an earlier run left there would be taken for this one's")
    size = QUICK if quick else Size()
    size = replace(
        size, debtors=debtors or size.debtors, days=days or size.days, ledger=str(Path(ledger).absolute()) if ledger else ""
    )
    is_whole = not quick and names == list(PARTS)
    target = HERE if is_whole else ROOT / ".cache" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    began, stolen_before = time.perf_counter(), stolen_s()
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="duewatch-bench-") as temporary:
        folder = keep.absolute() if keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        click.echo(f"{machine}\nsimulating {size.debtors} debtors, {size.days} days", err=True)
        save(build(size), size, folder)
        with ExitStack() as stack:
            if set(names) - WITHOUT_BROKER:
                click.echo(f"starting Kafka, {size.warm_up_s:g} s of warm-up", err=True)
                stack.enter_context(shared_broker(folder, size.warm_up_s))
            figures_by_part, why = _measure(in_order(names, size.rounds), folder)
    took = time.perf_counter() - began
    figures_by_part |= {"machine": machine, "minutes": round(took / 60, 1)}
    figures_by_part |= {"stolen_percent": round(100 * (stolen_s() - stolen_before) / took / (os.cpu_count() or 1), 1)}
    if why:
        figures_by_part["why"] = why
    figures = with_ratios(figures_by_part)
    (target / "bench.json").write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
    (target / "bench.svg").write_text(draw(figures))
    click.echo(as_text(figures))
    click.echo(f"written: {target / 'bench.json'}, {target / 'bench.svg'}", err=True)
    sys.exit(1 if why else 0)


def _chosen_parts(only: str | None) -> list[str]:
    names = [name.strip() for name in only.split(",")] if only else list(PARTS)
    for name in names:
        if name not in PARTS:
            raise click.BadParameter(f"{name!r} is no part: choose of {', '.join(PARTS)}")
    return names


def _measure(order: list[tuple[int, str]], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What the parts measured, and why some did not."""
    by_part: dict[str, dict[str, Any]] = {}
    why: dict[str, str] = {}
    rounds: dict[int, dict[str, Any]] = {}
    speeds: list[float] = []
    for number, (turn, name) in enumerate(order, 1):
        click.echo(f"[{number}/{len(order)}] {name}: {PARTS[name]} ... ", err=True, nl=False)
        speeds.append(yardstick_us())
        began = time.perf_counter()
        try:
            figures = _run(name, folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            why[f"{name} in round {turn}" if name in RATES else name] = str(error)
            outcome = f"not measured: {str(error).strip().splitlines()[-1][:200]}"
        else:
            by_part[name] = better_round(name, by_part.get(name), figures)
            if name in RATES:
                note_round(rounds, turn, name, figures, speeds[-1])
            outcome = ", ".join(f"{key} {figures[key]:,}" for key in KEYS if figures.get(key) is not None)
        click.echo(f"{time.perf_counter() - began:.0f} s, yardstick {speeds[-1]} us. {outcome}", err=True)
    figures_of_run = {key: value for part in by_part.values() for key, value in part.items()}
    figures_of_run |= {"rounds": list(rounds.values()), "yardstick_us": min(speeds), "yardstick_slowest_us": max(speeds)}
    return figures_of_run, why


def in_order(names: list[str], rounds: int) -> list[tuple[int, str]]:
    """The order of measurement, each part with the number of its round: those that are compared in turns, then the others.

    >>> in_order(["react", "pipeline", "flat"], 2)
    [(1, 'react'), (1, 'pipeline'), (2, 'react'), (2, 'pipeline'), (1, 'flat')]
    """
    compared = [name for name in names if name in RATES]
    single = [(1, name) for name in names if name not in RATES]
    return [(turn, name) for turn in range(1, rounds + 1) for name in compared] + single


def _run(name: str, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own. Raises RuntimeError with the end of its log when it failed."""
    log = folder / f"{name}.log"
    argv = [sys.executable, "-W", "ignore", "-m", "tests.bench.part", name, os.fspath(folder)]
    with spawn(argv, log_path=log, name=f"the part {name}") as child:
        try:
            child.wait(PART_S)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not done after {PART_S:g} s. Its log ends:\n{child.log_tail()}") from None
    if child.returncode:
        raise RuntimeError(child.log_tail(STACK_LINES) or f"ended with status {child.returncode}")
    figures: dict[str, Any] = orjson.loads((folder / f"{name}.json").read_bytes())
    return figures


if __name__ == "__main__":
    main()
