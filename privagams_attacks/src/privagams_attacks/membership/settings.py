"""What may be set about each membership attack, apart from them so that listing loads no numerics."""

from typing import Any, Literal

from attrs import Attribute, field, frozen, validators

from privagams.component import Use, uses

_T100, _T200 = 0.895, 0.656
"""ᾱ at timesteps 100 and 200 of 1000 of the linear schedule (Ho et al. 2020, arXiv 2006.11239)."""
_LEVEL = (
    "signal share ᾱ of the noised image: √ᾱ image + √(1 − ᾱ) noise; the model's timestep nearest to it is "
    "asked, whatever its schedule (0.895 and 0.656 are timesteps 100 and 200 of the linear schedule of 1000)"
)


def _shares(_: Any, attribute: "Attribute[tuple[float, ...]]", values: tuple[float, ...]) -> None:
    if not values or any(not 0 < value < 1 for value in values):
        raise ValueError(f"expected at least one share between 0 and 1, found {values}")


def _even(_: Any, attribute: "Attribute[int]", value: int) -> None:
    if value % 2:
        raise ValueError(f"expected an even number, so that each patient is in half of them, found {value}")


def _level(default: float) -> Any:
    return field(
        default=default,
        validator=[validators.gt(0.0), validators.lt(1.0)],
        metadata={"doc": _LEVEL},
    )


def _images() -> Any:
    return field(
        default=16,
        validator=validators.ge(1),
        metadata={"doc": "images of each patient that a model is asked about, at most"},
    )


def _standardise() -> Any:
    return field(
        default=True,
        validator=validators.instance_of(bool),
        metadata={"doc": "scale each feature by its mean and deviation over the adversary's own images"},
    )


@frozen
class DistanceSettings:
    """Settings of `calibrated-distance` and `monte-carlo`."""

    embedder: Use = uses("embedders", "texture")
    standardise: bool = _standardise()


@frozen
class DomiasSettings:
    """Settings of `domias`."""

    embedder: Use = uses("embedders", "texture")
    dimensions: int = field(
        default=32,
        validator=[validators.ge(1), validators.le(64)],
        metadata={"doc": "principal components in which both densities are estimated, at most"},
    )
    density: Literal["gaussian", "kde"] = field(
        default="gaussian",
        validator=validators.in_(("gaussian", "kde")),
        metadata={"doc": "one Gaussian, or a Gaussian kernel on each image"},
    )


@frozen
class LossSettings:
    """Settings of `loss`."""

    levels: tuple[float, ...] = field(default=(_T100, _T200), validator=_shares, metadata={"doc": _LEVEL})
    noises: int = field(
        default=16,
        validator=validators.ge(1),
        metadata={"doc": "noises drawn once and used for every image; fewer than 16 find far less"},
    )
    images: int = _images()


@frozen
class PiaSettings:
    """Settings of `pia`."""

    level: float = _level(_T200)
    power: int = field(
        default=4, validator=validators.ge(1), metadata={"doc": "p of the p-norm between noise predictions"}
    )
    images: int = _images()


@frozen
class SecmiSettings:
    """Settings of `secmi`."""

    level: float = _level(_T100)
    steps: int = field(
        default=10, validator=validators.ge(1), metadata={"doc": "deterministic steps up to that level"}
    )
    images: int = _images()


@frozen
class SimaSettings:
    """Settings of `sima`."""

    level: float = _level(_T100)
    power: int = field(
        default=4, validator=validators.ge(1), metadata={"doc": "p of the p-norm of the noise prediction"}
    )
    images: int = _images()


@frozen
class ShadowSettings:
    """What the attacks with shadow models share."""

    shadows: int = field(
        default=8,
        validator=[validators.ge(4), _even],
        metadata={"doc": "shadow models to train; an even number, each patient is in half of them"},
    )
    mode: Literal["online", "offline"] = field(
        default="online",
        validator=validators.in_(("online", "offline")),
        metadata={"doc": "whether shadows that were trained on the patient are used, or only the others"},
    )
    signal: Literal["auto", "loss", "distance"] = field(
        default="auto",
        validator=validators.in_(("auto", "loss", "distance")),
        metadata={
            "doc": "what is compared with shadows: the loss, or the distance to the nearest released image, "
            "which needs no model; auto takes the loss where the model has one"
        },
    )
    levels: tuple[float, ...] = field(default=(_T100, _T200), validator=_shares, metadata={"doc": _LEVEL})
    noises: int = field(
        default=16,
        validator=validators.ge(1),
        metadata={"doc": "noises drawn once and used for every image, target and shadow"},
    )
    images: int = field(
        default=16,
        validator=validators.ge(1),
        metadata={"doc": "images of each patient that every model is asked about, at most"},
    )
    embedder: Use = uses("embedders", "texture")


@frozen
class LiraSettings(ShadowSettings):
    """Settings of `lira`."""


@frozen
class RmiaSettings(ShadowSettings):
    """Settings of `rmia`."""

    gamma: float = field(
        default=1.0,
        validator=validators.ge(1.0),
        metadata={"doc": "least ratio by which a candidate must beat a population image"},
    )
    population: int = field(
        default=400,
        validator=validators.ge(1),
        metadata={"doc": "reference patients to compare with, at most; each is asked of every model"},
    )
