"""Settings of the `images` reader."""

from attrs import field, frozen, validators


@frozen
class ImagesSettings:
    """Bounds of what is opened; every image is decoded at once."""

    max_megapixels: float = field(
        default=64.0, validator=validators.gt(0), metadata={"doc": "largest image that is opened, million px"}
    )
    burned_in: bool = field(
        default=False,
        metadata={"doc": "open DICOM files too that say that text is burned into the pixels"},
    )
