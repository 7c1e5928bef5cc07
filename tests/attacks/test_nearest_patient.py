import numpy as np
import pytest
from scipy.spatial.distance import cdist

from privagams.access import Access, Target, World
from privagams.component import Use
from privagams.judge.intervals import auc
from privagams.records import Records
from privagams_attacks import privagams_attacks
from privagams_attacks.nearest import distance_rows, nearest_distance
from privagams_attacks.nearest_patient import NearestPatient
from privagams_attacks.settings import NearestPatientSettings


def pixel_features(embedder, records):
    """The embedder of these tests: the pixels themselves."""
    return records.read().reshape(len(records), -1).astype(np.float32)


def patients_and_images(rng, patients, images, size=4, spread=8):
    """Images of patients: a colour field of each patient's own, with noise that differs by image."""
    base = rng.integers(40, 216, (patients, 1, size, size, 3))
    noise = rng.integers(-spread, spread + 1, (patients, images, size, size, 3))
    return (base + noise).astype(np.uint8)


def records(images, patient, **columns):
    return Records(np.ascontiguousarray(images), {"patient": np.asarray(patient, dtype=str), **columns})


def world_of(candidates, patients):
    return World(candidates, patients, None, (), features=pixel_features)


def copies(rng, patients=12, images=6):
    made = patients_and_images(rng, patients, images)
    names = np.array([f"p{i}" for i in range(patients)])
    owner = np.repeat(names, 3)
    candidates = records(made[:, 3:].reshape(-1, 4, 4, 3), owner)
    group = np.repeat(np.arange(patients), 3)
    released = records(made[:, :3].reshape(-1, 4, 4, 3), [""] * len(group), group=group)
    return Target(released, Access.RELEASED, groups=patients), world_of(candidates, names)


def attack(**settings):
    return NearestPatient(NearestPatientSettings(**settings))


@pytest.mark.parametrize("standardise", [True, False])
def test_copies_of_distinct_patients_are_linked(standardise):
    rng = np.random.default_rng(1)
    target, world = copies(rng)
    scores = attack(standardise=standardise).run(target, world, rng).values
    assert scores.shape == (12, 12)
    assert (scores.argmax(axis=1) == np.arange(12)).all()


def test_scores_equal_the_formula():
    rng = np.random.default_rng(2)
    target, world = copies(rng, patients=5)
    scores = attack(standardise=False).run(target, world, rng).values
    released, known = pixel_features(None, target.released), pixel_features(None, world.candidates)
    for g in range(5):
        for j, name in enumerate(world.patients):
            d = cdist(released[target.released.table["group"] == g], known[world.candidates.patient == name])
            assert -scores[g, j] == pytest.approx(d.min(axis=1).mean(), rel=1e-9)


def test_a_row_depends_on_its_own_group_alone():
    rng = np.random.default_rng(3)
    target, world = copies(rng)
    full = attack().run(target, world, rng).values
    group = target.released.table["group"]
    one = Target(target.released.take(group == 0), Access.RELEASED, groups=1)
    assert attack().run(one, world, rng).values[0] == pytest.approx(full[0], rel=1e-9)


def test_scores_follow_the_patients_in_whatever_order_they_are_given():
    rng = np.random.default_rng(4)
    target, world = copies(rng)
    order = rng.permutation(len(world.patients))
    shuffled = world_of(world.candidates.take(rng.permutation(len(world.candidates))), world.patients[order])
    straight = attack().run(target, world, rng).values
    assert attack().run(target, shuffled, rng).values == pytest.approx(straight[:, order], rel=1e-9)


def test_drawn_images_near_a_patient_raise_that_patients_score():
    rng = np.random.default_rng(5)
    made = patients_and_images(rng, 10, 4)
    names = np.array([f"p{i}" for i in range(10)])
    candidates = records(made[:, :2].reshape(-1, 4, 4, 3), np.repeat(names, 2))
    released = records(made[:5, 2:].reshape(-1, 4, 4, 3), [""] * 10)
    scores = attack().run(Target(released, Access.RELEASED), world_of(candidates, names), rng).values
    assert scores.shape == (10,)
    assert scores[:5].min() > scores[5:].max()


def test_drawn_scores_equal_the_formula():
    rng = np.random.default_rng(9)
    made = patients_and_images(rng, 6, 3)
    names = np.array([f"p{i}" for i in range(6)])
    candidates = records(made.reshape(-1, 4, 4, 3), np.repeat(names, 3))
    released = records(patients_and_images(rng, 4, 2).reshape(-1, 4, 4, 3), [""] * 8)
    target, world = Target(released, Access.RELEASED), world_of(candidates, names)
    known, drawn = pixel_features(None, candidates), pixel_features(None, released)
    plain = attack(standardise=False, calibrated=False).run(target, world, rng).values
    calibrated = attack(standardise=False).run(target, world, rng).values
    for j, name in enumerate(names):
        mine = candidates.patient == name
        nearest = cdist(known[mine], drawn).min(axis=1)
        others = cdist(known[mine], known[~mine]).min(axis=1)
        assert -plain[j] == pytest.approx(nearest.mean(), rel=1e-9)
        assert -calibrated[j] == pytest.approx((nearest - others).mean(), rel=1e-9)


def test_calibration_finds_members_whom_unusual_looks_would_hide():
    rng = np.random.default_rng(10)
    spread = np.repeat(rng.uniform(0.2, 5, 80), 2)[:, None]
    base = np.repeat(rng.normal(size=(80, 8)), 2, axis=0) * spread
    features = (base + 0.3 * spread * rng.normal(size=base.shape)).astype(np.float32)
    names = np.array([f"p{i:02}" for i in range(80)])
    blank = np.zeros((160, 1, 1, 3), np.uint8)
    known, main = np.arange(160) % 2 == 0, (np.arange(160) % 2 == 1) & (np.arange(160) < 80)
    candidates = Records(blank, {"patient": names}, np.flatnonzero(known))
    released = Records(blank, {"patient": np.full(40, "")}, np.flatnonzero(main))
    world = World(candidates, names, None, (), features=lambda _, chosen: features[chosen.rows])
    member = np.arange(80) < 40
    found = []
    for calibrated in (False, True):
        scores = attack(calibrated=calibrated).run(Target(released, Access.RELEASED), world, rng).values
        found.append(auc(scores[member], scores[~member]))
    assert found[1] > found[0] + 0.1


def test_a_lone_patient_has_no_others_to_compare_with():
    rng = np.random.default_rng(11)
    candidates = records(rng.integers(0, 255, (2, 4, 4, 3)).astype(np.uint8), ["p0", "p0"])
    released = records(rng.integers(0, 255, (3, 4, 4, 3)).astype(np.uint8), [""] * 3)
    scores = attack().run(Target(released, Access.RELEASED), world_of(candidates, np.array(["p0"])), rng)
    assert scores.values.shape == (1,)


def test_distances_match_scipy_and_find_exact_copies():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(70, 30)) * 100, rng.normal(size=(50, 30)) * 100
    b[3] = a[5]
    found = np.concatenate([distances for _, distances in distance_rows(a, b)])
    assert found == pytest.approx(cdist(a, b), abs=1e-4)
    assert nearest_distance(a, b)[5] < 1e-4


def test_a_patient_without_candidate_images_is_named_as_the_fault():
    rng = np.random.default_rng(8)
    target, world = copies(rng)
    with pytest.raises(ValueError, match="none for 1 of 13"):
        attack().run(target, world_of(world.candidates, np.append(world.patients, "absent")), rng)


def test_scores_of_images_are_given_where_files_are_told_apart():
    rng = np.random.default_rng(12)
    target, world = copies(rng, patients=4)
    names = np.array([f"i{i:02}" for i in range(12)])[::-1]
    named = records(world.candidates.pixels, world.candidates.patient, image=names)
    scores = attack(standardise=False).run(target, world_of(named, world.patients), rng)
    assert scores.by_image.shape == (4, 12)
    released, known = pixel_features(None, target.released), pixel_features(None, named)
    for g in range(4):
        expected = cdist(released[target.released.table["group"] == g], known).mean(axis=0)
        assert -scores.by_image[g] == pytest.approx(expected[np.argsort(names)], rel=1e-9)
    assert attack().run(target, world, rng).by_image is None


def test_which_gallery_is_held_is_a_setting():
    assert attack().holds == "other images"
    assert attack(gallery="all images").holds == "all images"


def test_the_package_offers_its_attacks_with_their_settings():
    offered = {component.name: component for component in privagams_attacks()}
    component = offered["nearest-patient"]
    built = component.build(component.settings())
    assert (built.game, built.access, built.shadows, built.labels) == ("linkage", Access.RELEASED, 0, False)
    assert component.settings().embedder == Use("texture")
    games = {
        "nearest-patient": "linkage", "slide-descriptor": "linkage", "learned-linkage": "linkage",
        "two-views": "linkage", "copies": "extraction", "attribute": "attribute",
    }  # fmt: skip
    for name, game in games.items():
        assert offered[name].build(offered[name].settings()).game == game
