"""How a plain image, which can only be decoded at once, is opened without trusting what it declares."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from attrs import define, field
from PIL import Image, UnidentifiedImageError

from privagams.errors import SlideError
from privagams.reading.slides import Level, on_white, read_levels

FORMATS = ("PNG", "JPEG")


@define(eq=False)
class PlainSlide:
    """A plain image as a slide with one level; decoded at the first read."""

    size: tuple[int, int]
    mpp: float | None
    _load: Callable[[], Image.Image]
    """Gives the RGB image; raises `SlideError` for a damaged file."""
    _image: Image.Image | None = field(default=None, init=False)

    @property
    def downsamples(self) -> Sequence[float]:
        return (1.0,)

    def read(self, x: int, y: int, width: int, height: int, downsample: float) -> np.ndarray:
        if self._image is None:
            self._image = self._load()
            if self._image.size != self.size:
                raise SlideError(
                    f"size: it declares {self.size[0]} × {self.size[1]} px and holds "
                    f"{self._image.size[0]} × {self._image.size[1]}"
                )
        return read_levels(self._fetch, [Level(self.size, 1.0)], x, y, width, height, downsample)

    def close(self) -> None:
        self._image = None

    def _fetch(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        assert self._image is not None
        return self._image.crop((x, y, x + width, y + height))


def check_size(width: int, height: int, max_megapixels: float) -> None:
    """Refuse an image bomb by the size it declares, before anything is decoded."""
    if width < 1 or height < 1:
        raise SlideError(f"size: it declares {width} × {height} px")
    if width * height > max_megapixels * 1e6:
        raise SlideError(
            f"size: it declares {width} × {height} px, more than the {max_megapixels:g} million that are "
            "decoded at once; raise the reader's max_megapixels if that is right, or make it a pyramidal TIFF"
        )


def open_plain(path: Path, max_megapixels: float) -> PlainSlide:
    """Open a PNG or JPEG; raises `SlideError` for anything else. Its print resolution (dpi) is no mpp."""
    with warnings.catch_warnings():
        # Pillow warns of images that are large by its own measure; ours is checked below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                size = image.size
        except Image.DecompressionBombError as error:
            raise SlideError("size: it declares far more px than can be right") from error
        except UnidentifiedImageError as error:
            raise SlideError("format: it is no PNG or JPEG image, whatever its name says") from error
        except (OSError, ValueError, SyntaxError) as error:
            raise SlideError("format: a damaged PNG or JPEG image") from error
    check_size(*size, max_megapixels)
    return PlainSlide(size, None, lambda: _decode(path))


def _decode(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                if image.mode.startswith("I"):
                    return grey_image(np.asarray(image))
                return on_white(image.copy())
        except (OSError, ValueError, SyntaxError) as error:
            raise SlideError("a damaged PNG or JPEG image") from error


def grey_image(values: np.ndarray, valid: np.ndarray | None = None) -> Image.Image:
    """Turn one channel of any depth into an 8-bit RGB image.

    8-bit values stay; deeper ones are spread over their own range (of the `valid` px), since files of 12 bits
    in 16 are common and nothing in them says so.
    """
    if values.dtype == np.uint8:
        return Image.fromarray(values).convert("RGB")
    known = values if valid is None or not valid.any() else values[valid]
    low, high = float(known.min()), float(known.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SlideError("its values are not finite")
    scaled = (values.astype(np.float32) - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)).convert("RGB")
