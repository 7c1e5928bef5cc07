"""Whether disease survives in copies."""

import numpy as np
import pytest
from attrs import evolve

from privagams.errors import StageError
from privagams.records import Records
from privagams_metrics import PathologyAucSettings, build_pathology_auc

QUICK = {"positive": "ill", "steps": 60, "batch": 32, "side": 16, "trainings": 2, "resamples": 200}


@pytest.fixture
def cohort(rng, records):
    """Ill ones have standing stripes, the others lying ones; brightness says nothing."""

    def make(n, per=1, first=0, names=("well", "ill")):
        labels = rng.integers(0, 2, n)
        rows = np.indices((16, 16))[0] % 4 < 2
        shapes = np.stack([rows, rows.T])[labels]
        levels = rng.integers(60, 160, (n, 1, 1)) + 60 * shapes
        pixels = (levels[..., None] + rng.normal(0, 5, (n, 16, 16, 1))).clip(0, 255).astype(np.uint8)
        return records(pixels, per, np.array(names, dtype=object)[labels], first)

    return make


@pytest.fixture
def measured(cohort, world):
    def measure(originals, released, seed=0, reference=True, real=None, **settings):
        metric = build_pathology_auc(PathologyAucSettings(**(QUICK | settings)))
        known = evolve(world, reference=cohort(200, 2, 5000) if reference else None)
        given = (real or cohort(100, 1, 900), originals, released, known, np.random.default_rng(seed))
        return {m.name: m for m in metric.measure_pairs(*given)}

    return measure


def copies_of(originals, pixels=None, label=None):
    table = {} if label is None else {"label": np.asarray(label, dtype=object)}
    return Records(originals.read() if pixels is None else pixels, table)


def test_faithful_copies_keep_the_disease_both_ways(cohort, measured):
    originals = cohort(120, 2)
    found = measured(originals, copies_of(originals))
    assert list(found) == ["pathology-auc", "pathology-auc:real", "pathology-auc:from-released"]
    assert all(m.value > 0.95 and m.chance == 0.5 and m.low <= m.value <= m.high for m in found.values())
    assert found["pathology-auc"].n == found["pathology-auc:real"].n == 60
    assert found["pathology-auc:from-released"].n == 100


def test_identical_copies_score_as_their_originals(cohort, measured):
    originals = cohort(80)
    found = measured(originals, copies_of(originals), steps=5)
    assert found["pathology-auc"].value == found["pathology-auc:real"].value


def test_noise_takes_it_away_and_the_ceiling_stays(rng, cohort, measured):
    originals = cohort(200)
    noise = rng.integers(0, 256, originals.read().shape).astype(np.uint8)
    found = measured(originals, copies_of(originals, noise))
    assert found["pathology-auc"].low < 0.5 < found["pathology-auc"].high
    assert abs(found["pathology-auc:from-released"].value - 0.5) < 0.25
    assert found["pathology-auc:real"].value > 0.95


def test_labels_of_the_originals_are_what_copies_are_tested_by(cohort, measured):
    """Copies of other people, with the disease of the originals' at random: nothing is left."""
    originals, strangers = cohort(200), cohort(200)
    found = measured(originals, copies_of(strangers))["pathology-auc"]
    assert found.low < 0.5 < found.high


def test_copies_are_learnt_from_with_their_randomised_labels_where_they_have_them(cohort, measured):
    originals = cohort(150)
    swapped = np.where(originals.column("label") == "ill", "well", "ill")
    found = measured(originals, copies_of(originals, label=swapped))
    assert found["pathology-auc"].value > 0.95
    assert found["pathology-auc:from-released"].value < 0.05
    assert "the labels released with it" in found["pathology-auc:from-released"].note
    own = measured(originals, copies_of(originals))["pathology-auc:from-released"]
    assert own.value > 0.95
    assert "only the steward has" in own.note


def test_withheld_labels_count_as_none(cohort, measured):
    originals = cohort(100)
    found = measured(originals, copies_of(originals, label=[""] * 100))["pathology-auc:from-released"]
    assert "only the steward has" in found.note


def test_all_other_classes_count_as_healthy(rng, cohort, measured):
    originals = cohort(150)
    label = originals.column("label").copy()
    label[(label == "well") & (rng.random(150) < 0.5)] = "other"
    mixed = Records(originals.read(), {**originals.table, "label": label})
    assert measured(mixed, copies_of(mixed))["pathology-auc"].value > 0.95


def test_images_without_a_label_are_left_out(cohort, measured):
    originals = cohort(100)
    label = originals.column("label").copy()
    label[:10] = ""
    some = Records(originals.read(), {**originals.table, "label": label})
    assert measured(some, copies_of(some), steps=5)["pathology-auc"].n == 90


def test_the_same_seed_gives_the_same_figures(cohort, world):
    originals, real, reference = cohort(60), cohort(60, 1, 900), cohort(60, 2, 5000)
    metric = build_pathology_auc(PathologyAucSettings(**(QUICK | {"steps": 5})))
    given = (real, originals, copies_of(originals), evolve(world, reference=reference))
    one, other = (list(metric.measure_pairs(*given, np.random.default_rng(3))) for _ in range(2))
    assert one == other


def test_without_reference_it_says_what_to_do(cohort, measured):
    originals = cohort(40)
    with pytest.raises(StageError, match=r"add \[split\] reference"):
        measured(originals, copies_of(originals), reference=False)


def test_a_label_that_nobody_has_is_an_error_that_lists_what_there_is(cohort, measured):
    originals = cohort(40)
    with pytest.raises(StageError, match="label 'abnormal' and with others, found 'ill', 'well'"):
        measured(originals, copies_of(originals), positive="abnormal")


def test_non_members_of_one_class_are_an_error(cohort, measured):
    originals = cohort(40)
    with pytest.raises(StageError, match="images of the non-members"):
        measured(originals, copies_of(originals), real=cohort(30, names=("well", "well")))
