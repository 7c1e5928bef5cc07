import numpy as np
import pytest
import torch
from attrs import evolve

from privagams.access import Access, Target, World
from privagams.records import Records
from privagams_attacks.embedding import embed, load, train, varied
from privagams_attacks.learned_linkage import LearnedLinkage
from privagams_attacks.settings import LearnedLinkageSettings

QUICK = {"steps": 40, "width": 8, "batch": 16}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(rng, patients, images, size=16, signal=60):
    """Grey images: a faint pattern of the patient's own under strong shading that differs by image."""
    own = rng.normal(size=(patients, 1, size // 4, size // 4, 1)).repeat(4, axis=2).repeat(4, axis=3)
    ramp = np.linspace(-1, 1, size)[:, None, None] * rng.normal(size=(patients, images, 1, 1, 1))
    shade = 70 * ramp + 40 * rng.normal(size=(patients, images, 1, 1, 1))
    return np.clip(128 + signal * own / 2 + shade, 0, 255).astype(np.uint8)


def case(rng, patients=20, **options):
    made = pictures(rng, patients, 4, **options)
    names = np.array([f"p{i:02}" for i in range(patients)])
    shape = (-1, *made.shape[2:])
    candidates = Records(made[:, :3].reshape(shape), {"patient": np.repeat(names, 3)})
    released = Records(made[:, 3].copy(), {"group": np.arange(patients)})
    return Target(released, Access.RELEASED, patients), World(candidates, names, None, (), features=None)


def run(target, world, seed=0, **settings):
    attack = LearnedLinkage(LearnedLinkageSettings(**{**QUICK, **settings}))
    return attack.run(target, world, np.random.default_rng(seed))


def top1(scores):
    return (scores.values.argmax(axis=1) == np.arange(len(scores.values))).mean()


def test_it_learns_to_see_patients_through_what_varies():
    target, world = case(np.random.default_rng(1))
    untrained, trained = top1(run(target, world, steps=0)), top1(run(target, world, steps=150))
    assert trained > 0.6
    assert trained > untrained + 0.2


def test_it_learns_from_reference_patients_too():
    target, world = case(np.random.default_rng(2), patients=16)
    other = pictures(np.random.default_rng(3), 10, 3)
    reference = Records(other.reshape(-1, 16, 16, 1), {"patient": np.repeat([f"r{i}" for i in range(10)], 3)})
    with_it = run(target, evolve(world, reference=reference)).values
    assert not np.allclose(with_it, run(target, world).values)


def test_a_row_depends_on_its_own_group_alone():
    target, world = case(np.random.default_rng(4), patients=8)
    full = run(target, world).values
    alone = Target(target.released.take(np.array([0])), Access.RELEASED, groups=1)
    assert run(alone, world).values[0] == pytest.approx(full[0], abs=1e-5)


def test_order_of_candidates_changes_nothing():
    target, world = case(np.random.default_rng(5), patients=8)
    rng = np.random.default_rng(0)
    order = rng.permutation(8)
    mixed = evolve(
        world,
        candidates=world.candidates.take(rng.permutation(len(world.candidates))),
        patients=world.patients[order],
    )
    assert (run(target, mixed).values == run(target, world).values[:, order]).all()


def test_equal_seeds_give_equal_scores_and_touch_no_global_randomness():
    target, world = case(np.random.default_rng(6), patients=6)
    before = torch.random.get_rng_state()
    one, again, other = (run(target, world, seed=s).values for s in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert (torch.random.get_rng_state() == before).all()


def test_drawn_images_near_a_patient_raise_that_patients_score():
    rng = np.random.default_rng(7)
    target, world = case(rng, patients=12)
    shown = evolve(target.released, table={}).take(np.arange(6))
    scores = run(Target(shown, Access.RELEASED), world, steps=150).values
    assert scores.shape == (12,)
    assert scores[:6].mean() > scores[6:].mean()
    assert (scores[:6][:, None] > scores[6:]).mean() > 0.8


@pytest.mark.parametrize("patients", [1, 2])
def test_patients_with_a_single_image_pair_it_with_itself(patients):
    target, world = case(np.random.default_rng(8), patients=patients)
    single = evolve(world, candidates=world.candidates.take(np.arange(0, 3 * patients, 3)))
    assert np.isfinite(run(target, single, steps=3).values).all()
    drawn = Target(evolve(target.released, table={}), Access.RELEASED)
    assert run(drawn, single, steps=3).values.shape == (patients,)


def test_constant_images_say_nothing():
    target, world = case(np.random.default_rng(9), patients=4)
    blank = np.full_like(world.candidates.pixels, 200)
    target = evolve(target, released=evolve(target.released, pixels=blank[:4]))
    values = run(target, evolve(world, candidates=evolve(world.candidates, pixels=blank)), steps=5).values
    assert np.ptp(values) < 1e-3


def test_scores_of_images_are_given_where_files_are_told_apart():
    target, world = case(np.random.default_rng(10), patients=4)
    names = np.char.add("i", np.arange(12).astype(str))
    table = {**world.candidates.table, "image": names}
    scores = run(target, evolve(world, candidates=evolve(world.candidates, table=table)), steps=3)
    assert scores.by_image.shape == (4, 12)
    owner = np.repeat(np.arange(4), 3)[np.argsort(names)]
    for j in range(4):
        assert scores.values[:, j] == pytest.approx(scores.by_image[:, owner == j].max(axis=1), abs=1e-9)


def test_features_have_norm_one_and_large_images_are_reduced():
    rng = np.random.default_rng(11)
    records = Records(rng.integers(0, 256, (5, 100, 50, 3), dtype=np.uint8), {})
    images = load(records, 40)
    assert images.shape == (5, 3, 40, 20)
    net = train(
        images,
        np.arange(5),
        LearnedLinkageSettings(
            **QUICK,
        ),
        3,
    )
    assert np.linalg.norm(embed(net, images), axis=1) == pytest.approx(1, abs=1e-5)


def test_variation_keeps_what_an_image_shows():
    ramp = torch.linspace(-1, 1, 32).repeat(6, 1, 32, 1).transpose(2, 3)
    changed = varied(ramp, torch.Generator().manual_seed(1))
    for image in changed:
        assert torch.corrcoef(torch.stack([image.flatten(), ramp[0].flatten()]))[0, 1] > 0.95
    assert (changed != ramp).any()
