"""The attacks that see released images only, against their formulas."""

import numpy as np
import pytest
from attrs import evolve
from scipy.spatial.distance import cdist
from scipy.stats import gaussian_kde, multivariate_normal, rankdata

from privagams.access import Access
from privagams.testing.closed_form import case
from privagams_attacks.membership.calibrated_distance import CalibratedDistance
from privagams_attacks.membership.domias import Domias, _gaussian, _kernels, _shrunk_covariance
from privagams_attacks.membership.monte_carlo import MonteCarlo
from privagams_attacks.membership.settings import DistanceSettings, DomiasSettings

PLAIN = DistanceSettings(standardise=False)


def small(**options):
    return case(
        "gaussian", Access.RELEASED, 3, **{"members": 40, "released": 200, "reference": 50, **options}
    )


def features(made, records):
    return made.world.features(None, records).astype(float)


def run(attack, made):
    return attack.run(made.target, made.world, np.random.default_rng(0)).values


def per_patient(made, values):
    return np.array([values[made.world.candidates.patient == name].mean() for name in made.world.patients])


def test_calibrated_distance_is_its_formula():
    made = small(images=3)
    known, shown, usual = (
        features(made, r) for r in (made.world.candidates, made.target.released, made.world.reference)
    )
    expected = per_patient(made, cdist(known, usual).min(axis=1) - cdist(known, shown).min(axis=1))
    assert run(CalibratedDistance(PLAIN), made) == pytest.approx(expected, abs=1e-6)


def test_without_a_reference_other_patients_stand_in_but_not_the_patient_itself():
    made = small(images=3, reference=0)
    known, shown = features(made, made.world.candidates), features(made, made.target.released)
    among = cdist(known, known)
    among[made.world.candidates.patient[:, None] == made.world.candidates.patient] = np.inf
    expected = per_patient(made, among.min(axis=1) - cdist(known, shown).min(axis=1))
    assert run(CalibratedDistance(PLAIN), made) == pytest.approx(expected, abs=1e-6)


def test_distances_do_not_underflow_where_exponentials_would():
    made = small()
    far = made.world.candidates.read().astype(np.int16)
    assert np.exp(-(cdist(far.reshape(80, -1), far.reshape(80, -1) + 5) ** 2)).max() == 0
    assert len(np.unique(run(CalibratedDistance(PLAIN), made))) > 70


def test_standardising_makes_scale_of_a_feature_irrelevant():
    made = small()
    original = made.world._features
    stretch = np.r_[1000.0, np.ones(31)]
    world = evolve(made.world, features=lambda use, records: original(use, records) * stretch)
    stretched = (
        CalibratedDistance(DistanceSettings()).run(made.target, world, np.random.default_rng(0)).values
    )
    assert stretched == pytest.approx(run(CalibratedDistance(DistanceSettings()), made), abs=1e-4)


def test_monte_carlo_is_its_formula_with_ties_sharing_their_rank():
    made = small(released=2000)
    distances = cdist(features(made, made.world.candidates), features(made, made.target.released))
    near = np.median(distances.min(axis=1))
    count = (distances <= near * (1 + 1e-9)).sum(axis=1)
    assert (count == 0).mean() == 0.5
    expected = (rankdata(count) - 0.5) / len(count)
    assert run(MonteCarlo(PLAIN), made) == pytest.approx(expected, abs=1e-9)


def test_a_gaussian_density_is_that_of_scipy():
    rng = np.random.default_rng(1)
    sample, points = rng.normal(1, (1, 2, 3), (5000, 3)), rng.normal(size=(20, 3))
    density = multivariate_normal(sample.mean(axis=0), _shrunk_covariance(sample))
    gaps = _gaussian(points, sample) - density.logpdf(points)
    assert np.ptp(gaps) < 1e-9
    assert _shrunk_covariance(sample) == pytest.approx(np.cov(sample.T), abs=0.02)


def test_a_covariance_of_few_images_stays_regular():
    few = np.random.default_rng(2).normal(size=(5, 20))
    assert np.linalg.cond(_shrunk_covariance(few)) < 100
    assert np.isfinite(_shrunk_covariance(np.ones((4, 3)))).all()


def test_a_kernel_density_is_that_of_scipy():
    rng = np.random.default_rng(3)
    sample, points = rng.normal(size=(400, 2)), rng.normal(size=(30, 2))
    white = np.linalg.cholesky(np.linalg.inv(np.cov(sample.T)))
    found = _kernels(points @ white, sample @ white)
    expected = gaussian_kde(sample.T).logpdf(points.T)
    assert np.ptp(found - expected) < 1e-6


def test_a_kernel_density_leaves_out_the_patient_itself():
    sample = np.array([[0.0], [0.1], [5.0], [5.1]])
    owner = np.array([0, 0, 1, 1])
    left_out, all_in = _kernels(sample, sample, owner), _kernels(sample, sample)
    assert (left_out < all_in - 2).all()


def test_components_are_found_without_the_release():
    made = small()
    attack = Domias(DomiasSettings(dimensions=3))
    shifted = evolve(made.target, released=made.target.released.take(np.arange(100)))
    assert run(attack, made) != pytest.approx(
        attack.run(shifted, made.world, np.random.default_rng(0)).values
    )
    # A direction in which only the release varies is not among the components.
    original = made.world._features

    def padded(use, records):
        found = original(use, records)
        wild = np.arange(len(found)) if records is made.target.released else np.zeros(len(found))
        return np.concatenate([found, wild[:, None]], axis=1)

    world = evolve(made.world, features=padded)
    values = attack.run(made.target, world, np.random.default_rng(0)).values
    assert values == pytest.approx(run(attack, made), abs=1e-6)


def test_these_attacks_run_where_no_model_can_be_had():
    def no_model():
        raise AssertionError("the model was opened")

    made = small()
    target = evolve(made.target, model=no_model)
    for attack in (
        CalibratedDistance(DistanceSettings()), MonteCarlo(DistanceSettings()), Domias(DomiasSettings()),
    ):  # fmt: skip
        assert len(attack.run(target, made.world, np.random.default_rng(0)).values) == 80
