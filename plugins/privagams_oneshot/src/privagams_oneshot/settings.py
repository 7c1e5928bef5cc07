"""Settings of `dp-merf`."""

from __future__ import annotations

from attrs import field, frozen, validators


@frozen
class DpMerfSettings:
    """How much is asked of members, and how long the network is fitted to the answer."""

    steps: int = field(
        default=1000,
        validator=validators.ge(1),
        metadata={"doc": "optimiser steps of the fit; none of them touches members"},
    )
    features: int = field(
        default=256,
        validator=validators.ge(8),
        metadata={
            "doc": "random frequencies of each feature block; more see finer differences, and each is noisier"
        },
    )
    batch: int = field(
        default=16,
        validator=validators.ge(2),
        metadata={"doc": "images drawn per class and step of the fit"},
    )
    learning_rate: float = field(
        default=5e-3,
        validator=validators.gt(0.0),
        metadata={"doc": "Adam's first step size; it falls to 0 over the fit"},
    )
    width: int = field(
        default=16,
        validator=validators.ge(4),
        metadata={
            "doc": "channels of the network at full resolution; coarser layers have up to 4 times as many"
        },
    )
    latent: int = field(
        default=32,
        validator=validators.ge(1),
        metadata={"doc": "length of the random vector behind each image's layout and stain"},
    )
    averaging: float = field(
        default=0.99,
        validator=[validators.ge(0.0), validators.lt(1.0)],
        metadata={"doc": "decay of the moving average of weights that images are drawn from"},
    )
