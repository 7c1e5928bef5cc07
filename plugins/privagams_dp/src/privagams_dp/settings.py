"""Which figures a user may set for each mechanism, with bounds and units."""

from attrs import field, frozen, validators


@frozen
class DpSgdSettings:
    """Settings of `dp-sgd`."""

    epsilon: float = field(
        validator=validators.gt(0), metadata={"doc": "what one patient can lose over the whole training, nat"}
    )
    delta: float = field(
        validator=[validators.gt(0), validators.lt(1)],
        metadata={"doc": "probability with which ε may be exceeded; well below 1 / patients"},
    )
    clip_norm: float = field(
        default=1.0,
        validator=validators.gt(0),
        metadata={"doc": "largest L2 norm of one patient's gradient; a constant, never taken from the data"},
    )
    patients_per_step: int = field(
        default=32,
        validator=validators.ge(1),
        metadata={"doc": "expected number of patients in one step; each is drawn by its own coin"},
    )
    tiles_per_step: int = field(
        default=1,
        validator=validators.ge(1),
        metadata={"doc": "records drawn, with replacement, from each patient in a step"},
    )
    noise_draws: int = field(
        default=4,
        validator=validators.ge(1),
        metadata={"doc": "the generator's random draws per record, averaged before clipping (K)"},
    )
    physical_patients: int = field(
        default=8,
        validator=validators.ge(1),
        metadata={"doc": "patients whose gradients are in memory at once; changes no result"},
    )


@frozen
class NoisySumSettings:
    """Settings of `noisy-sum`."""

    epsilon: float = field(
        validator=validators.gt(0), metadata={"doc": "what one patient can lose by the one sum, nat"}
    )
    delta: float = field(
        validator=[validators.gt(0), validators.lt(1)],
        metadata={"doc": "probability with which ε may be exceeded; well below 1 / patients"},
    )
