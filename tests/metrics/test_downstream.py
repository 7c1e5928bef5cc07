"""What a release is worth for training."""

import numpy as np
import pytest
import torch

from privagams.errors import StageError
from privagams_metrics import DownstreamSettings, build_downstream

QUICK = {"steps": 60, "batch": 32, "side": 16}


def striped(rng, labels):
    """Class 0 has lying stripes, class 1 standing ones; brightness says nothing."""
    rows = np.indices((16, 16))[0] % 4 < 2
    shapes = np.stack([rows, rows.T])[labels]
    levels = rng.integers(60, 160, (len(labels), 1, 1)) + 60 * shapes
    return (levels[..., None] + rng.normal(0, 5, (len(labels), 16, 16, 1))).clip(0, 255).astype(np.uint8)


@pytest.fixture
def cohort(rng, records):
    def make(n, per=1, shuffled=False, named=("lying", "standing")):
        labels = rng.integers(0, 2, n)
        told = rng.permutation(labels) if shuffled else labels
        return records(striped(rng, labels), per, np.array(named, dtype=object)[told])

    return make


def measured(real, released, seed=0, **settings):
    metric = build_downstream(DownstreamSettings(**(QUICK | settings)))
    return {m.name: m for m in metric.measure(real, released, None, np.random.default_rng(seed))}


def test_a_release_that_shows_the_classes_teaches_them(cohort):
    found = measured(cohort(200, 4), cohort(300))
    assert list(found) == [
        "downstream-accuracy", "downstream-accuracy:lying", "downstream-accuracy:standing"
    ]  # fmt: skip
    assert all(m.value > 0.95 and m.chance == 0.5 for m in found.values())
    assert all(m.low <= m.value <= m.high for m in found.values())
    assert found["downstream-accuracy"].n == 50


def test_labels_that_say_nothing_teach_nothing(rng, records):
    def meaningless(n):
        labels = np.array(["a", "b"], dtype=object)[rng.integers(0, 2, n)]
        return records(rng.integers(0, 256, (n, 16, 16, 1), dtype=np.uint8), 1, labels)

    found = measured(meaningless(400), meaningless(300))["downstream-accuracy"]
    assert abs(found.value - 0.5) < 0.1
    assert found.low <= 0.5 <= found.high


def test_balanced_accuracy_counts_classes_alike(cohort):
    real = cohort(200)
    label = real.column("label")
    few = real.take(np.flatnonzero((label == "lying") | (np.arange(200) < 20)))
    found = measured(few, cohort(300, shuffled=True))
    recalls = [found[f"downstream-accuracy:{name}"].value for name in ("lying", "standing")]
    assert found["downstream-accuracy"].value == pytest.approx(np.mean(recalls))


def test_perfect_accuracy_of_few_patients_is_not_called_certain(cohort):
    found = measured(cohort(200, 40), cohort(300), steps=100)["downstream-accuracy"]
    assert found.value == 1
    assert found.n == 5
    assert found.low < 0.6


def test_the_interval_is_over_patients_not_images(rng, cohort, records):
    released = cohort(300, shuffled=True)
    labels = np.tile([0, 1], 20)
    pixels, names = striped(rng, labels), np.array(["lying", "standing"], dtype=object)[labels]
    one = measured(records(pixels, 2, names), released)["downstream-accuracy"]
    copied = records(np.repeat(pixels, 10, axis=0), 20, np.repeat(names, 10))
    many = measured(copied, released)["downstream-accuracy"]
    assert many.n == one.n == 20
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.1)


def test_the_same_seed_gives_the_same_figures_and_leaves_the_global_generator_alone(cohort):
    real, released = cohort(60), cohort(80)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one = measured(real, released, steps=5)
    assert torch.equal(torch.rand(1), expected)
    assert one == measured(real, released, steps=5)


def test_larger_images_are_averaged_down(cohort):
    found = measured(cohort(100), cohort(200), side=8)
    assert found["downstream-accuracy"].value > 0.9


def test_real_images_of_other_classes_are_left_out(cohort, records, rng):
    real = cohort(100)
    label = real.column("label").copy()
    label[:10] = "other"
    mixed = records(real.read(), 1, label)
    assert measured(mixed, cohort(200))["downstream-accuracy"].n == 90


@pytest.mark.parametrize(("named", "found"), [(("", ""), "none"), (("lying", "lying"), "only 'lying'")])
def test_a_release_without_two_labels_is_an_error_that_says_so(cohort, named, found):
    with pytest.raises(StageError, match=f"a release with at least two labels, found {found}"):
        measured(cohort(40), cohort(40, named=named))


def test_a_release_without_a_label_column_is_an_error_too(cohort, records, rng):
    with pytest.raises(StageError, match="at least two labels, found none"):
        measured(cohort(40), records(striped(rng, np.zeros(20, dtype=int))))


def test_real_images_of_one_class_are_an_error(cohort):
    with pytest.raises(StageError, match="real non-members of at least two of the classes"):
        measured(cohort(40, named=("lying", "lying")), cohort(40))
