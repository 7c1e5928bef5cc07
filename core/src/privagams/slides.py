"""How a region at any downsample is made from an image's levels, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

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
    fetch: Fetch, downsamples: Sequence[float], x: int, y: int, width: int, height: int, downsample: float
) -> np.ndarray:
    """Read what `Slide.read` promises: from the best level, averaged over the area where that is finer.

    Returns uint8 "height width 3". Whatever the size of the slide, at most about `SIDE`² px of a level are
    held besides the result.
    """
    if width < 1 or height < 1 or not math.isfinite(downsample) or downsample <= 0:
        raise ValueError(f"read: a region of {width} × {height} px at downsample {downsample} was asked for")
    level = best_level(downsamples, downsample)
    factor = downsample / downsamples[level]
    out = np.empty((height, width, 3), dtype=np.uint8)
    side = max(1, int(SIDE / max(factor, 1.0)))
    for top in range(0, height, side):
        for left in range(0, width, side):
            w, h = min(side, width - left), min(side, height - top)
            corner = (x + left * downsample, y + top * downsample)
            part = _read_part(fetch, level, downsamples[level], corner, (w, h), factor)
            out[top : top + h, left : left + w] = np.asarray(part)
    return out


def fetch_inside(
    read: Callable[[int, int, int, int], Image.Image],
    level_size: tuple[int, int],
    own: float,
    region: tuple[int, int, int, int],
) -> Image.Image:
    """Fetch (x, y, width, height) of a level of downsample `own`, asking `read` only for what lies inside.

    Slide libraries differ in what they make of a negative corner; outside is white.
    """
    x, y, width, height = region
    skip = (math.ceil(max(0, -x) / own), math.ceil(max(0, -y) / own))
    start = tuple(max(0, round(at + n * own)) for at, n in zip((x, y), skip, strict=True))
    room = (level_size[0] - int(start[0] / own), level_size[1] - int(start[1] / own))
    size = (min(width - skip[0], room[0]), min(height - skip[1], room[1]))
    if size == (width, height):
        return read(x, y, width, height)
    white = Image.new("RGB", (width, height), (255, 255, 255))
    if min(size) > 0:
        white.paste(read(*start, *size), skip)
    return white


def _read_part(
    fetch: Fetch, level: int, own: float, corner: tuple[float, float], size: tuple[int, int], factor: float
) -> Image.Image:
    """Fetch one part; `own` is the level's downsample, `factor` how much it must still shrink."""
    if abs(factor - 1) * max(size) < 0.5:
        return fetch(level, round(corner[0]), round(corner[1]), *size)
    margin = math.ceil(factor) + 1  # the filter reaches one result px beyond the part
    starts = [math.floor(at / own) - margin for at in corner]
    lengths = [math.ceil(n * factor) + 2 * margin + 1 for n in size]
    origin = [round(start * own) for start in starts]
    image = fetch(level, origin[0], origin[1], lengths[0], lengths[1])
    left, top = ((at - start) / own for at, start in zip(corner, origin, strict=True))
    box = (left, top, left + size[0] * factor, top + size[1] * factor)
    return image.resize(size, Image.Resampling.HAMMING, box=box, reducing_gap=2.0)
