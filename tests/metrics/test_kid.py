"""The distance between released and real images."""

import numpy as np
import pytest

from privagams.access import World
from privagams.errors import StageError
from privagams_metrics import KidSettings, build_kid
from privagams_metrics.kid import kernel_sums


def images(rng, n, mean=128, spread=40):
    return rng.normal(mean, spread, (n, 4, 4, 1)).clip(0, 255).astype(np.uint8)


def measured(real, released, world, seed=0, **settings):
    found = build_kid(KidSettings(**settings)).measure(real, released, world, np.random.default_rng(seed))
    return {m.name: m for m in found}


def naive(x, y, patient, degree=3):
    """The textbook sums, one pair after another."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** degree

    def mean(pairs):
        return np.mean(list(pairs))

    n, m = len(x), len(y)
    return (
        mean(kernel(x[i], x[j]) for i in range(n) for j in range(n) if patient[i] != patient[j])
        + mean(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
        - 2 * mean(kernel(a, b) for a in x for b in y)
    )


@pytest.mark.parametrize("per", [1, 3])
@pytest.mark.parametrize("degree", [1, 3])
def test_the_value_is_that_of_the_textbook(rng, records, world, per, degree):
    real, released = records(images(rng, 12), per), records(images(rng, 9, mean=140))
    x, y = (world.features(None, r).astype(np.float64) for r in (real, released))
    found = measured(real, released, world, degree=degree)["kid"]
    assert found.value == pytest.approx(naive(x, y, real.patient, degree), rel=1e-9)


def test_equal_distributions_are_no_distance_apart(rng, records, world):
    found = measured(records(images(rng, 300), 3), records(images(rng, 300)), world)
    assert found["kid"].low <= 0 <= found["kid"].high
    assert found["kid-real-real"].low <= 0 <= found["kid-real-real"].high
    assert abs(found["kid"].value) < 0.2


def test_alike_images_of_one_patient_do_not_make_a_perfect_release_distant(rng, records, world):
    def cohort(patients, per):
        middles = rng.normal(128, 40, patients).repeat(per)
        return (
            rng.normal(middles[:, None, None, None], 5, (patients * per, 4, 4, 1))
            .clip(0, 255)
            .astype(np.uint8)
        )

    values = [
        measured(records(cohort(10, 10), 10), records(cohort(100, 1)), world, resamples=100)["kid"].value
        for _ in range(40)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(40)


def test_other_images_are_some_distance_apart_and_more_so_the_more_they_differ(rng, records, world):
    real = records(images(rng, 200), 2)
    near, far = (measured(real, records(images(rng, 200, mean)), world)["kid"] for mean in (145, 180))
    assert near.low > 0
    assert near.high < far.low


def test_order_does_not_matter(rng, records, world):
    real, released = records(images(rng, 60), 3), records(images(rng, 50, 140))
    shuffled = (real.take(rng.permutation(60)), released.take(rng.permutation(50)))
    one, other = measured(real, released, world), measured(*shuffled, world)
    for name in one:
        assert one[name].value == pytest.approx(other[name].value, rel=1e-9, abs=1e-12)
        assert one[name].low == pytest.approx(other[name].low, rel=1e-6, abs=1e-9)


def test_intervals_hold_the_value_and_count_patients(rng, records, world):
    for mean in (128, 150):
        for found in measured(records(images(rng, 40), 4), records(images(rng, 30, mean)), world).values():
            assert found.low <= found.value <= found.high
            assert (found.n, found.unit) == (10, "patient")


def test_fewer_patients_give_a_wider_interval(rng, records, world):
    def cohort(patients, per):
        middles = rng.normal(128, 30, patients).repeat(per)
        return (
            rng.normal(middles[:, None, None, None], 5, (patients * per, 4, 4, 1))
            .clip(0, 255)
            .astype(np.uint8)
        )

    released = records(images(rng, 100))
    few, many = (measured(records(cohort(p, 240 // p), 240 // p), released, world)["kid"] for p in (8, 120))
    assert few.high - few.low > 2 * (many.high - many.low)


def test_the_floor_is_what_other_real_patients_would_score(rng, records, world):
    real = records(images(rng, 40), 4)
    features = world.features(None, real)
    sums = kernel_sums(features, real.patient, features[:2], 3)
    order = rng.permutation(10)
    left = np.isin(real.patient, np.unique(real.patient)[order[:5]])
    expected = naive(features[left], features[~left], real.patient[left])
    assert sums.halves(order) == pytest.approx(expected, rel=1e-5)


def test_large_sets_are_thinned_to_the_number_stated(rng, records, world):
    seen = []

    def features(use, some):
        seen.append((use.name, len(some)))
        return world.features(use, some)

    watched = World(world.candidates, world.patients, None, [], features=features)
    measured(records(images(rng, 50)), records(images(rng, 40)), watched, images=30)
    assert seen == [("texture", 30), ("texture", 30)]


def test_three_patients_give_no_floor_and_one_is_an_error(rng, records, world):
    released = records(images(rng, 10))
    assert list(measured(records(images(rng, 6), 2), released, world)) == ["kid"]
    with pytest.raises(StageError, match="at least 2 non-members, found 1"):
        measured(records(images(rng, 6), 6), released, world)
    with pytest.raises(StageError, match="at least 2 released images, found 1"):
        measured(records(images(rng, 6)), released.take(np.array([0])), world)
