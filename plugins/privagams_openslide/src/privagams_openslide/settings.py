"""Settings of the `openslide` reader."""

from attrs import field, frozen, validators


@frozen
class OpenSlideSettings:
    """Bounds on plain images, which are decoded at once; slides are read in pieces and need none."""

    max_megapixels: float = field(
        default=64.0,
        validator=validators.gt(0),
        metadata={"doc": "largest PNG or JPEG that is opened, million px"},
    )
