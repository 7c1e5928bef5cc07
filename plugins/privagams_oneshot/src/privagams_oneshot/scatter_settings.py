"""Settings of `scatter`."""

from __future__ import annotations

from attrs import field, frozen, validators


@frozen
class ScatterSettings:
    """How the budget is split, what is asked of members, and how long the network is fitted to the answers."""

    steps: int = field(
        default=1200,
        validator=validators.ge(1),
        metadata={"doc": "optimiser steps of the fit; none of them touches members"},
    )
    whitening_share: float = field(
        default=0.3,
        validator=[validators.gt(0.0), validators.lt(1.0)],
        metadata={
            "doc": "share of the budget (of 1/sigma^2) that finds the coordinates; the rest is the target's"
        },
    )
    quadratic: bool = field(
        default=True,
        metadata={
            "doc": "ask also how pairs of features vary together; about half a million numbers per class"
        },
    )
    frequencies: int = field(
        default=1024,
        validator=validators.ge(8),
        metadata={"doc": "random frequencies of the Fourier block"},
    )
    textures: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(0)),
        metadata={
            "doc": "random patterns per scale of the texture block, which knows no places; 256 in colour, else 0"
        },
    )
    caution: float = field(
        default=0.0,
        validator=[validators.ge(0.0), validators.le(1.0)],
        metadata={
            "doc": "how far blocks that hold mostly noise are set aside: 0 not at all, 1 by Wiener's rule"
        },
    )
    batch: int = field(
        default=24,
        validator=validators.ge(2),
        metadata={"doc": "images drawn per class and step of the fit"},
    )
    learning_rate: float = field(
        default=2e-3,
        validator=validators.gt(0.0),
        metadata={"doc": "Adam's first step size; it falls to 0 over the fit"},
    )
    width: int = field(
        default=8,
        validator=validators.ge(4),
        metadata={"doc": "channels of the network at full resolution; twice as many at each coarser one"},
    )
    latent: int = field(
        default=32,
        validator=validators.ge(1),
        metadata={"doc": "length of the random vector behind each image"},
    )
    averaging: float = field(
        default=0.99,
        validator=[validators.ge(0.0), validators.lt(1.0)],
        metadata={"doc": "decay of the moving average of weights that images are drawn from"},
    )
    shift: int = field(
        default=1,
        validator=validators.ge(0),
        metadata={
            "doc": "px by which each drawn image is moved at most, at random; spoils marks that only a machine sees"
        },
    )
