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


def _choice(default: str, names: tuple[str, ...], doc: str) -> Any:
    return field(default=default, validator=validators.in_(names), metadata={"doc": doc})


def _count(default: int, doc: str, least: int = 1) -> Any:
    return field(default=default, validator=validators.ge(least), metadata={"doc": doc})


def _positive(default: float, doc: str) -> Any:
    return field(default=default, validator=validators.gt(0), metadata={"doc": doc})


@frozen
class DiffusionSettings:
    """Settings of `diffusion`; the defaults suit 28 to 64 px on a few processor cores."""

    steps: int = _count(2000, "training steps on members (one batch each)")
    batch: int = _count(32, "images per step; a mechanism sets its own for members")
    learning_rate: float = _positive(2e-3, "step size of the optimiser on members")
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
    layers: int = _count(1, "residual blocks per resolution on the way down")
    patch: int = _count(2, "the U-Net sees patch × patch px as one position; 1 is slower and finer")
    attention: bool = field(default=True, metadata={"doc": "self-attention at the lowest resolution"})
    precision: Literal["float32", "bf16"] = _choice(
        "float32",
        ("float32", "bf16"),
        "numbers inside the network; bf16 is for GPUs, and slower on processors",
    )

    prediction: Literal["v", "epsilon", "edm"] = _choice(
        "v", ("v", "epsilon", "edm"), "what the network predicts: velocity, noise, or as in EDM the image"
    )
    timesteps: int = _count(
        1000, "noise levels in training; for edm, those an outside party can ask about", 2
    )
    schedule: Literal["cosine", "linear"] = _choice(
        "cosine", ("cosine", "linear"), "how noise grows over the timesteps; not for edm"
    )
    p_mean: float = field(default=-1.2, metadata={"doc": "edm: mean of ln σ in training"})
    p_std: float = _positive(1.2, "edm: standard deviation of ln σ in training")
    sigma_data: float = _positive(0.5, "edm: assumed standard deviation of pixels on the scale [-1, 1]")
    label_dropout: float = field(
        default=0.0,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "share of labels hidden in training; above 0 where guidance is used"},
    )

    sampler: Literal["ddim", "heun"] = _choice(
        "ddim",
        ("ddim", "heun"),
        "way from noise to image; heun is of second order, at two network calls per step",
    )
    sampling_steps: int = _count(25, "steps per drawn image")
    sampling_batch: int = _count(64, "images drawn at once")
    guidance: float = field(
        default=1.0,
        validator=validators.ge(1),
        metadata={"doc": "classifier-free guidance; 1 for none, more doubles the time of drawing"},
    )
    sigma_min: float = _positive(0.002, "least noise of heun and edm, on the scale of pixels")
    sigma_max: float = _positive(80.0, "most noise of heun and edm, on the scale of pixels")
    rho: float = _positive(7.0, "heun and edm: how much denser steps are where there is little noise")

    train_on: Literal["members", "reference"] = _choice(
        "members",
        ("members", "reference"),
        "whose images the last phase learns from; weights learnt from the reference alone can be a start elsewhere",
    )
    start: str | None = field(
        default=None,
        metadata={"doc": "weights learnt from public data to begin with, a .safetensors file", "path": True},
    )
    start_public: bool = field(
        default=False,
        metadata={
            "doc": "start: your word that all whom those weights learnt from are public, without any claim"
        },
    )
    start_sha256: str | None = field(
        default=None, metadata={"doc": "that file's checksum; the run stops where it differs"}
    )
    pretrain: int = _count(0, "steps on the public reference before members are seen", 0)
    pretrain_learning_rate: float = _positive(2e-3, "step size of the optimiser on the reference")
    tune: Literal["all", "attention", "lora"] = _choice(
        "all",
        ("all", "attention", "lora"),
        "what members train: all weights, attention only, or adapters beside it",
    )
    lora_rank: int = _count(4, "lora: rank of each adapter")
    lora_convs: bool = field(default=False, metadata={"doc": "lora: adapters beside convolutions too"})

    warmup: int = _count(0, "steps on noisy mean images of members, before members are trained on", 0)
    warmup_learning_rate: float = _positive(2e-3, "step size of the optimiser in the warm-up")
    central_images: int = _count(20, "warm-up: noisy mean images per class")
    central_share: float = field(
        default=0.1,
        validator=[validators.gt(0), validators.lt(1)],
        metadata={"doc": "warm-up: share of the privacy budget (of 1/σ²) for the mean images"},
    )
    central_size: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(2)),
        metadata={
            "doc": "warm-up: px of the mean images; half the size, or less, to at most 16, if not given"
        },
    )
    central_shift: int = _count(1, "warm-up: mean images are shifted by up to so many px each way", 0)

    def __attrs_post_init__(self) -> None:
        faults = [*_sampling_faults(self), *_tuning_faults(self)]
        if faults:
            raise ValueError("; ".join(faults))


def _sampling_faults(given: DiffusionSettings) -> list[str]:
    faults = []
    if given.sampler == "ddim" and given.sampling_steps > given.timesteps:
        faults.append(
            f"sampling_steps: expected at most timesteps ({given.timesteps}), "
            f"found {given.sampling_steps}; lower sampling_steps or raise timesteps"
        )
    if given.guidance != 1 and given.label_dropout == 0:
        faults.append(
            f"guidance: {given.guidance} needs a network that has also seen hidden labels, "
            "found label_dropout = 0; set label_dropout to about 0.1, or guidance to 1"
        )
    if given.sigma_min >= given.sigma_max:
        faults.append(
            f"sigma_min: expected less than sigma_max ({given.sigma_max}), found {given.sigma_min}; "
            "leave both out for the usual 0.002 and 80"
        )
    return faults


def _tuning_faults(given: DiffusionSettings) -> list[str]:
    faults = []
    if given.tune != "all" and given.start is None and given.pretrain == 0:
        faults.append(
            f'tune: "{given.tune}" keeps most weights as they are, expected weights that have learnt something, '
            'found none; set pretrain (with a [reference]) or start, or tune = "all"'
        )
    if given.tune != "all" and not given.attention and not (given.tune == "lora" and given.lora_convs):
        faults.append(
            f'tune: "{given.tune}" trains attention, found attention = false; set attention = true, or '
            'tune = "all"'
        )
    if given.train_on == "reference" and given.warmup:
        faults.append(
            f'warmup: {given.warmup} steps on mean images of members, found train_on = "reference"; set warmup to 0'
        )
    if given.start is not None and not given.start_public:
        faults.append(
            "start: weights hold what they learnt from, and no claim of this run covers that; set start_public = true "
            "if all of these people are public, or pre-train within this run (pretrain)"
        )
    if given.start_sha256 is not None and given.start is None:
        faults.append("start_sha256: expected a file to check, found no start; set start, or leave it out")
    return faults
