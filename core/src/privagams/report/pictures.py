"""How figures become pictures: inline SVG and images as data addresses, nothing from outside."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from markupsafe import Markup
from PIL import Image

from privagams.evidence import Measurement
from privagams.report.data import Budget
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
    """A figure with its interval on a line; a dashed mark for chance, a diamond for what the claim allows."""
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
        Markup('<svg class="glyph" viewBox="0 0 160 18" width="160" height="18" aria-hidden="true">'),
        Markup('<line x1="4" y1="9" x2="156" y2="9" stroke="{}"/>').format(LINE),
        Markup('<line x1="{}" y1="9" x2="{}" y2="9" stroke="{}" stroke-width="3"/>').format(
            at(measurement.low), at(measurement.high), PROTECTED
        ),
        Markup('<circle cx="{}" cy="9" r="4.2" fill="{}"/>').format(at(measurement.value), PROTECTED),
    ]
    if measurement.chance is not None:
        x = at(measurement.chance)
        dashes = (
            '<line x1="{}" y1="1" x2="{}" y2="17" stroke="{}" stroke-width="1.5" stroke-dasharray="2.5 2"/>'
        )
        parts.append(Markup(dashes).format(x, x, QUIET))
    if finite_cap is not None:
        diamond = '<path d="M{} 4 l5 5 -5 5 -5 -5z" fill="#fff" stroke="{}" stroke-width="1.5"/>'
        parts.append(Markup(diamond).format(at(finite_cap), LIMIT))
    return Markup("").join([*parts, Markup("</svg>")])


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
            Markup(
                '<svg class="bar" viewBox="0 0 600 14" preserveAspectRatio="none" role="img" aria-label="{}">'
            ).format(words),
            Markup(box).format(0, 600, "#e3e8ec"),
            Markup(box).format(0, before, "#7d8a96"),
            Markup(box).format(before, max(after - before, 0.0), PROTECTED),
            Markup("</svg>"),
        ]
    )
