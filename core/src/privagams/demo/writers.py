"""How a drawn slide becomes a pyramidal TIFF, DICOM slide or PNG. Equal input, equal bytes."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from privagams.demo.canvas import averaged
from privagams.errors import StageError

Format = Literal["tiff", "dicom", "png"]
Image = NDArray[np.uint8]

_TILE = 256
_QUALITY = 88
_DOWNSAMPLE = 4


@frozen
class Caption:
    """What a careless export writes into a slide's headers: made-up personal data."""

    patient_id: str
    name: str
    birth_date: str
    slide_id: str
    date: str
    """YYYY-MM-DD."""

    @property
    def text(self) -> str:
        return (
            f"Patient = {self.patient_id}|Name = {self.name}|Born = {self.birth_date}|Slide = {self.slide_id}"
        )


def write(kind: Format, folder: Path, image: Image, mpp: float, caption: Caption) -> Path:
    """Write one slide into `folder`, named after the patient; return the file to open."""
    return _WRITERS[kind](folder, image, mpp, caption)


def require_packages() -> None:
    """Raise `StageError` unless everything that the three formats need is installed."""
    for name in ("tifffile", "imagecodecs", "pydicom"):
        _package(name)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StageError(
            f'demo: expected the package {name}, found none; install it with: pip install "privagams[demo]"'
        ) from error


def _tiff(folder: Path, image: Image, mpp: float, caption: Caption) -> Path:
    tifffile = _package("tifffile")
    path = folder / f"{caption.slide_id}.tiff"
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate((image, averaged(image, _DOWNSAMPLE))):
            per_cm = 1e4 / (mpp * _DOWNSAMPLE**number)
            file.write(
                level,
                photometric="rgb",
                tile=(_TILE, _TILE),
                compression="jpeg",
                compressionargs={"level": _QUALITY},
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                # The first bit marks a smaller version of another page.
                subfiletype=1 if number else 0,
                description=caption.text if number == 0 else None,
                metadata=None,
                software=False,
            )
    return path


def _png(folder: Path, image: Image, mpp: float, caption: Caption) -> Path:
    from PIL import Image as pillow
    from PIL.PngImagePlugin import PngInfo

    path = folder / f"{caption.slide_id}.png"
    info = PngInfo()
    info.add_text("Description", caption.text)
    pillow.fromarray(image).save(path, pnginfo=info, compress_level=1)
    return path


def _dicom(folder: Path, image: Image, mpp: float, caption: Caption) -> Path:
    """One folder per slide, one file per level; any of them opens the whole slide."""
    slide = folder / caption.slide_id
    slide.mkdir(exist_ok=True)
    for number, level in enumerate((image, averaged(image, _DOWNSAMPLE))):
        spacing = mpp * _DOWNSAMPLE**number
        instance = _dicom_level(level, number, spacing, caption)
        instance.save_as(slide / f"{caption.slide_id}-level{number}.dcm", enforce_file_format=True)
    return slide / f"{caption.slide_id}-level0.dcm"


def _dicom_level(level: Image, number: int, mpp: float, caption: Caption) -> Any:
    dataset = _package("pydicom.dataset")
    uid = _package("pydicom.uid")
    encapsulate = _package("pydicom.encaps").encapsulate
    frames = _frames(level)
    result = dataset.Dataset()
    result.file_meta = meta = dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID = uid.VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID = _uid(caption, f"level{number}")
    meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    _describe(result, caption)
    result.InstanceNumber = number + 1
    kind = "RESAMPLED" if number else "NONE"
    result.ImageType = ["DERIVED" if number else "ORIGINAL", "PRIMARY", "VOLUME", kind]
    result.SamplesPerPixel, result.PhotometricInterpretation, result.PlanarConfiguration = (
        3,
        "YBR_FULL_422",
        0,
    )
    result.BitsAllocated, result.BitsStored, result.HighBit, result.PixelRepresentation = 8, 8, 7, 0
    result.Rows = result.Columns = _TILE
    result.NumberOfFrames = len(frames)
    result.TotalPixelMatrixRows, result.TotalPixelMatrixColumns = level.shape[:2]
    result.TotalPixelMatrixFocalPlanes = 1
    result.DimensionOrganizationType = "TILED_FULL"
    result.ImagedVolumeHeight, result.ImagedVolumeWidth = (side * mpp / 1000 for side in level.shape[:2])
    result.ImagedVolumeDepth = 0.004
    result.SharedFunctionalGroupsSequence = [_spacing(dataset.Dataset, mpp)]
    result.LossyImageCompression, result.LossyImageCompressionMethod = "01", "ISO_10918_1"
    result.BurnedInAnnotation, result.VolumetricProperties = "NO", "VOLUME"
    result.PixelData = encapsulate(frames)
    result["PixelData"].is_undefined_length = True
    return result


def _describe(result: Any, caption: Caption) -> None:
    """Patient, study and series, as a hospital's archive would fill them in."""
    result.PatientID, result.PatientName = caption.patient_id, caption.name
    result.PatientBirthDate, result.PatientSex = caption.birth_date.replace("-", ""), "O"
    result.StudyDate = result.ContentDate = result.AcquisitionDateTime = caption.date.replace("-", "")
    result.StudyTime = result.ContentTime = "120000"
    result.StudyInstanceUID, result.SeriesInstanceUID = _uid(caption, "study"), _uid(caption, "series")
    result.FrameOfReferenceUID = _uid(caption, "frame")
    result.AccessionNumber = result.StudyID = caption.slide_id[:16]
    result.ReferringPhysicianName, result.Manufacturer = "", "Invented"
    result.ManufacturerModelName, result.DeviceSerialNumber = "Invented", "0"
    result.SoftwareVersions, result.SeriesNumber, result.Modality = "0", 1, "SM"
    result.ContainerIdentifier = result.BarcodeValue = caption.slide_id
    result.LabelText = caption.text


def _spacing(dataset: Callable[[], Any], mpp: float) -> Any:
    measures, group = dataset(), dataset()
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    measures.SliceThickness = 0.004
    group.PixelMeasuresSequence = [measures]
    return group


def _frames(level: Image) -> list[bytes]:
    """JPEG tiles, row by row; the last ones are filled up with glass."""
    encode = _package("imagecodecs").jpeg8_encode
    height, width = level.shape[:2]
    full = np.pad(level, ((0, -height % _TILE), (0, -width % _TILE), (0, 0)), constant_values=244)
    corners = [(y, x) for y in range(0, height, _TILE) for x in range(0, width, _TILE)]
    tiles = (np.ascontiguousarray(full[y : y + _TILE, x : x + _TILE]) for y, x in corners)
    return [bytes(encode(tile, level=_QUALITY, subsampling="422")) for tile in tiles]


def _uid(caption: Caption, part: str) -> str:
    """A unique identifier in the form that DICOM derives from a UUID (PS3.5, B.2)."""
    digest = hashlib.sha256(f"{caption.slide_id}/{part}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


_WRITERS: Mapping[Format, Callable[[Path, Image, float, Caption], Path]] = MappingProxyType(
    {"tiff": _tiff, "dicom": _dicom, "png": _png}
)
