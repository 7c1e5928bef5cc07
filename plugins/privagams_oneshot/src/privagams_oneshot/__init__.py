"""One-shot generators for PRIVAGAMS: what this plugin offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from privagams.component import Component
from privagams_oneshot.scatter_settings import ScatterSettings
from privagams_oneshot.settings import DpMerfSettings

if TYPE_CHECKING:
    from privagams.roles import Generator

hookimpl = pluggy.HookimplMarker("privagams")


def build_dp_merf(settings: DpMerfSettings) -> Generator:
    from privagams_oneshot.model import DpMerf

    return DpMerf(settings)


def build_scatter(settings: ScatterSettings) -> Generator:
    from privagams_oneshot.scatter import Scatter

    return Scatter(settings)


@hookimpl
def privagams_generators() -> Iterable[Component[Generator]]:
    yield Component(
        "dp-merf",
        "A convolutional network fitted to one noisy sum of patients' random features; needs few patients.",
        build_dp_merf,
        DpMerfSettings,
        training="summary",
    )
    yield Component(
        "scatter",
        "A network fitted to two noisy sums of patients' wavelet features; sharp small images on a small machine.",
        build_scatter,
        ScatterSettings,
        training="summary",
    )
