"""The hooks through which plugins offer components; entry-point group `privagams`.

Each hook takes nothing and yields `Component` records. Results never depend on load order: components are
selected by name, and one name offered twice is an error that names both distributions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from privagams.component import Component
    from privagams.roles import Attack, Embedder, Generator, Mechanism, Metric, Reader

hookspec = pluggy.HookspecMarker("privagams")


@hookspec
def privagams_readers() -> Iterable[Component[Reader]]:  # type: ignore[empty-body]
    """Yield readers: they open image files as slides."""


@hookspec
def privagams_generators() -> Iterable[Component[Generator]]:  # type: ignore[empty-body]
    """Yield generators: learnt models that draw images."""


@hookspec
def privagams_mechanisms() -> Iterable[Component[Mechanism]]:  # type: ignore[empty-body]
    """Yield mechanisms: they make a computation differentially private and say what it cost."""


@hookspec
def privagams_embedders() -> Iterable[Component[Embedder]]:  # type: ignore[empty-body]
    """Yield embedders: they turn images into feature vectors."""


@hookspec
def privagams_attacks() -> Iterable[Component[Attack]]:  # type: ignore[empty-body]
    """Yield attacks: they turn what an adversary may see into scores."""


@hookspec
def privagams_metrics() -> Iterable[Component[Metric]]:  # type: ignore[empty-body]
    """Yield metrics: they measure utility or fidelity of a release."""
