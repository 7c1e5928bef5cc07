"""Diffusion generators for PRIVAGAMS; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from privagams import Component, hookimpl
from privagams_diffusion.settings import DiffusionSettings

if TYPE_CHECKING:
    from privagams.roles import Generator

__all__ = ["DiffusionSettings", "privagams_generators"]


def build_diffusion(settings: DiffusionSettings) -> Generator:
    from privagams_diffusion.model import Diffusion

    return Diffusion(settings)


@hookimpl
def privagams_generators() -> Iterable[Component[Generator]]:
    yield Component(
        name="diffusion",
        summary="Denoising diffusion on pixels with a small U-Net, by class where classes are public.",
        build=build_diffusion,
        settings=DiffusionSettings,
        training="gradients",
    )
