"""Which of what OpenSlide knows about a file gets out: pixels, size, levels, resolution, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openslide
from attrs import field, frozen
from PIL import Image

from privagams.errors import SlideError
from privagams.reading.plain import open_plain
from privagams.reading.slides import Level, on_white, read_levels
from privagams.roles import Slide
from privagams_openslide.settings import OpenSlideSettings

CACHE_BYTES = 64 * 2**20
"""Decoded tiles that an open slide keeps, so that none is decoded again for each of its neighbours."""
SQUARE = 0.02
"""Resolution across and down may differ by 2 %; more means that one number cannot tell it."""
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@frozen
class OpenSlideReader:
    """Opens slides through OpenSlide, and plain PNG or JPEG regions beside them.

    Guarantee: OpenSlide's associated images (label, macro, thumbnail) are never opened, and of its properties
    only the two that state µm per px are looked at.
    `test_nothing_but_pixels_gets_past_a_reader` fails without it.
    """

    _settings: OpenSlideSettings = field(factory=OpenSlideSettings, alias="settings")

    def open(self, path: Path) -> Slide:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(STARTS):
            return open_plain(path, self._settings.max_megapixels)
        try:
            slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise SlideError(
                "format: neither a slide that OpenSlide knows nor a PNG or JPEG image"
            ) from error
        except openslide.OpenSlideError as error:
            raise SlideError(f"OpenSlide could not open it: {_first_line(error)}") from error
        slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        return OpenSlideSlide(slide)


@frozen(eq=False)
class OpenSlideSlide:
    """An open slide."""

    _slide: openslide.OpenSlide

    @property
    def size(self) -> tuple[int, int]:
        return self._slide.dimensions

    @property
    def mpp(self) -> float | None:
        return _mpp(self._slide)

    @property
    def downsamples(self) -> Sequence[float]:
        return self._slide.level_downsamples

    def read(self, x: int, y: int, width: int, height: int, downsample: float) -> np.ndarray:
        try:
            levels = list(map(Level, self._slide.level_dimensions, self._slide.level_downsamples))
            return read_levels(self._fetch, levels, x, y, width, height, downsample)
        except openslide.OpenSlideError as error:
            raise SlideError(f"OpenSlide could not read it: {_first_line(error)}") from error

    def close(self) -> None:
        self._slide.close()

    def _fetch(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        return on_white(self._slide.read_region((x, y), level, (width, height)))


def _mpp(slide: openslide.OpenSlide) -> float | None:
    names = (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y)
    try:
        across, down = (float(slide.properties[name]) for name in names)
    except (KeyError, ValueError):
        return None  # one is missing, or is no number
    if not (0 < across < 1e6 and 0 < down < 1e6):
        return None
    if abs(across - down) > SQUARE * max(across, down):
        raise SlideError(
            f"resolution: its pixels are not square ({across:g} × {down:g} µm); resample it first"
        )
    return (across + down) / 2


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
