"""How a TIFF page of any depth becomes an RGB image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from privagams.errors import SlideError
from privagams.reading.plain import PlainSlide, check_size, grey_image
from privagams.reading.slides import on_white

CENTIMETRE = 3
DAMAGED = "a damaged TIFF, or one of a kind that tifffile does not read"


def open_tiff(path: Path, max_megapixels: float) -> PlainSlide:
    """Open the first page of a TIFF; other pages may be labels."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            size, mpp = (int(page.imagewidth), int(page.imagelength)), _mpp(page)
    except Exception as error:  # tifffile raises many kinds on damaged files
        raise SlideError(DAMAGED) from error
    check_size(*size, max_megapixels)
    return PlainSlide(size, mpp, lambda: _decode(path))


def _mpp(page: tifffile.TiffPage) -> float | None:
    """Resolution per centimetre, as microscopes state it; per inch it is for print and says nothing."""
    if page.tags.valueof("ResolutionUnit") != CENTIMETRE:
        return None
    stated = (page.tags.valueof(f"{axis}Resolution", default=(0, 1)) for axis in "XY")
    across, down = (numerator / denominator if denominator else 0.0 for numerator, denominator in stated)
    if across <= 0 or abs(across - down) > 0.02 * across:
        return None
    return 1e4 / across


def _decode(path: Path) -> Image.Image:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            values, axes, photometric = page.asarray(), page.axes, page.photometric
            colours = page.colormap
    except Exception as error:
        raise SlideError(DAMAGED) from error
    if axes == "SYX":
        values, axes = np.moveaxis(values, 0, 2), "YXS"
    if axes == "YX" and colours is not None:
        return Image.fromarray(_eight_bits(np.moveaxis(colours, 0, -1)[values]))
    if axes == "YX":
        inverted = photometric == tifffile.PHOTOMETRIC.MINISWHITE
        image = grey_image(values.astype(np.uint8) * 255 if values.dtype == bool else values)
        return image.point(lambda value: 255 - value) if inverted else image
    rgb = photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
    if axes == "YXS" and rgb and values.shape[2] in (3, 4):
        return on_white(Image.fromarray(_eight_bits(values)))
    kind = tifffile.PHOTOMETRIC(photometric).name.lower()
    raise SlideError(f"format: expected a grey or RGB image, found axes {axes} of {kind}")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values // 257).astype(np.uint8)
    raise SlideError(f"format: expected 8 or 16 bits a channel, found {values.dtype}")
