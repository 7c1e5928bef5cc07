"""Curves of attacks: a ROC with both axes in powers of ten, or the share of patients found by rank."""

from __future__ import annotations

import math

from markupsafe import Markup

from privagams.report.data import Curve
from privagams.report.pictures import INK, PROTECTED, QUIET

_TEXT = Markup('<text x="{}" y="{}" text-anchor="{}" font-size="12" fill="{}">{}</text>')
_SIDE = Markup(
    '<text x="14" y="106" text-anchor="middle" font-size="12" fill="{}" '
    'transform="rotate(-90 14 106)">{}</text>'
)
_GUESS = Markup('<polyline points="{} {}" fill="none" stroke="{}" stroke-dasharray="4 3"/>')
_PATH = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>')


def curve(drawn: Curve) -> Markup:
    """The curve as inline SVG; guessing is dashed. Nothing for a curve without points."""
    points = [p for p in drawn.points if drawn.kind == "rank" or min(p) > 0]
    if not points:
        return Markup("")
    return _roc(points) if drawn.kind == "roc" else _ranks(points)


def _roc(points: list[tuple[float, float]]) -> Markup:
    floor = min(10.0 ** math.floor(math.log10(min(min(p) for p in points))), 0.1)

    def share(value: float) -> float:
        return 1 - math.log10(max(value, floor)) / math.log10(floor)

    drawn = [(share(x), share(y)) for x, y in points]
    ends = f"{floor:g}"
    return _plot(drawn, ((0, 0), (1, 1)), (ends, "1", ends), ("false alarms", "members found"))


def _ranks(points: list[tuple[float, float]]) -> Markup:
    last = max(max(rank for rank, _ in points), 2.0)
    drawn = [((rank - 1) / (last - 1), found) for rank, found in points]
    return _plot(drawn, ((0, 1 / last), (1, 1)), ("1", f"{last:g}", "0"), ("rank", "share found"))


def _plot(
    points: list[tuple[float, float]],
    guessing: tuple[tuple[float, float], tuple[float, float]],
    ends: tuple[str, str, str],
    titles: tuple[str, str],
) -> Markup:
    """Draw shares of the frame; `ends`: first and last of the lower axis, lowest of the upward one."""

    def place(point: tuple[float, float]) -> str:
        return f"{46 + 190 * point[0]:.1f},{196 - 180 * point[1]:.1f}"

    return Markup("").join(
        [
            Markup('<svg class="curve" viewBox="0 0 250 236" role="img" aria-label="{} against {}">').format(
                titles[1], titles[0]
            ),
            Markup('<path d="M46 16 V196 H236" fill="none" stroke="{}"/>').format(QUIET),
            _GUESS.format(place(guessing[0]), place(guessing[1]), QUIET),
            _PATH.format(" ".join(place(point) for point in points), PROTECTED),
            _TEXT.format(46, 212, "middle", QUIET, ends[0]),
            _TEXT.format(236, 212, "middle", QUIET, ends[1]),
            _TEXT.format(40, 20, "end", QUIET, "1"),
            _TEXT.format(40, 199, "end", QUIET, ends[2]),
            _TEXT.format(141, 230, "middle", INK, titles[0]),
            _SIDE.format(INK, titles[1]),
            Markup("</svg>"),
        ]
    )
