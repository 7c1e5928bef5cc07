"""Plain images and DICOM X-rays for PRIVAGAMS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from privagams.component import Component
from privagams_images.settings import ImagesSettings

if TYPE_CHECKING:
    from privagams.roles import Reader

hookimpl = pluggy.HookimplMarker("privagams")


def build_images(settings: ImagesSettings) -> Reader:
    from privagams_images.reader import ImagesReader

    return ImagesReader(settings)


@hookimpl
def privagams_readers() -> Iterable[Component[Reader]]:
    yield Component("images", "PNG, JPEG and TIFF images, and DICOM X-rays.", build_images, ImagesSettings)
