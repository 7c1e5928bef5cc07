import math
from itertools import combinations

import numpy as np
import pytest
from attrs import evolve
from scipy.stats import rankdata

from privagams.access import Access, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams_attacks.settings import TwoViewsSettings
from privagams_attacks.two_views import TwoViews, _meet, chance_of_meeting, meeting_rank


def setting(known, released, images=1):
    """A world and a target over given features; released ones are told apart by their missing patient."""
    count = len(known) // images
    names = np.array([f"p{i:03}" for i in range(count)])
    everything = np.concatenate([known, released])
    pixels = np.zeros((len(everything), 1, 1, 3), np.uint8)
    candidates = Records(pixels, {"patient": np.repeat(names, images)}, np.arange(len(known)))
    shown = Records(pixels, {}, np.arange(len(known), len(everything)))
    world = World(candidates, names, None, (), features=lambda _, r: everything[r.rows])
    return Target(shown, Access.RELEASED), world


def run(target, world, **settings):
    return TwoViews(TwoViewsSettings(**settings)).run(target, world, np.random.default_rng(0))


def naive_links(known, released, k):
    """Anonymeter's rule, written out."""
    middle = known.shape[1] // 2
    links = []
    for probe in known:
        sets = [
            set(np.argsort(np.linalg.norm(released[:, part] - probe[part], axis=1))[:k])
            for part in (slice(None, middle), slice(middle, None))
        ]
        links.append(bool(sets[0] & sets[1]))
    return np.array(links)


@pytest.mark.parametrize("k", [1, 2, 5, 30])
def test_patients_found_are_those_whose_nearest_sets_share_an_image(k):
    rng = np.random.default_rng(k)
    known, released = rng.normal(size=(40, 6)), rng.normal(size=(60, 6))
    target, world = setting(known, released)
    scores = run(target, world, k=k)
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    links = naive_links((known - mean) / deviation, (released - mean) / deviation, k)
    assert ((scores.values > scores.threshold) == links).all()


@pytest.mark.parametrize(
    ("released", "k", "expected"), [(4, 1, 0.25), (4, 2, 5 / 6), (4, 3, 1), (9, 3, 1 - 20 / 84)]
)
def test_chance_has_a_closed_form(released, k, expected):
    sets = list(combinations(range(released), k))
    counted = np.mean([bool(set(a) & set(b)) for a in sets for b in sets])
    assert chance_of_meeting(released, k) == pytest.approx(counted)
    assert counted == pytest.approx(expected)


def test_on_noise_links_are_as_frequent_as_chance():
    rng = np.random.default_rng(1)
    target, world = setting(rng.normal(size=(3000, 8)), rng.normal(size=(50, 8)))
    scores = run(target, world, k=3)
    b = chance_of_meeting(50, 3)
    assert (scores.values > scores.threshold).mean() == pytest.approx(b, abs=5 * math.sqrt(b / 3000))


def test_members_shown_in_the_release_are_linked_and_others_hardly():
    rng = np.random.default_rng(2)
    known = rng.normal(size=(100, 10))
    target, world = setting(known, known[:50] + 0.01 * rng.normal(size=(50, 10)))
    scores = run(target, world, k=1)
    found = scores.values > scores.threshold
    assert found[:50].all()
    assert found[50:].mean() < 0.2


def test_a_patient_scores_as_the_mean_log_rank_of_all_images():
    rng = np.random.default_rng(3)
    known, released = rng.normal(size=(30, 4)), rng.normal(size=(25, 4))
    target, world = setting(known, released, images=3)
    one_each = run(*setting(known, released)).values
    assert run(target, world).values == pytest.approx(one_each.reshape(10, 3).mean(axis=1))


def test_equal_distances_make_no_link():
    same = np.ones((6, 4))
    target, world = setting(same, np.ones((20, 4)))
    scores = run(target, world, k=5)
    assert (scores.values == -math.log(20)).all()
    assert (scores.values < scores.threshold).all()


def test_the_least_k_is_the_rank_at_which_both_views_meet():
    known = np.zeros((1, 1))
    a, b = np.array([[1.0], [2], [3]]), np.array([[3.0], [2], [1.0]])
    assert meeting_rank([[known, a], [known, b]]).tolist() == [2]
    assert meeting_rank([[known, a], [known, a]]).tolist() == [1]


@pytest.mark.parametrize("levels", [3, 40, 10**6])
@pytest.mark.parametrize("related", [0, 0.5, 1])
def test_meeting_ranks_equal_those_of_a_full_ranking(levels, related):
    rng = np.random.default_rng(levels)
    a = rng.integers(1, levels, (50, 400)).astype(float)
    b = np.where(rng.random(a.shape) < related, a, rng.integers(1, levels, a.shape))
    full = np.maximum(rankdata(a, method="max", axis=1), rankdata(b, method="max", axis=1)).min(axis=1)
    assert (_meet(a, b) == full).all()
    opposed = a.max() - a
    full = np.maximum(rankdata(a, method="max", axis=1), rankdata(opposed, method="max", axis=1)).min(axis=1)
    assert (_meet(a, opposed) == full).all()


@pytest.mark.parametrize("views", ["sides", "channels"])
def test_sides_and_channels_of_the_pixels_are_views_too(views):
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    candidates = Records(pixels, {"patient": np.array([f"p{i:02}" for i in range(40)])})
    target = Target(Records(pixels[:20].copy(), {}), Access.RELEASED)
    scores = run(target, World(candidates, candidates.patients, None, (), features=None), views=views, k=1)
    found = scores.values > scores.threshold
    assert found[:20].all()
    assert found[20:].mean() < 0.5


def test_grey_images_have_no_channels_to_tell_apart():
    grey = Records(np.zeros((2, 8, 8, 1), np.uint8), {"patient": np.array(["a", "b"])})
    world = World(grey, grey.patients, None, (), features=None)
    with pytest.raises(NotApplicable, match="one channel"):
        run(Target(grey, Access.RELEASED), world, views="channels")


def test_copies_are_linked_directly():
    rng = np.random.default_rng(5)
    target, world = setting(rng.normal(size=(4, 4)), rng.normal(size=(4, 4)))
    with pytest.raises(NotApplicable, match="directly"):
        run(evolve(target, groups=2), world)


def test_one_patient_and_one_released_image_can_be_scored():
    target, world = setting(np.zeros((1, 2)), np.zeros((1, 2)))
    scores = run(target, world)
    assert scores.values.tolist() == [0]
    assert scores.values[0] > scores.threshold


def test_order_of_candidates_changes_nothing():
    rng = np.random.default_rng(6)
    target, world = setting(rng.normal(size=(12, 4)), rng.normal(size=(9, 4)))
    order = rng.permutation(12)
    mixed = evolve(world, patients=world.patients[order], candidates=world.candidates.take(order[::-1]))
    assert run(target, mixed).values == pytest.approx(run(target, world).values[order])
