"""Pictures as inline SVG: no script, no network, colours from the page's style sheet, marks with their numbers as tooltips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import ceil, floor, log10

from markupsafe import Markup, escape

MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 62, 22, 10, 40
"""Margins for the words of the axes, in units of the view box."""
WIDTH = 460
"""The width of a picture that takes half of a wide page."""
SWIPE_HINT = "Scroll sideways to see the rest →"
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together. ``style`` is a class of the style sheet: ``s0`` is our own score, ``s1`` ... are others."""

    name: str
    style: str
    points: Sequence[Point]


@dataclass(slots=True)
class Plot:
    """Axes and what is drawn between them; ``x`` and ``y`` are the ranges that are shown."""

    x: Point
    y: Point
    about: str
    """The text for screen readers."""
    width: int = WIDTH
    height: int = 300
    left: int = MARGIN_LEFT
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """The place of a value in the view box; what lies outside the ranges is drawn at the edge."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = min(max((x - x0) / ((x1 - x0) or 1.0), 0.0), 1.0)
        up = min(max((y - y0) / ((y1 - y0) or 1.0), 0.0), 1.0)
        return (
            round(self.left + across * (self.width - self.left - MARGIN_RIGHT), 1),
            round(self.height - MARGIN_BOTTOM - up * (self.height - MARGIN_TOP - MARGIN_BOTTOM), 1),
        )

    def axes(
        self, x_name: str, y_name: str, x_ticks: Iterable[tuple[float, str]] = (), y_ticks: Iterable[tuple[float, str]] = ()
    ) -> None:
        """Draw a light grid, the words of the ticks, and the names of the axes."""
        for value, text in y_ticks or number_ticks(self.y):
            left, right = self.at(self.x[0], value), self.at(self.x[1], value)
            self.parts.append(f'<path class="grid" d="M{left[0]} {left[1]}H{right[0]}"/>')
            self.words(left[0] - 6, left[1] + 4, text, "end")
        floor_ = self.height - MARGIN_BOTTOM
        for value, text in x_ticks or number_ticks(self.x):
            across = self.at(value, self.y[0])[0]
            self.parts.append(f'<path class="axis" d="M{across} {floor_}v4"/>')
            self.words(across, floor_ + 17, text, "middle")
        self.parts.append(f'<path class="axis" d="M{self.left} {floor_}H{self.width - MARGIN_RIGHT}"/>')
        self.words((self.left + self.width - MARGIN_RIGHT) / 2, self.height - 5, x_name, "middle", "name")
        middle = (MARGIN_TOP + floor_) / 2
        self.parts.append(
            f'<text class="name" text-anchor="middle" transform="translate(11 {middle}) rotate(-90)">{escape(y_name)}</text>'
        )

    def words(self, x: float, y: float, text: str, anchor: str = "start", style: str = "") -> None:
        """Draw a text at a place of the view box."""
        self.parts.append(f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def line(self, points: Sequence[Point], style: str, title: str = "") -> None:
        if points:
            path = "L".join(f"{a} {b}" for a, b in (self.at(*point) for point in points))
            self.parts.append(f'<path class="line {style}" d="M{path}">{_title(title)}</path>')

    def steps(self, points: Sequence[Point], style: str, title: str = "") -> None:
        """Draw a line that changes at a point and holds until the next."""
        if points:
            path = "M{} {}".format(*self.at(*points[0]))
            path += "".join("H{}V{}".format(*self.at(*point)) for point in points[1:])
            self.parts.append(f'<path class="line {style}" d="{path}">{_title(title)}</path>')

    def dot(self, x: float, y: float, style: str, title: str = "", radius: float = 4.0) -> None:
        across, up = self.at(x, y)
        self.parts.append(f'<circle class="dot {style}" cx="{across}" cy="{up}" r="{radius}">{_title(title)}</circle>')

    def reach(self, a: Point, b: Point, style: str) -> None:
        """Draw an interval from one value to another."""
        (x0, y0), (x1, y1) = self.at(*a), self.at(*b)
        self.parts.append(f'<path class="reach {style}" d="M{x0} {y0}L{x1} {y1}"/>')

    def bar(self, x0: float, x1: float, y: float, style: str, title: str = "", base: float | None = None) -> None:
        (left, top), (right, bottom) = self.at(x0, y), self.at(x1, self.y[0] if base is None else base)
        top, bottom = min(top, bottom), max(top, bottom)
        self.parts.append(
            f'<rect class="bar {style}" x="{left}" y="{top}" width="{max(round(right - left - 1, 1), 0.5)}" '
            f'height="{round(bottom - top, 1)}">{_title(title)}</rect>'
        )

    def rule(self, *, x: float | None = None, y: float | None = None, style: str = "hint") -> None:
        """Draw a line across the whole picture, to mark a value."""
        a = self.at(self.x[0] if x is None else x, self.y[0] if y is None else y)
        b = self.at(self.x[1] if x is None else x, self.y[1] if y is None else y)
        self.parts.append(f'<path class="{style}" d="M{a[0]} {a[1]}L{b[0]} {b[1]}"/>')

    def svg(self) -> Markup:
        head = f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.about)}">'
        picture = head + "".join(self.parts) + "</svg>"
        if self.width > WIDTH:  # on a phone its words would shrink to nothing: there it keeps its size and is scrolled
            picture = f'<p class="swipe" aria-hidden="true">{SWIPE_HINT}</p><div class="scroll far" tabindex="0">{picture}</div>'
        return Markup(picture)  # noqa: S704 - made above, with every word escaped


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def legend(series: Sequence[Series]) -> Markup:
    """The legend above a picture: which line is which."""
    items = "".join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class="line {s.style}" d="M1 4H23"/></svg>{escape(s.name)}</li>'
        for s in series
    )
    return Markup(f'<ul class="key">{items}</ul>')  # noqa: S704 - made above, with every word escaped


def number_ticks(span: Point, max_ticks: int = 6) -> list[tuple[float, str]]:
    """Ticks at round numbers within a range: (value, text).

    >>> [text for _, text in number_ticks((0.0, 1.0))]
    ['0', '0.2', '0.4', '0.6', '0.8', '1']
    """
    low, high = span
    size = (high - low) / max_ticks or 1.0
    power = 10.0 ** floor(log10(size))
    step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= size * 0.999)
    first = ceil(low / step - 1e-9)
    ticks = []
    while first * step <= high + step * 1e-6:
        value = first * step
        ticks.append((value, f"{value:,.10g}" if abs(value) >= 1e-12 else "0"))
        first += 1
    return ticks


def date_ticks(first: int, last: int, max_ticks: int = 6) -> list[tuple[float, str]]:
    """Ticks at the starts of months (or quarters, or years) between two days, given as ordinals."""
    start, end = date.fromordinal(max(first, 1)), date.fromordinal(max(last, 1))
    months = (end.year - start.year) * 12 + end.month - start.month + 1
    every = next((n for n in (1, 2, 3, 6, 12, 24, 60) if months / n <= max_ticks), 120)
    ticks = []
    for month in range(start.year * 12 + start.month - 1, end.year * 12 + end.month):
        day = date(month // 12, month % 12 + 1, 1)
        if month % every == 0 and first <= day.toordinal() <= last:
            ticks.append((float(day.toordinal()), f"{day:%Y}" if every >= 12 else f"{day:%b %y}"))
    return ticks


def range_of(values: Iterable[float], *, margin: float = 0.06, low: float | None = None, high: float | None = None) -> Point:
    """The range of the values with a margin, but never below ``low`` or above ``high``."""
    finite = [value for value in values if value == value]  # noqa: PLR0124 - NaN differs from itself
    if not finite:
        return 0.0, 1.0
    smallest, largest = min(finite), max(finite)
    room = (largest - smallest or abs(largest) or 1.0) * margin
    smallest, largest = smallest - room, largest + room
    return (smallest if low is None else max(smallest, low)), (largest if high is None else min(largest, high))
