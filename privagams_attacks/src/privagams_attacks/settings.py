"""Settings of the attacks, apart from them so that listing loads no numerics."""

from typing import Any, Literal

from attrs import field, frozen, validators

from privagams.component import Use, uses

_GALLERY = (
    "which images of identified patients the adversary holds: others than those released or trained on, or these "
    "as well (the worst case)"
)


def _count(default: int, doc: str, least: int = 1) -> Any:
    return field(default=default, validator=validators.ge(least), metadata={"doc": doc})


def _one_of(doc: str, *choices: str) -> Any:
    """A field that takes one of the choices; the first is the default."""
    return field(default=choices[0], validator=validators.in_(choices), metadata={"doc": doc})


def _flag(default: bool, doc: str) -> Any:
    return field(default=default, validator=validators.instance_of(bool), metadata={"doc": doc})


@frozen
class NearestPatientSettings:
    """Settings of `nearest-patient`."""

    embedder: Use = uses("embedders", "texture")
    standardise: bool = _flag(
        True, "scale each feature by its mean and deviation over the adversary's own images"
    )
    calibrated: bool = _flag(
        True, "for drawn images, compare with the distance to other patients' known images"
    )
    gallery: Literal["other images", "all images"] = _one_of(_GALLERY, "other images", "all images")


@frozen
class SlideDescriptorSettings:
    """Settings of `slide-descriptor`."""

    embedder: Use = uses("embedders", "texture")
    pooling: Literal["vlad", "fisher", "mean"] = _one_of(
        "how an image's tiles become one descriptor", "vlad", "fisher", "mean"
    )
    components: int = _count(128, "principal components kept of a tile's features")
    words: int = _count(64, "clusters of VLAD, or Gaussians of the Fisher vector (32 are usual there)")
    tiles_per_image: int = _count(
        500, "tiles of one image, at most, on which components and words are fitted"
    )
    fitted_images: int = _count(40, "images, at most, on which components and words are fitted")
    gallery: Literal["other images", "all images"] = _one_of(_GALLERY, "other images", "all images")


@frozen
class LearnedLinkageSettings:
    """Settings of `learned-linkage`."""

    steps: int = _count(1000, "training steps; about a minute on one core for 64 px grey images", least=0)
    batch: int = _count(32, "patients in one step, two images of each", least=2)
    width: int = _count(16, "channels of the first layer; later ones have two and four times as many")
    side: int = field(
        default=64, validator=validators.ge(16), metadata={"doc": "images are reduced to at most this, px"}
    )
    temperature: float = field(
        default=0.1, validator=validators.gt(0), metadata={"doc": "of the contrastive loss"}
    )
    rate: float = field(default=1e-3, validator=validators.gt(0), metadata={"doc": "learning rate of Adam"})
    gallery: Literal["other images", "all images"] = _one_of(_GALLERY, "other images", "all images")


@frozen
class CopiesSettings:
    """Settings of `copies`."""

    detector: Literal["features", "pixels"] = _one_of(
        "what is compared: features by correlation, or pixels by L2 distance after small shifts",
        "features", "pixels",
    )  # fmt: skip
    embedder: Use = uses("embedders", "texture")
    tail: float = field(
        default=0.05,
        validator=[validators.gt(0), validators.lt(1)],
        metadata={
            "doc": "share of patients whose real images lie as near to another patient's as a copy must"
        },
    )
    k: int = _count(
        1, "patients, at most, to whom one released image may lie equally near; more, and it is nobody's"
    )
    shift: int = _count(1, "largest shift of pixels that is undone, px at the reduced size", least=0)
    side: int = field(
        default=32,
        validator=validators.ge(8),
        metadata={"doc": "pixels are compared at this size at most, px"},
    )


@frozen
class AttributeSettings:
    """Settings of `attribute`."""

    attribute: Literal["label", "sex", "age", "site"] = _one_of(
        "column of the table to be guessed; age in groups of 20 years", "label", "sex", "age", "site"
    )
    classifier: Literal["nearest", "logistic"] = _one_of(
        "guess by the nearest released image of each value, or by logistic regression", "nearest", "logistic"
    )
    embedder: Use = uses("embedders", "texture")


@frozen
class TwoViewsSettings:
    """Settings of `two-views`."""

    views: Literal["features", "sides", "channels"] = _one_of(
        "the two parts of an image: halves of its features, left and right side, or first and last colour channel",
        "features", "sides", "channels",
    )  # fmt: skip
    embedder: Use = uses("embedders", "texture")
    k: int = _count(10, "nearest released images searched in each view")
    gallery: Literal["other images", "all images"] = _one_of(_GALLERY, "other images", "all images")


@frozen
class LatentMatchingSettings:
    """Settings of `latent-matching`."""

    coordinates: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(2)),
        metadata={"doc": "compare only so many latent coordinates, the coarsest; all where left out"},
    )
    clip: float = field(
        default=4.0,
        validator=validators.gt(0),
        metadata={"doc": "latents beyond ± this are cut, in standard deviations of the prior"},
    )
    gallery: Literal["other images", "all images"] = _one_of(_GALLERY, "other images", "all images")


@frozen
class PixelMatchingSettings:
    """Settings of `pixel-matching`."""

    gallery: Literal["other images", "all images"] = _one_of(_GALLERY, "other images", "all images")
