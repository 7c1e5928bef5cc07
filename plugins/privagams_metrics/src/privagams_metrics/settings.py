"""What may be set about embedders and metrics, and within which bounds."""

from __future__ import annotations

from typing import Any

from attrs import Attribute, field, frozen, validators

from privagams.component import Use, uses


def _all_positive(_: Any, attribute: Attribute[Any], values: tuple[float, ...]) -> None:
    if min(values) <= 0:
        raise ValueError(f"expected numbers above 0, found {list(values)}; give the standard deviations")


@frozen
class WeightsSettings:
    """Settings of `weights`."""

    model: str = field(metadata={"doc": 'timm\'s name of the architecture, such as "resnet18"'})
    file: str = field(metadata={"doc": "the weights, a .safetensors file", "path": True})
    sha256: str | None = field(
        default=None, metadata={"doc": "the file's checksum; the run stops where it differs"}
    )
    size: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(16)),
        metadata={"doc": "px to which images are resized; the model's own where left out"},
    )
    mean: tuple[float, ...] | None = field(
        default=None,
        validator=validators.optional(validators.min_len(3)),
        metadata={"doc": "subtracted from red, green, blue in [0, 1]; the model's own where left out"},
    )
    std: tuple[float, ...] | None = field(
        default=None,
        validator=validators.optional(validators.and_(validators.min_len(3), _all_positive)),
        metadata={"doc": "divides red, green, blue; the model's own where left out"},
    )
    batch: int = field(default=32, validator=validators.gt(0), metadata={"doc": "images embedded at once"})


@frozen
class KidSettings:
    """Settings of `kid`."""

    embedder: Use = uses("embedders", "texture")
    images: int = field(
        default=5000,
        validator=validators.ge(2),
        metadata={"doc": "most images taken of either side, chosen at random"},
    )
    degree: int = field(
        default=3, validator=validators.ge(1), metadata={"doc": "degree of the polynomial kernel"}
    )
    resamples: int = field(
        default=1000,
        validator=validators.ge(100),
        metadata={"doc": "resamples of patients behind an interval"},
    )


@frozen
class DownstreamSettings:
    """Settings of `downstream-accuracy`."""

    steps: int = field(
        default=400, validator=validators.gt(0), metadata={"doc": "training steps of the classifier"}
    )
    batch: int = field(default=64, validator=validators.gt(1), metadata={"doc": "images per step"})
    learning_rate: float = field(
        default=3e-3, validator=validators.gt(0), metadata={"doc": "highest step size of the optimiser"}
    )
    side: int = field(
        default=32,
        validator=validators.ge(8),
        metadata={"doc": "px to which larger images are averaged down before classifying"},
    )
    resamples: int = field(
        default=1000,
        validator=validators.ge(100),
        metadata={"doc": "resamples of patients behind an interval"},
    )


@frozen
class PathologyAucSettings:
    """Settings of `pathology-auc`."""

    positive: str = field(
        validator=validators.min_len(1),
        metadata={"doc": "the label that counts as disease, against all others"},
    )
    trainings: int = field(
        default=3, validator=validators.ge(1), metadata={"doc": "classifiers trained and averaged"}
    )
    steps: int = field(
        default=400, validator=validators.gt(0), metadata={"doc": "training steps of a classifier"}
    )
    batch: int = field(default=64, validator=validators.gt(1), metadata={"doc": "images per step"})
    learning_rate: float = field(
        default=3e-3, validator=validators.gt(0), metadata={"doc": "highest step size of the optimiser"}
    )
    side: int = field(
        default=32,
        validator=validators.ge(8),
        metadata={"doc": "px to which larger images are averaged down before classifying"},
    )
    resamples: int = field(
        default=1000,
        validator=validators.ge(100),
        metadata={"doc": "resamples of patients behind an interval"},
    )
