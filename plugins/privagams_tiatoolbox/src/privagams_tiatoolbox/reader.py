"""Which of what TIAToolbox knows about a file gets out, and how its guesses are kept in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from attrs import field, frozen
from PIL import Image, UnidentifiedImageError
from tiatoolbox.wsicore.wsireader import OpenSlideWSIReader, WSIReader

from privagams.errors import SlideError
from privagams.reading.plain import check_size
from privagams.reading.slides import Level, read_levels
from privagams_tiatoolbox.settings import TiatoolboxSettings

logging.getLogger("tiatoolbox").setLevel(logging.CRITICAL)
SQUARE = 0.02


@frozen
class TiatoolboxReader:
    """Opens what `WSIReader.open` opens.

    Guarantee: nothing but pixels, size, levels and the stated resolution gets out.
    `test_nothing_but_pixels_gets_past_a_reader` fails without it.
    """

    _settings: TiatoolboxSettings = field(factory=TiatoolboxSettings, alias="settings")

    def open(self, path: Path) -> TiatoolboxSlide:
        try:
            # WSIReader.open takes some pyramidal TIFFs for plain images and loads them whole.
            if openslide.OpenSlide.detect_format(path) not in (None, "dicom"):
                return TiatoolboxSlide(OpenSlideWSIReader(path))
            self._check_plain(path)
            return TiatoolboxSlide(WSIReader.open(path))
        except SlideError:
            raise
        except Exception as error:  # one kind for each format behind it; the texts may quote the file's name
            raise SlideError(f"TIAToolbox could not open it ({type(error).__name__})") from error

    def _check_plain(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            try:
                with Image.open(path) as image:
                    check_size(*image.size, self._settings.max_megapixels)
            except UnidentifiedImageError:
                return  # no plain image: whatever it is, it is read in pieces
            except Image.DecompressionBombError as error:
                raise SlideError("size: it declares far more px than can be right") from error


class TiatoolboxSlide:
    """An open slide."""

    def __init__(self, wsi: Any) -> None:
        self._wsi = wsi
        info = wsi.info
        self._levels = [
            Level((int(width), int(height)), float(downsample))
            for (width, height), downsample in zip(info.level_dimensions, info.level_downsamples, strict=True)
        ]

    @property
    def size(self) -> tuple[int, int]:
        return self._levels[0].size

    @property
    def mpp(self) -> float | None:
        """As the file states it.

        TIAToolbox infers a missing resolution from the objective power; that inference is switched off here.
        """
        self._wsi._estimate_mpp_objective_power = _no_inference
        stated = self._wsi._info().mpp
        if stated is None or not np.all(np.isfinite(stated)) or np.min(stated) <= 0:
            return None
        across, down = (float(value) for value in stated)
        if abs(across - down) > SQUARE * max(across, down):
            raise SlideError(f"resolution: its pixels are not square ({across:g} × {down:g} µm); resample it")
        return (across + down) / 2

    @property
    def downsamples(self) -> Sequence[float]:
        return [level.downsample for level in self._levels]

    def read(self, x: int, y: int, width: int, height: int, downsample: float) -> np.ndarray:
        try:
            return read_levels(self._fetch, self._levels, x, y, width, height, downsample)
        except (MemoryError, SlideError):
            raise
        except Exception as error:
            raise SlideError(f"TIAToolbox could not read it ({type(error).__name__})") from error

    def close(self) -> None:
        inner = getattr(self._wsi, "openslide_wsi", None)
        if inner is not None:
            inner.close()

    def _fetch(self, level: int, x: int, y: int, width: int, height: int) -> Image.Image:
        pixels = self._wsi.read_rect((x, y), (width, height), resolution=level, units="level")
        return Image.fromarray(np.ascontiguousarray(pixels[..., :3], dtype=np.uint8))


def _no_inference(objective_power: Any, mpp: Any) -> tuple[Any, Any]:
    return objective_power, mpp
