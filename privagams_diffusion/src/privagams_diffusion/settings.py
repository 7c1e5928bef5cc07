"""What may be set about a diffusion model, and within which bounds."""

from typing import Any, Literal

from attrs import Attribute, field, frozen, validators

NORM_GROUPS = 8
"""Groups of every GroupNorm; each width is a multiple of it."""


def _multiples_of_groups(_: Any, __: "Attribute[tuple[int, ...]]", widths: tuple[int, ...]) -> None:
    if not widths or any(width <= 0 or width % NORM_GROUPS for width in widths):
        raise ValueError(
            f"expected at least one width, each a positive multiple of {NORM_GROUPS}, "
            f"found {widths}; write for example [32, 64]"
        )


@frozen
class DiffusionSettings:
    """Settings of `diffusion`; the defaults suit 32 to 64 px on a few processor cores."""

    steps: int = field(
        default=2000, validator=validators.gt(0), metadata={"doc": "training steps (one batch each)"}
    )
    batch: int = field(
        default=32,
        validator=validators.gt(0),
        metadata={"doc": "images per step; a mechanism sets its own"},
    )
    learning_rate: float = field(
        default=2e-3, validator=validators.gt(0), metadata={"doc": "step size of the optimiser"}
    )
    ema: float = field(
        default=0.995,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "decay per step of the moving average that becomes the model; 0 for none"},
    )
    channels: tuple[int, ...] = field(
        default=(32, 64),
        validator=_multiples_of_groups,
        metadata={"doc": "widths of the U-Net, one per resolution, each half of the one before"},
    )
    layers: int = field(
        default=1,
        validator=validators.gt(0),
        metadata={"doc": "residual blocks per resolution on the way down"},
    )
    patch: int = field(
        default=2,
        validator=validators.gt(0),
        metadata={"doc": "the U-Net sees patch × patch px as one position; 1 is slower and finer"},
    )
    attention: bool = field(default=True, metadata={"doc": "self-attention at the lowest resolution"})
    timesteps: int = field(
        default=1000, validator=validators.ge(2), metadata={"doc": "noise levels in training"}
    )
    schedule: Literal["cosine", "linear"] = field(
        default="cosine",
        validator=validators.in_(("cosine", "linear")),
        metadata={"doc": "how noise grows over the timesteps"},
    )
    prediction: Literal["v", "epsilon"] = field(
        default="v",
        validator=validators.in_(("v", "epsilon")),
        metadata={"doc": "what the network predicts: velocity or noise"},
    )
    sampling_steps: int = field(
        default=25, validator=validators.gt(0), metadata={"doc": "DDIM steps per drawn image"}
    )
    sampling_batch: int = field(
        default=64, validator=validators.gt(0), metadata={"doc": "images drawn at once"}
    )
    label_dropout: float = field(
        default=0.0,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "share of labels hidden in training; above 0 where guidance is used"},
    )
    guidance: float = field(
        default=1.0,
        validator=validators.ge(1),
        metadata={"doc": "classifier-free guidance; 1 for none, more doubles the time of drawing"},
    )

    def __attrs_post_init__(self) -> None:
        if self.sampling_steps > self.timesteps:
            raise ValueError(
                f"sampling_steps: expected at most timesteps ({self.timesteps}), "
                f"found {self.sampling_steps}; lower sampling_steps or raise timesteps"
            )
        if self.guidance != 1 and self.label_dropout == 0:
            raise ValueError(
                f"guidance: {self.guidance} needs a network that has also seen hidden labels, "
                "found label_dropout = 0; set label_dropout to about 0.1, or guidance to 1"
            )
