"""GLOW, an invertible generator, for PRIVAGAMS; importing this loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from privagams import Component, hookimpl
from privagams_glow.settings import GlowSettings

if TYPE_CHECKING:
    from privagams.roles import Generator

__all__ = ["GlowSettings", "privagams_generators"]


def build_glow(settings: GlowSettings) -> Generator:
    from privagams_glow.model import Glow

    return Glow(settings)


@hookimpl
def privagams_generators() -> Iterable[Component[Generator]]:
    yield Component(
        name="glow",
        summary="Multi-scale GLOW: exact likelihood, and latent vectors that local mechanisms can randomise.",
        build=build_glow,
        settings=GlowSettings,
        training="gradients",
        encodes=True,
    )
