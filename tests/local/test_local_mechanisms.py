"""The four local mechanisms as users configure them."""

import math

import numpy as np
import pytest

from privagams.errors import ConfigError, StageError
from privagams.ledger.accounting import price
from privagams.ledger.events import local, spending
from privagams.settings import Faults, structure
from privagams.testing.told_apart import told_apart

ALL = {
    "latent-laplace": {},
    "latent-gaussian": {"delta": 1e-5},
    "latent-topk": {"delta": 1e-5, "k": 2},
    "latent-topk with Laplace": {"noise": "laplace", "k": 2},
    "pixel-laplace": {},
}
EVERY = pytest.mark.parametrize("kind", ALL)
LAPLACE = pytest.mark.parametrize("kind", ["latent-laplace", "pixel-laplace"])


@pytest.fixture
def make(bound):
    def made(kind, size=2, classes=0, images=1, **settings):
        name = kind.removesuffix(" with Laplace")
        return bound(name, size, {**ALL[kind], **settings}, classes, images)

    return made


@EVERY
def test_the_worst_pair_is_told_apart_no_better_than_claimed(make, kind):
    size = 1
    found = make(
        kind,
        size,
        classes=2,
        images=2,
        epsilon=4.0,
        label_epsilon=1.0,
        **({"k": 1} if "topk" in kind else {}),
    )
    shown = []
    for value, label in ((math.inf, 0), (-1e9, 1)):
        vectors = found.randomise(np.full((4000, size), value))[:, 0]
        labels = found.labels(np.full(4000, label), np.random.default_rng(0))
        shown.append(np.column_stack([vectors, labels, np.where(labels == 0, vectors, -np.inf)]))
    worst = told_apart(*shown, found.event)
    assert not worst.refutes, worst
    # And the claim is not idle: half of it, for the same samples, is refuted.
    twice = make(
        kind,
        size,
        classes=2,
        images=4,
        epsilon=4.0,
        label_epsilon=0.5,
        **({"k": 1} if "topk" in kind else {}),
    )
    assert told_apart(*shown, twice.event).refutes


@EVERY
@pytest.mark.parametrize(("images", "label_epsilon"), [(1, 0.0), (3, 0.0), (1, 0.7), (7, 0.3)])
def test_all_images_of_a_patient_are_paid_for(make, kind, images, label_epsilon):
    found = make(kind, 40, 3, images, epsilon=5.0, label_epsilon=label_epsilon)
    total, _ = price(spending([local(found.event)] * images), 1e-5)
    assert 1 - 5e-4 < total / 5.0 <= 1


@EVERY
def test_exploding_vectors_come_out_finite(make, kind):
    found = make(kind, epsilon=1.0)
    vectors = np.array([[1e300, -1e300], [math.inf, 0.0], [-math.inf, math.inf]])
    assert np.isfinite(found.randomise(vectors)).all()


@EVERY
def test_a_vector_that_is_no_number_is_refused_by_its_row(make, kind):
    found = make(kind, 4, epsilon=1.0)
    vectors = np.zeros((5, 4))
    vectors[3, 0] = math.nan  # not one of the strongest
    with pytest.raises(
        StageError, match=r"vectors, row 3: expected numbers, found NaN \(1 rows of 5\); see whether"
    ):
        found.randomise(vectors)


@EVERY
def test_vectors_of_another_size_are_refused(make, kind):
    with pytest.raises(StageError, match=r"expected 4 coordinates in each row, found an array of \(2, 5\)"):
        make(kind, 4, epsilon=1.0).randomise(np.zeros((2, 5)))


@EVERY
def test_labels_are_withheld_unless_they_are_paid_for(make, kind):
    labels, rng = np.arange(60) % 3, np.random.default_rng(0)
    assert (make(kind, 4, 3, epsilon=4.0).labels(labels, rng) == -1).all()
    paid = make(kind, 4, 3, epsilon=4.0, label_epsilon=1.0)
    once, twice = (paid.labels(labels, np.random.default_rng(0)) for _ in range(2))
    assert set(once) == {0, 1, 2}
    assert not np.array_equal(once, twice)  # no generator of ours decides


@EVERY
def test_labels_that_take_all_of_the_budget_are_refused(make, kind):
    with pytest.raises(
        ConfigError, match=r"expected epsilon to be above 4 × label_epsilon = 4, .* found 4; raise"
    ):
        make(kind, 4, 3, 4, epsilon=4.0, label_epsilon=1.0)


@EVERY
def test_labels_without_classes_are_refused(make, kind):
    with pytest.raises(ConfigError, match="at least two classes"):
        make(kind, 4, 0, epsilon=4.0, label_epsilon=1.0)


@EVERY
def test_less_than_one_image_is_refused(make, kind):
    with pytest.raises(ConfigError, match="at least one image"):
        make(kind, 4, 0, 0, epsilon=4.0)


@EVERY
@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan])
def test_an_epsilon_that_is_no_promise_is_refused(offered, kind, epsilon):
    component = offered[kind.removesuffix(" with Laplace")]
    with pytest.raises(Faults, match=r"\.epsilon: .*(finite number above 0|expected a number)"):
        structure({**ALL[kind], "epsilon": epsilon}, component.settings)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "pixel-laplace"])
@pytest.mark.parametrize("clip", [0.0, -3.0, math.inf, math.nan])
def test_a_clip_that_bounds_nothing_is_refused(offered, kind, clip):
    component = offered[kind.removesuffix(" with Laplace")]
    with pytest.raises(Faults, match=r"\.clip: .*(finite number above 0|expected a number)"):
        structure({**ALL[kind], "epsilon": 1.0, "clip": clip}, component.settings)


@LAPLACE
@pytest.mark.parametrize(
    ("figures", "found"), [({}, "neither"), ({"epsilon": 1.0, "per_element_epsilon": 1.0}, "both")]
)
def test_exactly_one_epsilon_is_given(offered, kind, figures, found):
    with pytest.raises(Faults, match=rf"expected either epsilon .* found {found}; state one of them"):
        structure(figures, offered[kind].settings)


@LAPLACE
def test_epsilon_per_element_is_claimed_for_all_elements_and_the_label(make, kind):
    found = make(kind, 16_384, 3, 5, per_element_epsilon=1.0, label_epsilon=0.5)
    assert found.per_element_epsilon == pytest.approx(1.0, rel=1e-9)
    total, _ = price(spending([local(found.event)] * 5), 1e-5)
    assert total == pytest.approx(5 * (16_384 + 0.5), rel=1e-9)


def test_gaussian_noise_needs_a_delta_and_laplace_noise_has_none(offered):
    settings = offered["latent-topk"].settings
    for given in ({"epsilon": 1.0}, {"epsilon": 1.0, "delta": 1e-5, "noise": "laplace"}):
        with pytest.raises(Faults, match="delta: expected with Gaussian noise and only there"):
            structure(given, settings)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
@pytest.mark.parametrize("name", ["latent-gaussian", "latent-topk"])
def test_a_delta_outside_of_0_to_1_is_refused(offered, name, delta):
    with pytest.raises(Faults, match=r"\.delta"):
        structure({"epsilon": 1.0, "delta": delta}, offered[name].settings)


def test_what_is_protected_says_what_becomes_of_labels(offered):
    for kind, figures in ALL.items():
        component = offered[kind.removesuffix(" with Laplace")]
        for label_epsilon, word in ((0.0, "withheld"), (0.5, "randomised")):
            settings = structure(
                {**figures, "epsilon": 1.0, "label_epsilon": label_epsilon}, component.settings
            )
            assert component.build(settings).protects.endswith(f"labels are {word}")


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "pixel-laplace"])
@pytest.mark.parametrize("epsilon", [3.0, 400.0])
def test_shrunk_vectors_have_the_spread_of_latents(make, kind, epsilon):
    size = 400
    latents = np.random.default_rng(0).normal(size=(50, size))
    extra = {"k": size} if "topk" in kind else {}
    found = make(kind, size, epsilon=epsilon, **extra).randomise(latents)
    # A fourth moment of 6 at most, that of Laplace noise; clipping takes a hundredth.
    assert found.var() == pytest.approx(1, abs=6 * math.sqrt(5 / found.size) + 0.02)
    plain = make(kind, size, epsilon=epsilon, shrink=False, **extra).randomise(latents)
    assert plain.var() > 1.2


def test_pixels_come_back_to_what_an_image_holds(make):
    pixels = np.random.default_rng(0).uniform(-1, 1, (3, 100))
    noisy = make("pixel-laplace", 100, epsilon=10.0).randomise(pixels)
    assert np.abs(noisy).max() == 1
    near = make("pixel-laplace", 100, per_element_epsilon=1e6).randomise(pixels)
    assert np.abs(near - pixels).max() < 1e-4


@EVERY
def test_every_coordinate_stays_in_its_place(make, kind):
    vector = np.array([0.9, -0.8, 0.5, 0.1, -0.4, 0.7])
    found = make(kind, 6, epsilon=500.0, **({"k": 6} if "topk" in kind else {}))
    assert np.abs(found.randomise(np.tile(vector, (400, 1))).mean(axis=0) - vector).max() < 0.08
