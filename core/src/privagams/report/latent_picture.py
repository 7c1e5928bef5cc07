"""The latents of held-out images against the normal distribution that a flow takes them to have."""

from __future__ import annotations

import math

from markupsafe import Markup

from privagams.report.data import Latents
from privagams.report.pictures import BARE, INK, LINE, PROTECTED, QUIET

_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 410, 12, 150


def latent_picture(latents: Latents) -> Markup:
    """Bars: share of latent values by size, held-out images; line: N(0, 1). Outermost bars hold all beyond."""
    low, high = latents.edges[0], latents.edges[-1]
    width = (high - low) / len(latents.histogram)
    density = [share / width for share in latents.histogram]
    top = max(*density, 0.4) * 1.08

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * value / top

    words = "Latent values of held-out images against the standard normal distribution."
    parts = [Markup('<svg class="picture" viewBox="0 0 420 190" role="img" aria-label="{}">').format(words)]
    box = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}" fill-opacity="0.35"/>')
    for number, value in enumerate(density):
        left = x(low + number * width)
        parts.append(
            box.format(
                left, y(value), x(low + (number + 1) * width) - left - 0.5, _BOTTOM - y(value), PROTECTED
            )
        )
    points = [low + (high - low) * i / 120 for i in range(121)]
    line = " ".join(f"{x(p):.1f},{y(math.exp(-p * p / 2) / math.sqrt(2 * math.pi)):.1f}" for p in points)
    parts.append(
        Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(line, BARE)
    )
    rule = Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>')
    parts.append(rule.format(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, INK))
    text = Markup('<text x="{:.1f}" y="{}" text-anchor="middle" font-size="12" fill="{}">{}</text>')
    for mark in range(math.ceil(low), math.floor(high) + 1, 2):
        parts += [
            rule.format(x(mark), _BOTTOM, x(mark), _BOTTOM + 4, LINE),
            text.format(x(mark), _BOTTOM + 17, QUIET, mark),
        ]
    parts.append(text.format((_LEFT + _RIGHT) / 2, _BOTTOM + 34, INK, "latent value; line: N(0, 1)"))
    return Markup("").join([*parts, Markup("</svg>")])
