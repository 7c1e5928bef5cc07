"""How timm is imported where torchvision is missing.

timm's networks need nothing of torchvision, but its data pipelines import it at the top, and for some builds
of torch there is no torchvision. Only while timm is imported, names it asks torchvision for are answered by
empty classes; afterwards torchvision is as absent as before, so nothing else mistakes the stand-in for it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any

_ABSENT = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.feature_extraction",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.utils",
)


class _Interpolation(Enum):
    """timm lists these when it is imported."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Interpolation if name == "InterpolationMode" else type(name, (), {})
        setattr(self, name, made)
        return made


def import_timm() -> ModuleType:
    """Import timm, with or without torchvision."""
    if "timm" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return importlib.import_module("timm")
    with _standing_in():
        return importlib.import_module("timm")


@contextmanager
def _standing_in() -> Iterator[None]:
    modules = {name: _StandIn(name) for name in _ABSENT}
    for name, module in modules.items():
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in _ABSENT:
            del sys.modules[name]
