"""The privacy–utility picture: each release at its linkage above chance and its utility."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from attrs import frozen
from markupsafe import Markup

from privagams.report.pictures import BARE, INK, LINE, PROTECTED, QUIET

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 462, 20, 270
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="13" fill="{}">{}</text>')
_LINE = Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{}"/>')
_DISC = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="7" fill="{}" stroke="{}" stroke-width="2.4"/>')
_SIGN = Markup('<text x="{:.1f}" y="{:.1f}" font-size="15" font-weight="700" fill="{}">{}</text>')
_TITLE = Markup('<text x="{}" y="{}" text-anchor="middle" font-size="14" fill="{}"{}>{}</text>')


@frozen
class Point:
    """A release, each axis with its interval; yardsticks are hollow."""

    letter: str
    hollow: bool
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


@frozen
class _Frame:
    """Where figures lie in the picture; the upward axis turns over where lower is better."""

    left: float
    low: float
    high: float
    better: Literal["higher", "lower"]

    def x(self, value: float) -> float:
        share = (min(max(value, self.left), 1.0) - self.left) / (1.0 - self.left)
        return _LEFT + (_RIGHT - _LEFT) * share

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _TOP + (_BOTTOM - _TOP) * (1 - share if self.better == "higher" else share)


def scatter(
    points: Sequence[Point], x_title: str, y_title: str, better: Literal["higher", "lower"]
) -> Markup:
    """Linkage above chance (0 guessing, 1 certain) against utility. Better is up and left."""
    frame = _frame(points, better)
    words = "Privacy and utility of each release; the same figures stand in the tables."
    parts = [Markup('<svg class="picture" viewBox="0 0 480 330" role="img" aria-label="{}">').format(words)]
    parts += _axes(frame, x_title, y_title)
    taken: list[tuple[float, float]] = []
    for point in points:
        parts += _whiskers(point, frame)
    for point in points:
        parts += _marker(point, frame, taken)
    return Markup("").join([*parts, Markup("</svg>")])


def _frame(points: Sequence[Point], better: Literal["higher", "lower"]) -> _Frame:
    low, high = min(p.y_low for p in points), max(p.y_high for p in points)
    low, high = (0.0, 1.0) if 0 <= low <= high <= 1 and better == "higher" else (min(0.0, low), high * 1.08)
    left = min(0.0, *(max(p.x_low, -0.4) for p in points)) - 0.04
    return _Frame(left, low, high if high > low else low + 1.0, better)


def _axes(frame: _Frame, x_title: str, y_title: str) -> list[Markup]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        level = frame.low + tick * (frame.high - frame.low)
        x, y = frame.x(tick), frame.y(level)
        parts.append(_LINE.format(x, _TOP, x, _BOTTOM, LINE, 1))
        parts.append(_LINE.format(_LEFT, y, _RIGHT, y, LINE, 1))
        parts.append(_TEXT.format(x, _BOTTOM + 18, "middle", QUIET, f"{tick:g}"))
        parts.append(_TEXT.format(_LEFT - 6, y + 4.5, "end", QUIET, f"{level:.3g}"))
    parts.append(_TITLE.format((_LEFT + _RIGHT) / 2, 318, INK, "", x_title))
    turn = Markup(' transform="rotate(-90 14 145)"')
    return [*parts, _TITLE.format(14, 145, INK, turn, y_title)]


def _whiskers(point: Point, frame: _Frame) -> list[Markup]:
    x, y, colour = frame.x(point.x), frame.y(point.y), BARE if point.hollow else PROTECTED
    return [
        _LINE.format(frame.x(point.x_low), y, frame.x(point.x_high), y, colour, 1.6),
        _LINE.format(x, frame.y(point.y_low), x, frame.y(point.y_high), colour, 1.6),
    ]


def _marker(point: Point, frame: _Frame, taken: list[tuple[float, float]]) -> list[Markup]:
    """Draw the disc, and its letter where no earlier letter stands."""
    x, y, colour = frame.x(point.x), frame.y(point.y), BARE if point.hollow else PROTECTED
    across, up = (x + 11 if x < 440 else x - 21), y - 10
    while any(abs(across - a) < 16 and abs(up - b) < 15 for a, b in taken):
        up -= 15
    taken.append((across, up))
    disc = _DISC.format(x, y, "#fff" if point.hollow else colour, colour)
    return [disc, _SIGN.format(across, up, colour, point.letter)]
