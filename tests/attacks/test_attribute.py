import numpy as np
import pytest
from attrs import evolve

from privagams.access import Access, Target, World
from privagams.attributes import age_group
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams_attacks.attribute import Attribute
from privagams_attacks.settings import AttributeSettings


def case(rng, patients=80, shift=0.0, d=12):
    """Patients' features, with values of an attribute that shows by `shift`; the first half are members."""
    value = rng.permutation(np.arange(patients) % 2)
    base = 3 * rng.normal(size=(patients, d)) + shift * value[:, None]
    features = (np.repeat(base, 2, axis=0) + 0.3 * rng.normal(size=(2 * patients, d))).astype(np.float32)
    names = np.array([f"p{i:02}" for i in range(patients)])
    pixels = np.zeros((2 * patients, 1, 1, 1), np.uint8)
    everyone = Records(pixels, {"patient": np.repeat(names, 2)})
    words = np.array(["benign", "tumour"])[value]
    members = np.arange(patients)  # their images come out as they are
    released = Records(pixels, {"label": np.repeat(words, 2)[:patients]}, members)
    world = World(everyone, names, None, (), lambda _, r: features[r.rows])
    return Target(released, Access.RELEASED), world, value, words


def run(target, world, **settings):
    return Attribute(AttributeSettings(**settings)).run(target, world, np.random.default_rng(0))


def right(scores, value):
    return scores.values.argmax(axis=1) == value


def test_a_release_with_labels_tells_members_labels_and_nobody_elses():
    target, world, value, _ = case(np.random.default_rng(1))
    scores = run(target, world)
    assert (scores.attribute, scores.options) == ("label", ("benign", "tumour"))
    assert scores.values.shape == (80, 2)
    assert right(scores, value)[:40].all()
    assert 0.2 < right(scores, value)[40:].mean() < 0.8


@pytest.mark.parametrize("classifier", ["nearest", "logistic"])
def test_what_anybody_can_see_is_guessed_for_all(classifier):
    target, world, value, _ = case(np.random.default_rng(2), shift=8)
    found = right(run(target, world, classifier=classifier), value)
    assert found[:40].mean() > 0.9
    assert found[40:].mean() > 0.9


@pytest.mark.parametrize("classifier", ["nearest", "logistic"])
def test_a_release_of_other_people_tells_members_no_better(classifier):
    rng = np.random.default_rng(3)
    target, world, value, _ = case(rng)
    strange = (3 * rng.normal(size=(80, 12))).astype(np.float32)
    known = world.features

    def features(use, records):
        return strange[records.rows] if "label" in records.table else known(use, records)

    found = right(run(target, evolve(world, features=features), classifier=classifier), value)
    assert abs(found[:40].mean() - found[40:].mean()) < 0.35


def test_the_candidates_own_attribute_is_never_read():
    target, world, _, words = case(np.random.default_rng(4))
    plain = run(target, world).values
    for lie in (np.repeat(words, 2), np.full(160, "tumour")):
        told = evolve(world.candidates, table={**world.candidates.table, "label": lie})
        assert (run(target, evolve(world, candidates=told)).values == plain).all()


def test_scores_equal_the_formula():
    target, world, _, _ = case(np.random.default_rng(5), patients=10)
    known, shown = (world.features(None, r).astype(float) for r in (world.candidates, target.released))
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    known, shown = (known - mean) / deviation, (shown - mean) / deviation
    label = target.released.table["label"]
    scores = run(target, world)
    for j in range(10):
        for a, option in enumerate(scores.options):
            near = [
                np.linalg.norm(shown[label == option] - x, axis=1).min() for x in known[2 * j : 2 * j + 2]
            ]
            assert scores.values[j, a] == pytest.approx(-np.mean(near), rel=1e-9)


@pytest.mark.parametrize("classifier", ["nearest", "logistic"])
def test_reference_patients_name_what_the_release_does_not(classifier):
    target, world, value, _ = case(np.random.default_rng(6), shift=8)
    sex = np.array(["F", "M"])[value]
    reference = Records(
        np.zeros((160, 1, 1, 1), np.uint8), {"patient": np.repeat(["r0", "r1"], 80), "sex": np.repeat(sex, 2)}
    )
    scores = run(target, evolve(world, reference=reference), attribute="sex", classifier=classifier)
    assert scores.options == ("F", "M")
    assert right(scores, value).mean() > 0.9


def test_an_attribute_that_nobody_tells_is_not_applicable():
    target, world, _, _ = case(np.random.default_rng(7))
    for reference in (None, Records(np.zeros((2, 1, 1, 1), np.uint8), {"patient": np.array(["r", "s"])})):
        with pytest.raises(NotApplicable, match="'site'"):
            run(target, evolve(world, reference=reference), attribute="site")


def test_one_value_leaves_nothing_to_guess():
    target, world, _, _ = case(np.random.default_rng(8))
    same = evolve(target, released=evolve(target.released, table={"label": np.full(80, "benign")}))
    with pytest.raises(NotApplicable, match="two or more"):
        run(same, world)


def test_images_without_a_value_are_left_out():
    target, world, value, _ = case(np.random.default_rng(9))
    label = target.released.table["label"].astype(object)
    label[::2] = ""
    some = evolve(target, released=evolve(target.released, table={"label": label}))
    scores = run(some, world)
    assert scores.options == ("benign", "tumour")
    assert right(scores, value)[:40].mean() > 0.9


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("0", "0-19"),
        ("19.9", "0-19"),
        ("63", "60-79"),
        ("100", "100-119"),
        ("40-60", "40-60"),
        ("", ""),
        ("nan", ""),
    ],
)
def test_ages_become_groups_of_twenty_years(text, group):
    assert age_group(text) == group


def test_order_of_candidates_changes_nothing_and_one_patient_is_enough():
    target, world, _, _ = case(np.random.default_rng(10), patients=20)
    order = np.random.default_rng(0).permutation(20)
    mixed = evolve(
        world, patients=world.patients[order], candidates=world.candidates.take(np.arange(40)[::-1])
    )
    assert run(target, mixed).values == pytest.approx(run(target, world).values[order], abs=1e-9)
    one = evolve(world, patients=world.patients[:1], candidates=world.candidates.take(np.arange(2)))
    assert run(target, one).values.shape == (1, 2)


@pytest.mark.parametrize("classifier", ["nearest", "logistic"])
def test_constant_images_favour_no_patient(classifier):
    target, world, _, _ = case(np.random.default_rng(11), patients=10)
    still = evolve(world, features=lambda _, records: np.ones((len(records), 3), np.float32))
    values = run(target, still, classifier=classifier).values
    assert np.ptp(values, axis=0).max() < 1e-9
