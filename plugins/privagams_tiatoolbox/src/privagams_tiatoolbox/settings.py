"""Settings of the `tiatoolbox` reader."""

from attrs import field, frozen, validators


@frozen
class TiatoolboxSettings:
    """Bounds on plain images, which TIAToolbox decodes at once."""

    max_megapixels: float = field(
        default=64.0,
        validator=validators.gt(0),
        metadata={"doc": "largest plain image that is opened, million px"},
    )
