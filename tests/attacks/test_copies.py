import numpy as np
import pytest
from attrs import evolve

from privagams.access import Access, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams_attacks.copies import Copies, _margins
from privagams_attacks.likeness import correlation_features, shifted_pixels
from privagams_attacks.settings import CopiesSettings


def pixel_features(_, records):
    return records.read().reshape(len(records), -1).astype(np.float32)


def pictures(rng, patients, images=2, size=12):
    """Images of patients: alike within a patient, and of one kind over all."""
    common = rng.uniform(60, 200, (1, 1, size, size, 1))
    own = 25 * rng.normal(size=(patients, 1, size, size, 1))
    grain = 10 * rng.normal(size=(patients, images, size, size, 1))
    return np.clip(common + own + grain, 0, 255).astype(np.uint8)


def world_of(made, reference=None, prefix="p"):
    names = np.array([f"{prefix}{i:03}" for i in range(len(made))])
    records = Records(made.reshape(-1, *made.shape[2:]), {"patient": np.repeat(names, made.shape[1])})
    return World(records, names, reference, (), features=pixel_features)


def drawn(pixels):
    return Target(Records(np.ascontiguousarray(pixels), {}), Access.RELEASED)


def run(target, world, **settings):
    scores = Copies(CopiesSettings(**settings)).run(target, world, np.random.default_rng(0))
    assert scores.threshold == 0
    return scores.values


DETECTORS = ["features", "pixels"]


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("reference", [True, False])
def test_raw_copies_give_every_member_away_and_nobody_else(detector, reference):
    rng = np.random.default_rng(1)
    made = pictures(rng, 60)
    strangers = world_of(pictures(rng, 30), prefix="r").candidates if reference else None
    world = world_of(made[:40], strangers)
    released = Records(made[:20].reshape(-1, 12, 12, 1), {"group": np.repeat(np.arange(20), 2)})
    scores = run(Target(released, Access.RELEASED, groups=20), world, detector=detector)
    assert (scores[:20] > 0).all()
    assert (scores[20:] > 0).mean() <= 0.1


@pytest.mark.parametrize("detector", DETECTORS)
def test_copies_among_drawn_images_are_found_through_noise(detector):
    rng = np.random.default_rng(2)
    made = pictures(rng, 50)
    noisy = np.clip(made[:10, 0] + rng.normal(0, 3, made[:10, 0].shape), 0, 255).astype(np.uint8)
    other = pictures(rng, 30, 1)[:, 0]
    scores = run(drawn(np.concatenate([other, noisy])), world_of(made), detector=detector)
    assert (scores[:10] > 0).all()
    assert (scores[10:] > 0).mean() <= 0.1


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_release_of_other_people_gives_hardly_anybody_away(detector):
    rng = np.random.default_rng(3)
    made = pictures(rng, 200)
    common = world_of(made[:150], world_of(made[150:], prefix="r").candidates)
    scores = run(drawn(pictures(np.random.default_rng(3), 260)[200:, 0]), common, detector=detector)
    assert (scores > 0).mean() < 0.2


def test_the_threshold_calls_one_patient_in_twenty_among_real_ones():
    """Candidates against other candidates: at the 5 % quantile of patients, 5 % are called by chance."""
    rng = np.random.default_rng(4)
    made = pictures(rng, 400, images=3)
    reference, candidates = made[:200], made[200:]
    world = world_of(candidates, world_of(reference, prefix="r").candidates)
    scores = run(drawn(reference.reshape(-1, 12, 12, 1)), world, k=400)
    assert 0.01 <= (scores > 0).mean() <= 0.11


def test_like_images_of_one_patient_make_a_leak_no_smaller():
    made = pictures(np.random.default_rng(5), 30, images=1)
    world = world_of(made)
    extra = Records(
        np.concatenate([world.candidates.pixels, np.repeat(made[0], 6, axis=0)]),
        {"patient": np.concatenate([world.candidates.patient, ["p000"] * 6])},
    )
    assert run(drawn(made[0]), evolve(world, candidates=extra), k=1)[0] > 0


@pytest.mark.parametrize(("k", "found"), [(2, False), (3, True)])
def test_an_image_as_near_to_many_patients_is_nobodys(k, found):
    made = pictures(np.random.default_rng(6), 80, images=1)
    made[1], made[2] = made[0], made[0]
    scores = run(drawn(made[0]), world_of(made), k=k)
    assert (scores[:3] > 0).all() if found else (scores[:3] == 0).all()


def test_rivals_are_counted_by_patient_within_the_threshold_and_twice_the_distance():
    distances = np.array([[0.1, 0.15, 0.21, 0.9], [0.0, 0.3, 0.3, 0.3], [0.6, 0.7, 0.8, 0.9]])
    assert _margins(distances, 0.5, 1) == pytest.approx(
        np.array([[0, 0, 0, -0.4], [0.5, 0, 0, 0], [-0.1, -0.2, -0.3, -0.4]]) * 1.0
    )
    assert _margins(distances, 0.5, 2)[0] == pytest.approx([0.4, 0, 0, -0.4])


def test_the_first_patient_of_a_row_keeps_its_lead_when_others_are_twice_as_far():
    assert _margins(np.array([[0.1, 0.21, 0.4]]), 0.5, 1)[0] == pytest.approx([0.4, 0, 0])


def test_small_shifts_are_undone():
    rng = np.random.default_rng(7)
    made = rng.integers(0, 256, (12, 1, 12, 12, 1)).astype(np.uint8)
    moved = np.roll(made[0], 1, axis=1)
    found = run(drawn(moved), world_of(made), detector="pixels", shift=1)
    missed = run(drawn(moved), world_of(made), detector="pixels", shift=0)
    assert found[0] > 0
    assert missed[0] <= 0


def test_pixel_distance_is_the_normalised_one():
    rng = np.random.default_rng(8)
    a, b = (Records(rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8), {}) for _ in range(2))
    (found,) = shifted_pixels(a, 32, 0).to_owners(shifted_pixels(b, 32, 0), np.arange(3))
    gap = (a.pixels[:, None].astype(float) - b.pixels[None]) / 255
    assert found == pytest.approx(np.sqrt((gap**2).mean(axis=(2, 3, 4))), abs=1e-6)


def test_feature_distance_follows_the_correlation():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(4, 20)), rng.normal(size=(5, 20))
    (found,) = correlation_features(a).to_owners(correlation_features(b), np.arange(5))
    correlation = np.corrcoef(a, b)[:4, 4:]
    assert 1 - found**2 / 2 == pytest.approx(correlation, abs=1e-9)


def test_constant_images_are_nobodys():
    blank = np.full((5, 2, 12, 12, 1), 90, np.uint8)
    for detector in DETECTORS:
        assert (run(drawn(blank[0]), world_of(blank), detector=detector) <= 0).all()


def test_a_lone_patient_without_reference_cannot_be_judged():
    made = pictures(np.random.default_rng(10), 1)
    with pytest.raises(NotApplicable, match="one patient only"):
        run(drawn(made[0]), world_of(made))


def test_a_lone_patient_is_judged_by_the_reference():
    rng = np.random.default_rng(11)
    made = pictures(rng, 12)
    world = world_of(made[:1], world_of(made[1:], prefix="r").candidates)
    assert run(drawn(made[0]), world)[0] > 0


def test_order_of_candidates_changes_nothing():
    rng = np.random.default_rng(12)
    made = pictures(rng, 20)
    world, target = world_of(made), drawn(made[:5, 0])
    order = rng.permutation(20)
    mixed = evolve(
        world, patients=world.patients[order], candidates=world.candidates.take(rng.permutation(40))
    )
    assert run(target, mixed) == pytest.approx(run(target, world)[order], abs=1e-9)
