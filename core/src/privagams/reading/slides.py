"""How a region at any downsample is made from an image's levels, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from attrs import frozen
from PIL import Image


@frozen
class Level:
    """One resolution of an image."""

    size: tuple[int, int]
    """Width and height, px of this level."""
    downsample: float
    """Px at full resolution per px of this level."""


Fetch = Callable[[int, int, int, int, int], Image.Image]
"""(level, x, y, width, height) to an RGB image; x, y in px at full resolution, the others of that level."""

SIDE = 2048
"""Longest side, in px of a level, that is fetched at once; it bounds memory."""
NEARLY = 1.01
"""A level up to 1 % coarser than asked serves too: scanners write 2.0003 where they mean 2."""


@runtime_checkable
class Levelled(Protocol):
    """A slide that tells its levels, so that an overview is known to be cheap; optional for readers."""

    @property
    def downsamples(self) -> Sequence[float]:
        """Px at full resolution per px of each level, ascending from 1."""
        ...


def best_level(downsamples: Sequence[float], downsample: float) -> int:
    """The coarsest level that still holds at least the detail of `downsample`."""
    return max((i for i, own in enumerate(downsamples) if own <= downsample * NEARLY), default=0)


def on_white(image: Image.Image) -> Image.Image:
    """Turn any 8-bit image into RGB; what is transparent becomes white."""
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            white = Image.new("RGB", image.size, (255, 255, 255))
            white.paste(image.convert("RGB"), mask=alpha)
            return white
    return image.convert("RGB")


def read_levels(
    fetch: Fetch, levels: Sequence[Level], x: int, y: int, width: int, height: int, downsample: float
) -> np.ndarray:
    """Read what `Slide.read` promises: from the best level, averaged over the area where that is finer.

    Returns uint8 "height width 3". `fetch` is asked only for what lies inside a level, since slide libraries
    differ in what they make of the rest. Whatever the size of the slide, at most about `SIDE`² px of a level are
    held besides the result.
    """
    if width < 1 or height < 1 or not math.isfinite(downsample) or downsample <= 0:
        raise ValueError(f"read: a region of {width} × {height} px at downsample {downsample} was asked for")
    number = best_level([level.downsample for level in levels], downsample)
    level, factor = levels[number], downsample / levels[number].downsample
    out = np.empty((height, width, 3), dtype=np.uint8)
    side = max(1, int(SIDE / max(factor, 1.0)))
    for top in range(0, height, side):
        for left in range(0, width, side):
            size = (min(side, width - left), min(side, height - top))
            corner = ((x + left * downsample) / level.downsample, (y + top * downsample) / level.downsample)
            part = _read_part(partial(fetch, number), level, corner, size, factor)
            out[top : top + size[1], left : left + size[0]] = np.asarray(part)
    return out


def _read_part(
    fetch: Callable[[int, int, int, int], Image.Image],
    level: Level,
    corner: tuple[float, float],
    size: tuple[int, int],
    factor: float,
) -> Image.Image:
    """Read one part; `corner` in px of the level, `factor` is how much it must still shrink."""
    if abs(factor - 1) * max(size) < 0.5:
        starts = [round(at) for at in corner]
        return _fetch_on_white(fetch, level, starts, [at + n for at, n in zip(starts, size, strict=True)])[0]
    margin = math.ceil(factor) + 1  # the filter reaches one result px beyond the part
    starts, ends = [], []
    for at, n, length in zip(corner, size, level.size, strict=True):
        end = at + n * factor
        # At the slide's edge the filter ends with the slide: what lies beyond must not bleed in.
        starts.append(math.floor(at) if at < 0 else max(math.floor(at) - margin, 0))
        ends.append(math.ceil(end) if end > length + 1 else min(math.ceil(end) + margin, length))
    image, origin = _fetch_on_white(fetch, level, starts, ends)
    left, top = (max(0.0, at - start) for at, start in zip(corner, origin, strict=True))
    right, bottom = min(left + size[0] * factor, image.width), min(top + size[1] * factor, image.height)
    return image.resize(size, Image.Resampling.HAMMING, box=(left, top, right, bottom), reducing_gap=2.0)


def _fetch_on_white(
    fetch: Callable[[int, int, int, int], Image.Image],
    level: Level,
    starts: Sequence[int],
    ends: Sequence[int],
) -> tuple[Image.Image, tuple[float, float]]:
    """Fetch a box of a level on white; gives its exact corner too, in px of the level."""
    first = [min(max(start, 0), length) for start, length in zip(starts, level.size, strict=True)]
    last = [max(min(end, length), 0) for end, length in zip(ends, level.size, strict=True)]
    at = [round(start * level.downsample) for start in first]
    shift = [at[axis] / level.downsample - first[axis] for axis in (0, 1)]
    width, height = (end - start for start, end in zip(first, last, strict=True))
    whole = (ends[0] - starts[0], ends[1] - starts[1])
    image = fetch(at[0], at[1], width, height) if width > 0 and height > 0 else None
    if image is None or (width, height) != whole:
        white = Image.new("RGB", whole, (255, 255, 255))
        if image is not None:
            white.paste(image, (first[0] - starts[0], first[1] - starts[1]))
        image = white
    return image, (starts[0] + shift[0], starts[1] + shift[1])
