import numpy as np
import pytest
from attrs import evolve

from privagams.access import Access, Target, World
from privagams.errors import NotApplicable
from privagams.records import Records
from privagams_attacks.descriptors import fit_descriptor
from privagams_attacks.settings import SlideDescriptorSettings
from privagams_attacks.slide_descriptor import SlideDescriptor

POOLINGS = ["vlad", "fisher", "mean"]


def case(rng, patients=15, tiles=30, slides=2, kinds=6, d=10):
    """Slides whose tiles are of several kinds, in shares that are the patient's own; one slide is released."""
    centres, shares = rng.normal(size=(kinds, d)), rng.dirichlet(np.full(kinds, 0.5), patients)
    tint = 0.3 * rng.normal(size=(patients, d))
    count = patients * (slides + 1) * tiles
    patient = np.repeat(np.arange(patients), (slides + 1) * tiles)
    slide = np.tile(np.repeat(np.arange(slides + 1), tiles), patients)
    kind = np.array([rng.choice(kinds, p=shares[p]) for p in patient])
    features = (centres[kind] + tint[patient] + 0.3 * rng.normal(size=(count, d))).astype(np.float32)
    names = np.array([f"p{p:02}" for p in patient])
    table = {"patient": names, "image": np.char.add(names, np.char.add("-", slide.astype(str)))}
    pixels = np.zeros((count, 1, 1, 3), np.uint8)
    everything = Records(pixels, table)
    released = Records(pixels, {"group": patient[slide == 0]}, np.flatnonzero(slide == 0))
    world = World(everything.take(slide > 0), everything.patients, None, (), lambda _, r: features[r.rows])
    return Target(released, Access.RELEASED, groups=patients), world


def run(target, world, seed=0, **settings):
    return SlideDescriptor(SlideDescriptorSettings(**settings)).run(
        target, world, np.random.default_rng(seed)
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_slides_of_one_patient_are_linked(pooling):
    target, world = case(np.random.default_rng(1))
    scores = run(target, world, pooling=pooling, words=8)
    assert scores.values.shape == (15, 15)
    assert (scores.values.argmax(axis=1) == np.arange(15)).mean() > 0.8


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_patient_scores_as_the_best_of_his_images(pooling):
    target, world = case(np.random.default_rng(2), patients=6)
    scores = run(target, world, pooling=pooling, words=4)
    assert scores.by_image.shape == (6, 12)
    owner = np.array([name.split("-")[0] for name in world.images])
    for j, name in enumerate(world.patients):
        assert (scores.values[:, j] == scores.by_image[:, owner == name].max(axis=1)).all()
    assert np.abs(scores.by_image).max() <= 1 + 1e-9


def test_image_scores_follow_the_names_and_not_the_order_of_the_records():
    target, world = case(np.random.default_rng(3), patients=5)
    shuffled = evolve(
        world, candidates=world.candidates.take(np.random.default_rng(0).permutation(len(world.candidates)))
    )
    straight = run(target, world, words=4)
    other = run(target, shuffled, words=4)
    assert other.by_image == pytest.approx(straight.by_image, abs=1e-9)
    assert other.values == pytest.approx(straight.values, abs=1e-9)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_depends_on_its_own_group_alone(pooling):
    target, world = case(np.random.default_rng(4), patients=5)
    full = run(target, world, pooling=pooling, words=4).values
    alone = Target(target.released.take(target.released.table["group"] == 0), Access.RELEASED, groups=1)
    assert run(alone, world, pooling=pooling, words=4).values[0] == pytest.approx(full[0], abs=1e-12)


def test_vlad_equals_its_formula():
    rng = np.random.default_rng(5)
    tiles = rng.normal(size=(200, 3))
    describe = fit_descriptor(tiles, "vlad", 3, 4, np.random.default_rng(0))
    from sklearn.cluster import KMeans

    reduced = (tiles - tiles.mean(axis=0)) @ describe.axes
    reduced /= np.linalg.norm(reduced, axis=1, keepdims=True)
    seed = int(np.random.default_rng(0).integers(2**31))
    means = KMeans(4, n_init=1, random_state=seed).fit(reduced)
    expected = np.zeros((4, 3))
    for tile, word in zip(reduced[:50], means.predict(reduced[:50]), strict=True):
        expected[word] += tile - means.cluster_centers_[word]
    expected = np.sign(expected.ravel()) * np.sqrt(np.abs(expected.ravel()))
    found = describe(tiles[:50], np.zeros(50, dtype=int), 1)[0]
    assert found == pytest.approx(expected / np.linalg.norm(expected), abs=1e-9)


def test_axes_are_the_principal_ones():
    rng = np.random.default_rng(6)
    tiles = rng.normal(size=(500, 4)) * [1, 10, 3, 0.1]
    describe = fit_descriptor(tiles, "mean", 2, 1, rng)
    assert np.abs(describe.axes[1, 0]) > 0.99
    assert np.abs(describe.axes[2, 1]) > 0.99


def test_images_of_one_tile_are_compared_as_they_are():
    target, world = case(np.random.default_rng(7), tiles=1, slides=1)
    words, plain = (run(target, world, pooling=p).values for p in ("vlad", "mean"))
    assert (words == plain).all()


def test_without_names_of_image_files_a_patient_is_one_image():
    target, world = case(np.random.default_rng(8), patients=5)
    table = {"patient": world.candidates.patient}
    scores = run(target, evolve(world, candidates=evolve(world.candidates, table=table)), words=4)
    assert scores.by_image is None
    assert scores.values.shape == (5, 5)


def test_drawn_images_have_no_slide():
    target, world = case(np.random.default_rng(9), patients=3)
    with pytest.raises(NotApplicable, match="belong to no slide"):
        run(Target(target.released, Access.RELEASED), world)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_constant_images_say_nothing(pooling):
    target, world = case(np.random.default_rng(10), patients=3)
    still = evolve(world, features=lambda _, records: np.full((len(records), 5), 7, np.float32))
    scores = run(target, still, pooling=pooling)
    assert np.ptp(scores.values) < 1e-9


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_patient_with_one_tile_can_be_scored(pooling):
    target, world = case(np.random.default_rng(11), patients=1, tiles=1, slides=1)
    assert run(target, world, pooling=pooling).values.shape == (1, 1)


def test_it_is_fitted_on_a_capped_number_of_tiles_and_on_the_reference():
    target, world = case(np.random.default_rng(12), patients=4)
    strangers = evolve(world.candidates, table={**world.candidates.table})
    asked = []

    def features(_, records):
        asked.append(len(records))
        return world.features(_, records)

    wider = evolve(world, reference=strangers, features=features)
    scores = run(target, wider, words=4, tiles_per_image=3, fitted_images=2)
    assert scores.values.shape == (4, 4)
    assert asked.count(len(strangers)) == 2


def test_which_gallery_is_held_is_a_setting():
    built = SlideDescriptor(SlideDescriptorSettings(gallery="all images"))
    assert built.holds == "all images"
    assert SlideDescriptor(SlideDescriptorSettings()).holds == "other images"
