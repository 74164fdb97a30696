"""Play histories by their seeds: `python -m tests.simulation [--seeds N] [--seed S [--steps 0,3,7]] [--mutant NAME]`."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext

import click

from streams.terminal.progress import Bar
from tests.simulation.mutants import MUTANTS
from tests.simulation.script import Scenario, failure_report, play, scenario, shrink


def first_failure(seeds: range, mutant: str | None = None) -> tuple[Scenario, str] | None:
    """The first seed that fails, shrunk, and what to tell of it; None when none does."""
    for seed in seeds:
        case = scenario(seed)
        if fails(case, mutant):
            short = shrink(case, lambda candidate: fails(candidate, mutant))
            with broken_by(mutant):
                return short, failure_report(short, *play(short))
    return None


def broken_by(mutant: str | None) -> AbstractContextManager[object]:
    context: AbstractContextManager[object] = MUTANTS[mutant]() if mutant else nullcontext()
    return context


def fails(case: Scenario, mutant: str | None = None) -> bool:
    with broken_by(mutant):
        return bool(play(case)[1])


@click.command()
@click.option("--seeds", default=1_000, show_default=True, help="how many histories to play")
@click.option("--start", default=0, show_default=True, help="the first seed")
@click.option("--seed", type=int, help="play this one alone, and show what happened")
@click.option("--steps", help="of that seed's script only these steps, as a failure names them: 0,3,7")
@click.option("--mutant", type=click.Choice(sorted(MUTANTS)), help="with the engine broken in this way")
def main(seeds: int, start: int, seed: int | None, steps: str | None, mutant: str | None) -> None:
    """Play histories of the engine against a simulated broker; a seed that fails is shrunk and told."""
    if seed is not None:
        case = scenario(seed)
        if steps is not None:
            case = case.with_only([int(number) for number in steps.split(",") if number])
        with broken_by(mutant):
            world, wrong = play(case)
        print(failure_report(case, world, wrong) if wrong else "\n".join([*world.history, f"seed {seed}: all holds"]))
        sys.exit(bool(wrong))
    began = time.perf_counter()
    with Bar("histories", seeds, "histories") as bar:
        for number in range(start, start + seeds):
            failed = first_failure(range(number, number + 1), mutant)
            if failed is not None:
                print(failed[1])
                sys.exit(1)
            bar.advance(1)
    print(f"{seeds} histories in {time.perf_counter() - began:.1f} s: all holds")


if __name__ == "__main__":
    main()
