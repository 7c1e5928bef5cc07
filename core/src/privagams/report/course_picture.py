"""How a training went: the loss on reference patients, phase by phase, as a small picture."""

from __future__ import annotations

import math

from markupsafe import Markup

from privagams.report.data import Course
from privagams.report.pictures import BARE, INK, PROTECTED, QUIET
from privagams.report.wording import figure

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 410, 14, 150
_COLOURS = (PROTECTED, BARE, QUIET)
_DASHES = ("", "6 3", "2 3")
"""A phase is told by colour and by dash, so that neither is needed alone."""


def course_picture(course: Course) -> Markup:
    """Loss after each block against steps, one line for each phase; each phase has a loss of its own."""
    points = [point for point in course.points if math.isfinite(point.loss)]
    if not points:
        return Markup("")
    last = max(point.step for point in points)
    most, least = max(point.loss for point in points), min(0.0, *(point.loss for point in points))

    def place(step: int, loss: float) -> str:
        up = (loss - least) / (most - least) if most > least else 0.5
        return f"{_LEFT + (_RIGHT - _LEFT) * step / last:.1f},{_BOTTOM - (_BOTTOM - _TOP) * up:.1f}"

    parts = [
        Markup('<svg class="picture" viewBox="0 0 420 190" role="img" aria-label="{}">').format(
            f"Loss on reference images, {figure(points[0].loss)} at first and {figure(points[-1].loss)} at last."
        ),
        Markup('<path d="M{} {} V{} H{}" fill="none" stroke="{}"/>').format(
            _LEFT, _TOP, _BOTTOM, _RIGHT, QUIET
        ),
    ]
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>')
    dot = Markup('<circle cx="{}" cy="{}" r="2.4" fill="{}"/>')
    for number, name in enumerate(course.phases):
        mine = [place(point.step, point.loss) for point in points if point.phase == name]
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(line.format(" ".join(mine), colour, _DASHES[number % len(_DASHES)]))
        parts += [dot.format(*spot.split(","), colour) for spot in mine]
    text = Markup('<text x="{}" y="{}" text-anchor="{}" font-size="12" fill="{}">{}</text>')
    parts += [
        text.format(_LEFT - 5, _TOP + 5, "end", QUIET, figure(most)),
        text.format(_LEFT - 5, _BOTTOM + 3, "end", QUIET, figure(least)),
        text.format(_RIGHT, _BOTTOM + 16, "end", QUIET, f"{last:,}"),
        text.format((_LEFT + _RIGHT) / 2, _BOTTOM + 32, "middle", INK, "steps; up: loss on reference images"),
    ]
    return Markup("").join([*parts, Markup("</svg>")])
