"""What may be set about GLOW, and within which bounds."""

from typing import Literal

from attrs import field, frozen, validators


@frozen
class GlowSettings:
    """Settings of `glow`; the defaults suit grey images of 64 px on two processor cores."""

    steps: int = field(
        default=600,
        validator=validators.gt(0),
        metadata={"doc": "training steps (one batch each); with more than 600, have more than 500 images"},
    )
    batch: int = field(
        default=32,
        validator=validators.gt(0),
        metadata={"doc": "images per step; a mechanism sets its own"},
    )
    learning_rate: float = field(
        default=1e-3, validator=validators.gt(0), metadata={"doc": "step size of the optimiser"}
    )
    weight_decay: float = field(
        default=1e-3,
        validator=validators.ge(0),
        metadata={"doc": "decay of the weights per step, as a share of the step size"},
    )
    ema: float = field(
        default=0.995,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "decay per step of the moving average that becomes the model; 0 for none"},
    )
    train_on: Literal["members", "reference"] = field(
        default="members",
        validator=validators.in_(("members", "reference")),
        metadata={"doc": "whose images it learns from: members, or the public reference"},
    )
    levels: int | None = field(
        default=None,
        validator=validators.optional(validators.gt(0)),
        metadata={"doc": "scales, each half the size of the one before; as many as leave 4 px if not given"},
    )
    depth: int = field(default=8, validator=validators.gt(0), metadata={"doc": "flow steps per level"})
    width: int = field(
        default=64, validator=validators.gt(0), metadata={"doc": "hidden channels of a coupling network"}
    )
    label_dropout: float = field(
        default=0.1,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "share of labels hidden in training, so that images without a label are known too"},
    )
    temperature: float = field(
        default=1.0,
        validator=validators.gt(0),
        metadata={"doc": "standard deviation of the latents of drawn images; below 1 smoother, less varied"},
    )
