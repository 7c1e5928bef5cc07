"""Whole-slide formats for PRIVAGAMS, through OpenSlide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from privagams.component import Component
from privagams_openslide.settings import OpenSlideSettings

if TYPE_CHECKING:
    from privagams.roles import Reader

hookimpl = pluggy.HookimplMarker("privagams")


def build_openslide(settings: OpenSlideSettings) -> Reader:
    from privagams_openslide.reader import OpenSlideReader

    return OpenSlideReader(settings)


@hookimpl
def privagams_readers() -> Iterable[Component[Reader]]:
    yield Component(
        "openslide",
        "Whole-slide formats (SVS, pyramidal TIFF, DICOM, …) through OpenSlide; and PNG or JPEG regions.",
        build_openslide,
        OpenSlideSettings,
    )
