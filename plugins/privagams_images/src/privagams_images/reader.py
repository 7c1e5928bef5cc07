"""Which format a plain image has, told by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from privagams.reading.plain import PlainSlide, open_plain
from privagams_images.settings import ImagesSettings

TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@frozen
class ImagesReader:
    """Opens PNG, JPEG, TIFF (its first page) and DICOM images of one frame.

    Guarantee: nothing but pixels, size and resolution gets out: no tag, no comment, no other page or frame.
    `test_nothing_but_pixels_gets_past_a_reader` fails without it.
    """

    _settings: ImagesSettings = field(factory=ImagesSettings, alias="settings")

    def open(self, path: Path) -> PlainSlide:
        with path.open("rb") as file:
            start = file.read(132)
        if start[128:] == b"DICM":
            from privagams_images.dicom import open_dicom

            return open_dicom(path, self._settings)
        if start.startswith(TIFF):
            from privagams_images.tiff import open_tiff

            return open_tiff(path, self._settings.max_megapixels)
        return open_plain(path, self._settings.max_megapixels)
