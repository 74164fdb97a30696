"""A progress bar on a terminal; elsewhere nothing is shown."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._unit}/s" if speed else "")


class Bar:
    """A progress bar: ``advance`` counts units, ``say`` sets the text beside it."""

    def __init__(self, title: str, total: int, unit: str = "events", console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._shown = console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            _Rate(unit),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._shown,
        )
        self._task = self._progress.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._progress.stop()

    def advance(self, done: int) -> None:
        self._progress.advance(self._task, done)

    def say(self, note: str) -> None:
        self._progress.update(self._task, note=note)

    def notice(self, line: str) -> None:
        """Print a line above the bar that stays, also where there is no terminal."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


def progress_bar(title: str, total: int, unit: str = "events") -> Bar:
    return Bar(title, total, unit)
