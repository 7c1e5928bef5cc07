"""Laws of metrics: figures that do not depend on how images lie, with intervals and honest counts."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np

from privagams.evidence import Measurement
from privagams.records import Records
from privagams.roles import Better
from privagams.testing.exercises import measure, metric_inputs
from privagams.testing.subject import Bench, Subject


def check_says_which_way_is_good(subject: Subject, bench: Bench) -> None:
    """`better` says which way is good, in a word that the report knows.

    If this fails, set it on the class: `better = "lower"`, for example.
    """
    found = getattr(subject.build(), "better", None)
    assert found in get_args(Better), f"better is {found!r}: expected one of {', '.join(get_args(Better))}"


def check_yields_named_measurements(subject: Subject, bench: Bench) -> None:
    """It yields at least one `Measurement`, each under a name of its own.

    If this fails, yield `privagams.evidence.Measurement` and give each figure another name.
    """
    found = _measured(subject)
    assert found, "no measurement"
    for one in found:
        assert isinstance(one, Measurement), f"expected Measurement, found {type(one).__name__}"
    names = [one.name for one in found]
    assert all(names) and len(set(names)) == len(names), f"names {names}: expected each once"


def check_names_are_stable(subject: Subject, bench: Bench) -> None:
    """The names depend on classes and settings, never on what the images show or on chance.

    If this fails, keep figures out of names: reports of two runs are compared by them.
    """
    *before, released, world = metric_inputs(subject.build())
    turned = Records(255 - released.pixels[:, ::-1], released.table)
    one = [m.name for m in _measured(subject, (*before, released, world))]
    other = [m.name for m in _measured(subject, (*before, turned, world), seed=6)]
    assert one == other, f"{one}, then {other}"


def check_interval_contains_the_value(subject: Subject, bench: Bench) -> None:
    """Value and interval are finite, and the value lies in its interval.

    If this fails, compute both from the same images, and widen the interval to hold the value.
    """
    for m in _measured(subject):
        assert all(map(math.isfinite, (m.value, m.low, m.high))), f"{m.name}: not finite"
        assert m.low <= m.value <= m.high, f"{m.name}: {m.value:g} is outside of [{m.low:g}, {m.high:g}]"


def check_order_does_not_matter(subject: Subject, bench: Bench) -> None:
    """Records in another order give the same figure, or one that the stated interval allows.

    If this fails, do not take the first images for all of them, nor pair images by their position.
    """
    given = real, *others, world = metric_inputs(subject.build())
    rng = np.random.default_rng(9)
    order = rng.permutation(len(others[0]))  # of copies and originals alike: they are pairs
    shuffled = (real.take(rng.permutation(len(real))), *(records.take(order) for records in others), world)
    before, after = _measured(subject, given), _measured(subject, shuffled)
    for one, other in zip(before, after, strict=True):
        slack = (one.high - one.low) + 1e-6 * (1 + abs(one.value))
        assert abs(one.value - other.value) <= slack, (
            f"{one.name}: {one.value:g}, and {other.value:g} with the same images in another order"
        )


def check_n_counts_patients(subject: Subject, bench: Bench) -> None:
    """`n` counts units: with more images of the same patients it stays, where the unit is the patient.

    If this fails, count distinct entries of `real.patient`, or state another `unit`.
    """
    metric = subject.build()
    few, many = (_measured(subject, metric_inputs(metric, per_patient)) for per_patient in (3, 6))
    patients = len(metric_inputs(metric)[0].patients)
    for one, other in zip(few, many, strict=True):
        assert type(one.n) is int and one.n >= 1, f"{one.name}: n is {one.n!r}"
        if one.unit == "patient":
            assert one.n <= patients, f"{one.name}: n is {one.n}, and there are {patients} patients"
            assert one.n == other.n, f"{one.name}: n grows from {one.n} to {other.n} with images per patient"


def _measured(subject: Subject, given: tuple[Any, ...] = (), seed: int = 5) -> list[Any]:
    metric = subject.build()
    return list(measure(metric, given or metric_inputs(metric), np.random.default_rng(seed)))
