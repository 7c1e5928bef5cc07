"""The curves of a sweep: what linkage each mechanism lets through against the use that is left."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from attrs import define, field, frozen
from markupsafe import Markup

from privagams.report.pictures import INK, LINE, QUIET

_WIDTH, _HEIGHT = 720, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 704, 58, 414
_FONT = "'Source Sans 3', 'Segoe UI', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
_SIZE = 12
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="{}" fill="{}">{}</text>')
_LABEL = Markup(
    '<text x="{:.1f}" y="{:.1f}" font-size="{}" fill="{}" stroke="#fff" stroke-width="3" stroke-linejoin="round" '
    'paint-order="stroke">{}</text>'
)
_LINE = Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{}"{}/>')
_CURVE = Markup(
    '<polyline points="{}" fill="none" stroke="{}" stroke-width="2.2" stroke-dasharray="{}" '
    'stroke-linejoin="round"/>'
)
_MARK = Markup('<path d="{}" fill="{}" stroke="#fff" stroke-width="1.2"/>')
_SIDE = Markup(
    '<text x="16" y="{0}" text-anchor="middle" font-size="14" fill="{1}" transform="rotate(-90 16 {0})">{2}</text>'
)

_LOOKS = (
    ("#00577f", "", "disc"), ("#b3470a", "7 4", "square"), ("#00795a", "2 3", "diamond"),
    ("#8a3f77", "10 3 2 3", "triangle"), ("#1d2935", "4 2", "cross"), ("#8a6d00", "1 4", "star"),
)  # fmt: skip
"""Colour, dashes and marker of each curve: any one of the three tells curves apart (after Okabe and Ito 2008)."""

_CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)],
    "diamond": [(0, -6.2), (6.2, 0), (0, 6.2), (-6.2, 0)],
    "triangle": [(0, -6), (5.6, 4.4), (-5.6, 4.4)],
    "cross": [(-2, -6), (2, -6), (2, -2), (6, -2), (6, 2), (2, 2), (2, 6), (-2, 6), (-2, 2), (-6, 2), (-6, -2),
              (-2, -2)],
    "star": [(0, -7), (2, -2), (7, 0), (2, 2), (0, 7), (-2, 2), (-7, 0), (-2, -2)],
}  # fmt: skip
"""Each marker's outline about its point, px."""


@frozen
class UsePoint:
    """One release of a sweep, each axis with its interval."""

    mechanism: str
    """Which curve it is on."""
    label: str
    """What is written at it, such as its total ε."""
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


@frozen
class _Frame:
    left: float
    right: float
    low: float
    high: float
    turned: bool
    """Whether lower figures are drawn higher, being better."""

    def x(self, value: float) -> float:
        share = (min(max(value, self.left), self.right) - self.left) / (self.right - self.left)
        return _LEFT + (_RIGHT - _LEFT) * share

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _BOTTOM - (_BOTTOM - _TOP) * (1 - share if self.turned else share)


@define
class _Taken:
    """Boxes (left, top, right, bottom) in which something stands already."""

    boxes: list[tuple[float, float, float, float]] = field(factory=list)

    def overlap(self, box: tuple[float, float, float, float]) -> float:
        beyond = max(0.0, _LEFT - box[0]) + max(0.0, box[2] - _WIDTH) + max(0.0, box[3] - _BOTTOM)
        wide = (max(0.0, min(box[2], b[2]) - max(box[0], b[0])) for b in self.boxes)
        high = (max(0.0, min(box[3], b[3]) - max(box[1], b[1])) for b in self.boxes)
        return sum(w * h for w, h in zip(wide, high, strict=True)) + 100 * beyond


def curves_of_use(
    points: Sequence[UsePoint],
    x_title: str,
    y_title: str,
    better: Literal["higher", "lower"] = "higher",
    chance: tuple[float | None, float | None] = (None, None),
) -> Markup:
    """One curve for each mechanism, in order of `x`; use is upwards, linkage to the right: best is up and left.

    `better`: which way the figures of use are good; `chance`: what guessing gives on each axis, dashed. Nothing for
    no points; all figures must be finite.
    """
    if not points:
        return Markup("")
    bad = [p.label for p in points if not all(map(math.isfinite, _numbers(p)))]
    if bad:
        raise ValueError(
            f"curves_of_use: expected finite figures, found others at {', '.join(bad)}; leave them out"
        )
    frame = _frame(points, better, chance)
    curves: dict[str, list[UsePoint]] = {}
    for point in points:
        curves.setdefault(point.mechanism, []).append(point)
    looks = {name: _LOOKS[i % len(_LOOKS)] for i, name in enumerate(curves)}
    names = ", ".join(curves)
    words = (
        f"{y_title} against {x_title}, one curve for each of {names}; the same figures stand in the tables."
    )
    parts = [
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="picture" viewBox="0 0 {} {}" role="img" '
            'font-family="{}" aria-label="{}">'
        ).format(_WIDTH, _HEIGHT, _FONT, words)
    ]
    parts += [*_axes(frame, x_title, y_title), *_guessing(frame, chance), *_legend(looks)]
    for name, mine in curves.items():
        parts += _drawn(sorted(mine, key=_order), looks[name], frame)
    parts += _labels(curves, looks, frame)
    return Markup("").join([*parts, Markup("</svg>")])


def _order(point: UsePoint) -> tuple[float, float]:
    return point.x, point.y


def _numbers(point: UsePoint) -> tuple[float, ...]:
    return point.x, point.x_low, point.x_high, point.y, point.y_low, point.y_high


def _frame(
    points: Sequence[UsePoint], better: Literal["higher", "lower"], chance: tuple[float | None, float | None]
) -> _Frame:
    across = [v for p in points for v in (p.x_low, p.x_high)] + [v for v in chance[:1] if v is not None]
    up = [v for p in points for v in (p.y_low, p.y_high)] + [v for v in chance[1:] if v is not None]
    left, right = (0.0, 1.0) if min(across) >= 0 and max(across) <= 1 else (min(across), max(across))
    room = 0.04 * (max(up) - min(up)) or 0.5
    return _Frame(
        left, right if right > left else left + 1.0, min(up) - room, max(up) + room, better == "lower"
    )


def _axes(frame: _Frame, x_title: str, y_title: str) -> Iterator[Markup]:
    for value in _ticks(frame.left, frame.right):
        yield _LINE.format(frame.x(value), _TOP, frame.x(value), _BOTTOM, LINE, 1, "")
        yield _TEXT.format(frame.x(value), _BOTTOM + 18, "middle", _SIZE, QUIET, f"{value:g}")
    for value in _ticks(frame.low, frame.high):
        yield _LINE.format(_LEFT, frame.y(value), _RIGHT, frame.y(value), LINE, 1, "")
        yield _TEXT.format(_LEFT - 7, frame.y(value) + 4.5, "end", _SIZE, QUIET, f"{value:g}")
    yield _TEXT.format((_LEFT + _RIGHT) / 2, _HEIGHT - 12, "middle", 14, INK, x_title)
    yield _SIDE.format((_TOP + _BOTTOM) / 2, INK, y_title)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eleven round numbers between the two."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * m for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
    return [
        round(i * step, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _guessing(frame: _Frame, chance: tuple[float | None, float | None]) -> Iterator[Markup]:
    dashed = Markup(' stroke-dasharray="3 4"')
    if chance[0] is not None:
        yield _LINE.format(frame.x(chance[0]), _TOP, frame.x(chance[0]), _BOTTOM, QUIET, 1.4, dashed)
        yield _TEXT.format(frame.x(chance[0]) + 4, _TOP + 12, "start", 11, QUIET, "guessing")
    if chance[1] is not None:
        yield _LINE.format(_LEFT, frame.y(chance[1]), _RIGHT, frame.y(chance[1]), QUIET, 1.4, dashed)
        yield _TEXT.format(_RIGHT - 2, frame.y(chance[1]) - 4, "end", 11, QUIET, "guessing")


def _legend(looks: dict[str, tuple[str, str, str]]) -> Iterator[Markup]:
    x, y = float(_LEFT), 18.0
    for name, (colour, dashes, marker) in looks.items():
        wide = 44 + 7.2 * len(name)
        if x + wide > _RIGHT and x > _LEFT:
            x, y = float(_LEFT), y + 20
        yield _CURVE.format(f"{x:.1f},{y:.1f} {x + 30:.1f},{y:.1f}", colour, dashes)
        yield _MARK.format(_shape(marker, x + 15, y), colour)
        yield _TEXT.format(x + 36, y + 4.5, "start", 13, INK, name)
        x += wide + 12


def _drawn(mine: Sequence[UsePoint], look: tuple[str, str, str], frame: _Frame) -> Iterator[Markup]:
    colour, dashes, marker = look
    faint = Markup(' opacity="0.45"')
    for p in mine:
        yield _LINE.format(
            frame.x(p.x_low), frame.y(p.y), frame.x(p.x_high), frame.y(p.y), colour, 1.2, faint
        )
        yield _LINE.format(
            frame.x(p.x), frame.y(p.y_low), frame.x(p.x), frame.y(p.y_high), colour, 1.2, faint
        )
    if len(mine) > 1:
        yield _CURVE.format(" ".join(f"{frame.x(p.x):.1f},{frame.y(p.y):.1f}" for p in mine), colour, dashes)
    for p in mine:
        yield _MARK.format(_shape(marker, frame.x(p.x), frame.y(p.y)), colour)


def _labels(
    curves: dict[str, list[UsePoint]], looks: dict[str, tuple[str, str, str]], frame: _Frame
) -> Iterator[Markup]:
    """Each label beside its marker, where it hides least of markers and other labels."""
    taken = _Taken()
    for mine in curves.values():
        spots = [(frame.x(p.x), frame.y(p.y)) for p in sorted(mine, key=_order)]
        taken.boxes += [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
        for (x, y), (across, up) in pairwise(spots):
            steps = 1 + int(math.hypot(across - x, up - y) / 6)
            along = [(x + i * (across - x) / steps, y + i * (up - y) / steps) for i in range(steps)]
            taken.boxes += [(a - 2, b - 2, a + 2, b + 2) for a, b in along]
    for name, mine in curves.items():
        for p in mine:
            box = min(_places(frame.x(p.x), frame.y(p.y), 6.3 * len(p.label)), key=taken.overlap)
            taken.boxes.append(box)
            yield from _leader(box, frame.x(p.x), frame.y(p.y), looks[name][0])
            yield _LABEL.format(box[0], box[3] - 3, _SIZE, looks[name][0], p.label)


def _leader(box: tuple[float, float, float, float], x: float, y: float, colour: str) -> Iterator[Markup]:
    """A faint line to the marker, where the label had to stand far from it."""
    across, up = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    if math.hypot(across - x, up - y) > 12:
        yield _LINE.format(across, up, x, y, colour, 0.8, Markup(' opacity="0.5"'))


def _places(x: float, y: float, wide: float) -> Iterator[tuple[float, float, float, float]]:
    """Boxes for a label near a marker, the best first."""
    high = _SIZE + 2
    for away in (9, 22, 36, 52, 70):
        for across, up in ((1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1), (0, 1), (1, 0), (-1, 0)):
            left = x + (away * 0.7 if across > 0 else -wide - away * 0.7 if across < 0 else -wide / 2)
            top = y + (up * away - high / 2) if up else y - high / 2
            yield left, top, left + wide, top + high


def _shape(marker: str, x: float, y: float) -> str:
    if marker == "disc":
        return f"M{x - 5:.1f} {y:.1f} a5 5 0 1 0 10 0 a5 5 0 1 0 -10 0z"
    return "M" + " L".join(f"{x + a:.1f} {y + b:.1f}" for a, b in _CORNERS[marker]) + "z"
