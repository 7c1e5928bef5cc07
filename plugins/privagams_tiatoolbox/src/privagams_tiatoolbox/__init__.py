"""Whole-slide formats for PRIVAGAMS, through TIAToolbox."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from privagams.component import Component
from privagams_tiatoolbox.settings import TiatoolboxSettings

if TYPE_CHECKING:
    from privagams.roles import Reader

hookimpl = pluggy.HookimplMarker("privagams")


def build_tiatoolbox(settings: TiatoolboxSettings) -> Reader:
    from privagams_tiatoolbox.reader import TiatoolboxReader

    return TiatoolboxReader(settings)


@hookimpl
def privagams_readers() -> Iterable[Component[Reader]]:
    yield Component(
        "tiatoolbox",
        "Whole-slide formats that TIAToolbox's WSIReader knows (SVS, OME-TIFF, JP2, DICOM, NGFF, …).",
        build_tiatoolbox,
        TiatoolboxSettings,
    )
