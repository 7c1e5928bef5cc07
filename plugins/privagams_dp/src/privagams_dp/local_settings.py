"""Which figures a user may set for each local mechanism, with bounds and units."""

from __future__ import annotations

import math
from typing import Any, Literal

from attrs import field, frozen, validators

_TOTAL = "what one patient can lose by all its released images and labels together, nat"
_SINGLE = "in place of epsilon: ε of one coordinate, nat; the claim is for all of them together"
_LABEL = "taken out of ε for the label of each image, nat; 0 withholds labels"
_SHRINK = "scale noisy vectors back to the spread of latent vectors; costs nothing"


def _positive(_: object, attribute: Any, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"'{attribute.name}' must be a finite number above 0: {value!r}")


def _not_negative(_: object, attribute: Any, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"'{attribute.name}' must be a finite number of at least 0: {value!r}")


def _probability(_: object, attribute: Any, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"'{attribute.name}' must be above 0 and below 1: {value!r}")


def _exactly_one(epsilon: float | None, per_element_epsilon: float | None) -> None:
    if (epsilon is None) == (per_element_epsilon is None):
        found = "neither" if epsilon is None else "both"
        raise ValueError(
            "expected either epsilon (of one patient, in total) or per_element_epsilon (of one coordinate), "
            f"found {found}; state one of them"
        )


@frozen
class LatentLaplaceSettings:
    """Settings of `latent-laplace`."""

    epsilon: float | None = field(
        default=None, validator=validators.optional(_positive), metadata={"doc": _TOTAL}
    )
    per_element_epsilon: float | None = field(
        default=None, validator=validators.optional(_positive), metadata={"doc": _SINGLE}
    )
    clip: float = field(
        default=3.0,
        validator=_positive,
        metadata={"doc": "largest size of a coordinate, in standard deviations; never taken from the data"},
    )
    label_epsilon: float = field(default=0.0, validator=_not_negative, metadata={"doc": _LABEL})
    shrink: bool = field(default=True, metadata={"doc": _SHRINK})

    def __attrs_post_init__(self) -> None:
        _exactly_one(self.epsilon, self.per_element_epsilon)


@frozen
class PixelLaplaceSettings:
    """Settings of `pixel-laplace`."""

    epsilon: float | None = field(
        default=None, validator=validators.optional(_positive), metadata={"doc": _TOTAL}
    )
    per_element_epsilon: float | None = field(
        default=None, validator=validators.optional(_positive), metadata={"doc": _SINGLE}
    )
    label_epsilon: float = field(default=0.0, validator=_not_negative, metadata={"doc": _LABEL})

    def __attrs_post_init__(self) -> None:
        _exactly_one(self.epsilon, self.per_element_epsilon)


@frozen
class LatentGaussianSettings:
    """Settings of `latent-gaussian`."""

    epsilon: float = field(validator=_positive, metadata={"doc": _TOTAL})
    delta: float = field(
        validator=_probability,
        metadata={"doc": "probability with which ε may be exceeded; well below 1 / patients"},
    )
    clip: float = field(
        default=1.05,
        validator=_positive,
        metadata={"doc": "largest L2 norm of a vector of d coordinates, in units of √d; never from the data"},
    )
    label_epsilon: float = field(default=0.0, validator=_not_negative, metadata={"doc": _LABEL})
    shrink: bool = field(default=True, metadata={"doc": _SHRINK})


@frozen
class LatentTopkSettings:
    """Settings of `latent-topk`."""

    epsilon: float = field(validator=_positive, metadata={"doc": _TOTAL})
    delta: float | None = field(
        default=None,
        validator=validators.optional(_probability),
        metadata={"doc": "probability with which ε may be exceeded; needed with Gaussian noise only"},
    )
    k: int = field(
        default=16,
        validator=validators.ge(1),
        metadata={"doc": "coordinates that carry the image; all others are drawn anew"},
    )
    noise: Literal["gaussian", "laplace"] = field(
        default="gaussian",
        validator=validators.in_(("gaussian", "laplace")),
        metadata={"doc": "which noise the k coordinates get"},
    )
    clip: float | None = field(
        default=None,
        validator=validators.optional(_positive),
        metadata={
            "doc": "as in latent-gaussian (1.05) or latent-laplace (3), by the noise; never from the data"
        },
    )
    label_epsilon: float = field(default=0.0, validator=_not_negative, metadata={"doc": _LABEL})
    shrink: bool = field(default=True, metadata={"doc": _SHRINK})

    def __attrs_post_init__(self) -> None:
        if (self.noise == "gaussian") != (self.delta is not None):
            needs = "state one, such as 1e-6" if self.delta is None else "leave it out"
            raise ValueError(
                f"delta: expected with Gaussian noise and only there, noise is {self.noise!r}; {needs}"
            )
