"""How stored DICOM values become the grey that a radiologist would see."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from privagams.errors import SlideError
from privagams.reading.plain import PlainSlide, check_size, grey_image
from privagams_images.settings import ImagesSettings


def open_dicom(path: Path, settings: ImagesSettings) -> PlainSlide:
    """Open a DICOM image of one frame (CR, DX, MG, secondary capture)."""
    header = _read(path, stop_before_pixels=True)
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise SlideError("format: expected one frame; whole-slide DICOM is for the openslide reader")
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES" and not settings.burned_in:
        raise SlideError(
            "it says that text is burned into its pixels; blank it out, or set the reader's burned_in = true "
            "if that text names nobody"
        )
    size = (int(header.get("Columns") or 0), int(header.get("Rows") or 0))
    check_size(*size, settings.max_megapixels)
    return PlainSlide(size, _mpp(header), lambda: _decode(path))


def _read(path: Path, stop_before_pixels: bool) -> Dataset:
    with warnings.catch_warnings():
        # Warnings of pydicom quote the values of faulty tags, and these may name a patient.
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
        except Exception as error:  # any kind, on damaged files; the text may quote tags
            raise SlideError("a damaged DICOM file") from error


def _mpp(header: Dataset) -> float | None:
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    if not spacing or len(spacing) != 2:
        return None
    down, across = (float(value) * 1000 for value in spacing)
    return across if across > 0 and abs(across - down) <= 0.02 * across else None


def _decode(path: Path) -> Image.Image:
    dataset = _read(path, stop_before_pixels=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = pixel_array(dataset)
            shown = _grey if dataset.PhotometricInterpretation.startswith("MONO") else _colour
            return shown(stored, dataset)
        except SlideError:
            raise
        except Exception as error:
            raise SlideError("a DICOM file whose pixels cannot be decoded") from error


def _colour(stored: np.ndarray, dataset: Dataset) -> Image.Image:
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.dtype == np.uint16:
        stored = (stored >> max(0, stored.max().item().bit_length() - 8)).astype(np.uint8)
    return Image.fromarray(stored).convert("RGB")


def _grey(stored: np.ndarray, dataset: Dataset) -> Image.Image:
    """Rescale (modality), then window (VOI), then turn round what is stored with white as 0."""
    values = apply_modality_lut(stored, dataset)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        image = _from_share(apply_voi(values.astype(np.int64), dataset) / (2**bits - 1))
    elif dataset.get("WindowWidth") not in (None, "") and dataset.get("WindowCenter") not in (None, ""):
        image = _from_share(_window(values, dataset))
    else:
        image = grey_image(values.astype(np.float32), _not_padding(stored, dataset))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        return image.point(lambda value: 255 - value)
    return image


def _window(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The file's first window, to 0 to 1 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = (_first(dataset[name].value) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    values = values.astype(np.float64)
    if function == "SIGMOID" and width > 0:
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT" and width > 0:
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _not_padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    padding = dataset.get("PixelPaddingValue")
    return None if padding is None else stored != int(padding)


def _from_share(share: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)).convert("RGB")


def _first(value: object) -> float:
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)  # type: ignore[arg-type]
