"""Settings of the attacks, apart from them so that listing loads no numerics."""

from attrs import field, frozen, validators

from privagams.component import Use, uses


@frozen
class NearestPatientSettings:
    """Settings of `nearest-patient`."""

    embedder: Use = uses("embedders", "texture")
    standardise: bool = field(
        default=True,
        validator=validators.instance_of(bool),
        metadata={"doc": "scale each feature by its mean and deviation over the adversary's own images"},
    )
    calibrated: bool = field(
        default=True,
        validator=validators.instance_of(bool),
        metadata={"doc": "for drawn images, compare with the distance to other patients' known images"},
    )
