"""How figures become pictures: inline SVG and images as data addresses, nothing from outside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import frozen
from markupsafe import Markup
from PIL import Image

from privagams.evidence import Measurement
from privagams.report.data import Budget, Curve
from privagams.report.wording import figure

INK, QUIET, LINE = "#1d2935", "#5b6875", "#c9d1d8"
PROTECTED, BARE, LIMIT = "#00577f", "#b3470a", "#1d2935"
"""Blue and vermilion stay apart for every kind of colour vision; shape and fill repeat what colour says."""


def png_address(pixels: np.ndarray) -> str:
    """One image, uint8 "h w c", as a data address."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def interval(measurement: Measurement, cap: float | None = None) -> Markup:
    """A figure with its interval on a line: a dot, a bar, a dashed mark for chance, a diamond for the claim's limit."""
    finite_cap = cap if cap is not None and math.isfinite(cap) else None
    marks = [measurement.low, measurement.high, measurement.value, measurement.chance, finite_cap]
    known = [mark for mark in marks if mark is not None and math.isfinite(mark)]
    if not math.isfinite(measurement.value):
        return Markup("")
    top = 1.0 if max(known) <= 1.0 else max(known) * 1.05
    bottom = min(0.0, *known)

    def at(value: float) -> str:
        share = (min(max(value, bottom), top) - bottom) / (top - bottom)
        return f"{4 + 152 * share:.1f}"

    parts = [
        Markup('<svg class="glyph" viewBox="0 0 160 18" width="160" height="18" aria-hidden="true" focusable="false">'),
        Markup('<line x1="4" y1="9" x2="156" y2="9" stroke="{}"/>').format(LINE),
        Markup('<line x1="{}" y1="9" x2="{}" y2="9" stroke="{}" stroke-width="3"/>').format(
            at(measurement.low), at(measurement.high), PROTECTED
        ),
        Markup('<circle cx="{}" cy="9" r="4.2" fill="{}"/>').format(at(measurement.value), PROTECTED),
    ]
    if measurement.chance is not None:
        x = at(measurement.chance)
        dashes = '<line x1="{}" y1="1" x2="{}" y2="17" stroke="{}" stroke-width="1.5" stroke-dasharray="2.5 2"/>'
        parts.append(Markup(dashes).format(x, x, QUIET))
    if finite_cap is not None:
        diamond = '<path d="M{} 4 l5 5 -5 5 -5 -5z" fill="#fff" stroke="{}" stroke-width="1.5"/>'
        parts.append(Markup(diamond).format(at(finite_cap), LIMIT))
    return Markup("").join([*parts, Markup("</svg>")])


@frozen
class Point:
    """A release in the privacy–utility picture, each axis with its interval."""

    letter: str
    name: str
    hollow: bool
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


def scatter(points: Sequence[Point], x_title: str, y_title: str, better: Literal["higher", "lower"]) -> Markup:
    """Linkage above chance (0 guessing, 1 certain) against utility; yardsticks hollow. Better is up and left."""
    low = min(min(p.y_low, p.y) for p in points)
    high = max(max(p.y_high, p.y) for p in points)
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 and better == "higher" else (min(0.0, low), high * 1.08 or 1.0)
    left = min(0.0, *(max(p.x_low, -0.25) for p in points)) - 0.04

    def across(value: float) -> float:
        return 62 + 400 * (min(max(value, left), 1.0) - left) / (1.0 - left)

    def up(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return 20 + 250 * (1 - share if better == "higher" else share)

    label = "Privacy and utility of each release; the same figures stand in the table below the picture."
    parts = [Markup('<svg class="picture" viewBox="0 0 480 330" role="img" aria-label="{}">').format(label)]
    parts += _axes(across, up, low, high, x_title, y_title)
    taken: list[tuple[float, float]] = []
    for point in points:
        parts += _point(point, across, up, taken)
    return Markup("").join([*parts, Markup("</svg>")])


def _axes(across, up, low: float, high: float, x_title: str, y_title: str) -> list[Markup]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = f"{across(tick):.1f}", f"{up(low + tick * (high - low)):.1f}"
        parts.append(Markup('<line x1="{}" y1="20" x2="{}" y2="270" stroke="{}"/>').format(x, x, LINE))
        parts.append(Markup('<line x1="62" y1="{}" x2="462" y2="{}" stroke="{}"/>').format(y, y, LINE))
        text = '<text x="{}" y="{}" text-anchor="{}" font-size="13" fill="{}">{}</text>'
        parts.append(Markup(text).format(x, 288, "middle", QUIET, f"{tick:g}"))
        parts.append(Markup(text).format(56, f"{float(y) + 4.5:.1f}", "end", QUIET, f"{low + tick * (high - low):.3g}"))
    title = '<text x="262" y="318" text-anchor="middle" font-size="14" fill="{}">{}</text>'
    parts.append(Markup(title).format(INK, x_title))
    side = '<text x="14" y="145" text-anchor="middle" font-size="14" fill="{}" transform="rotate(-90 14 145)">{}</text>'
    parts.append(Markup(side).format(INK, y_title))
    return parts


def _point(point: Point, across, up, taken: list[tuple[float, float]]) -> list[Markup]:  # type: ignore[no-untyped-def]  # noqa: ANN001
    x, y = across(point.x), up(point.y)
    colour = BARE if point.hollow else PROTECTED
    line = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="1.6"/>'
    parts = [
        Markup(line).format(across(point.x_low), y, across(point.x_high), y, colour),
        Markup(line).format(x, up(point.y_low), x, up(point.y_high), colour),
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="7" fill="{}" stroke="{}" stroke-width="2.4"/>').format(
            x, y, "#fff" if point.hollow else colour, colour
        ),
    ]
    label_x = x + 11 if x < 440 else x - 21
    label_y = y - 10
    while any(abs(label_x - tx) < 16 and abs(label_y - ty) < 15 for tx, ty in taken):
        label_y -= 15
    taken.append((label_x, label_y))
    text = '<text x="{:.1f}" y="{:.1f}" font-size="15" font-weight="700" fill="{}">{}</text>'
    return [*parts, Markup(text).format(label_x, label_y, colour, point.letter)]


def budget_bar(budget: Budget) -> Markup:
    """How much of the data set's ε is spent: before this run, by this run, still free."""
    whole = max(budget.epsilon, 1e-12)

    def width(value: float) -> float:
        return 600 * min(max(value / whole, 0.0), 1.0) if math.isfinite(value) else 600.0

    before, after = width(budget.before_epsilon), width(budget.after_epsilon)
    words = (
        f"Of ε = {figure(budget.epsilon)}, {figure(budget.before_epsilon)} was spent before this run "
        f"and {figure(budget.after_epsilon)} is spent after it."
    )
    box = '<rect x="{:.1f}" y="0" width="{:.1f}" height="14" fill="{}"/>'
    return Markup("").join(
        [
            Markup('<svg class="bar" viewBox="0 0 600 14" preserveAspectRatio="none" role="img" aria-label="{}">').format(words),
            Markup(box).format(0, 600, "#e3e8ec"),
            Markup(box).format(0, before, "#7d8a96"),
            Markup(box).format(before, max(after - before, 0.0), PROTECTED),
            Markup("</svg>"),
        ]
    )


def curve(drawn: Curve) -> Markup:
    """A ROC with both axes in powers of ten, or a rank curve."""
    roc = drawn.kind == "roc"
    points = [p for p in drawn.points if not roc or (p[0] > 0 and p[1] > 0)]
    if not points:
        return Markup("")
    floor = 10 ** math.floor(math.log10(min(min(p) for p in points))) if roc else 1.0
    floor = min(floor, 0.1) if roc else floor
    last = max(max(p[0] for p in points), 2.0)

    def place(point: tuple[float, float]) -> str:
        if roc:
            x, y = (1 - math.log10(max(v, floor)) / math.log10(floor) for v in point)
        else:
            x, y = (point[0] - 1) / (last - 1), point[1]
        return f"{46 + 190 * x:.1f},{196 - 180 * y:.1f}"

    diagonal = (place((floor, floor)), place((1.0, 1.0))) if roc else (place((1.0, 1 / last)), place((last, 1.0)))
    words = "ROC, both axes in powers of ten" if roc else "Share of patients found by rank"
    ends = (f"{floor:g}", "1") if roc else ("1", f"{last:g}")
    axis = ("false alarms", "members found") if roc else ("rank", "share found")
    text = '<text x="{}" y="{}" text-anchor="{}" font-size="12" fill="{}">{}</text>'
    return Markup("").join(
        [
            Markup('<svg class="curve" viewBox="0 0 250 236" role="img" aria-label="{}">').format(words),
            Markup('<path d="M46 16 V196 H236" fill="none" stroke="{}"/>').format(QUIET),
            Markup('<polyline points="{} {}" fill="none" stroke="{}" stroke-dasharray="4 3"/>').format(*diagonal, QUIET),
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(
                " ".join(place(p) for p in points), PROTECTED
            ),
            Markup(text).format(46, 212, "middle", QUIET, ends[0]),
            Markup(text).format(236, 212, "middle", QUIET, ends[1]),
            Markup(text).format(40, 20, "end", QUIET, "1"),
            Markup(text).format(40, 199, "end", QUIET, f"{floor:g}" if roc else "0"),
            Markup(text).format(141, 230, "middle", INK, axis[0]),
            Markup('<text x="14" y="106" text-anchor="middle" font-size="12" fill="{}" transform="rotate(-90 14 106)">{}</text>').format(
                INK, axis[1]
            ),
            Markup("</svg>"),
        ]
    )
