import numpy as np
import pytest
import torch

from privagams.errors import ConfigError, StageError
from privagams.roles import Summarised
from privagams_oneshot.scatter import shifted
from privagams_oneshot.scatter_settings import ScatterSettings


def silent(done, total):
    pass


def rng(seed):
    return torch.Generator().manual_seed(seed)


def test_a_scatter_model_fulfils_the_role(scatter):
    assert isinstance(scatter(), Summarised)


def test_the_budget_is_shared_out_whole(scatter):
    first, second = scatter(whitening_share=0.25).sums()
    assert (first.share, second.share) == (0.25, 0.75)
    assert (first.by_class, second.by_class) == (False, True)
    assert first.count == second.count == 1


@pytest.mark.parametrize(
    ("size", "channels", "classes"), [(16, 3, ("a", "b")), (21, 1, ()), (4, 1, ()), (40, 3, ())]
)
def test_a_scatter_sample_has_the_shape_of_the_space_and_repeats(scatter, size, channels, classes):
    model, labels = scatter(size, channels, classes), np.zeros(130, np.int64)
    drawn = model.sample(labels, rng(1), silent)
    assert drawn.shape == (130, size, size, channels)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, model.sample(labels, rng(1), silent))
    assert not np.array_equal(drawn, model.sample(labels, rng(2), silent))
    assert model.sample(labels[:0], rng(1), silent).shape == (0, size, size, channels)


def test_images_are_drawn_of_the_classes_asked_for(scatter):
    model = scatter()
    with torch.no_grad():
        model.network.finish.bias[:] = 0
        model.network.embed.weight[1] += 5
    labels = np.array([0, 1, 1, 0])
    before = model.sample(labels, rng(1), silent)
    with torch.no_grad():
        model.network.embed.weight[1] -= 5
    changed = (before != model.sample(labels, rng(1), silent)).any((1, 2, 3))
    assert changed.tolist() == [False, True, True, False]


def test_features_before_the_sums_they_rest_on_are_refused(scatter, cohort, tell):
    model = scatter()
    _, second = model.sums()
    with pytest.raises(StageError, match="scatter: expected the first noisy sum, found none"):
        second.features({"pixels": torch.zeros(1, 3, 16, 16)})
    with pytest.raises(StageError, match="scatter: expected the first noisy sum, found none"):
        model.fit(rng(0), silent)
    tell(model, *cohort, 0.0)
    model._target = None
    with pytest.raises(StageError, match="scatter: expected both noisy sums"):
        model.fit(rng(0), silent)


def test_the_second_sums_coordinates_come_from_the_noisy_answer_alone(scatter, cohort, tell):
    """Equal answers give equal coordinates, whoever the members were; another noise gives others."""
    images, labels = cohort
    model, other = scatter(), scatter()
    first, _ = tell(model, images, labels, 1.0)
    tell(other, 255 - images, labels, 1.0, seed=1)
    assert not torch.equal(model._whitening.matrix, other._whitening.matrix)
    other.sums()[0].take(first)
    assert torch.equal(model._whitening.matrix, other._whitening.matrix)
    assert torch.equal(model._whitening.mean, other._whitening.mean)


def test_a_scatter_fit_repeats_under_one_seed_and_a_loaded_model_draws_the_same(scatter, cohort, tell):
    draws = []
    for seed in (0, 0, 1):
        model = scatter()
        tell(model, *cohort, 1.0)
        model.fit(rng(seed), silent)
        draws.append(model.sample(np.arange(8) % 2, rng(1), silent))
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    loaded = scatter(seed=9)
    loaded.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert np.array_equal(loaded.sample(np.arange(8) % 2, rng(1), silent), draws[2])


def test_only_the_network_is_saved(scatter):
    model = scatter()
    assert set(model.state_dict()) == {f"network.{name}" for name in model.network.state_dict()}


def test_scatter_tells_progress_of_every_step_and_draw(scatter, cohort, tell):
    model, seen = scatter(steps=4), []
    tell(model, *cohort, 1.0)
    model.fit(rng(0), lambda *step: seen.append(step))
    model.sample(np.zeros(150, np.int64), rng(0), lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (100, 150), (150, 150)]


@pytest.mark.parametrize("quadratic", [True, False])
def test_scatter_draws_classes_that_differ_as_members_do(scatter, cohort, tell, quadratic):
    """Two hundred patients at epsilon = 8: mean shade and the stripes of one class must come through."""
    images, labels = cohort
    model = scatter(steps=150, learning_rate=0.01, quadratic=quadratic, shift=0)
    tell(model, images, labels, 0.6)
    model.fit(rng(0), silent)
    wanted = np.arange(200) % 2
    drawn = model.sample(wanted, rng(1), silent).astype(float)
    pale, dark = drawn[wanted == 0], drawn[wanted == 1]
    assert abs(pale.mean() - images[labels == 0].mean()) < 25
    assert abs(dark.mean() - images[labels == 1].mean()) < 25
    assert dark.std((1, 2)).mean() > 2 * pale.std((1, 2)).mean()


def test_equal_seeds_give_equal_scatter_models_and_leave_the_global_state_alone(scatter):
    before = torch.random.get_rng_state()
    one, same, other = scatter(seed=5), scatter(seed=5), scatter(seed=6)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(one.blocks.get_buffer("waves"), same.blocks.get_buffer("waves"))
    assert not torch.equal(one.blocks.get_buffer("waves"), other.blocks.get_buffer("waves"))
    assert all(torch.equal(v, same.state_dict()[name]) for name, v in one.state_dict().items())


def test_a_shift_moves_each_image_by_itself_and_repeats_its_edges():
    images = np.arange(200 * 25, dtype=np.int64).reshape(200, 5, 5, 1) % 251
    moved = shifted(images, 1, rng(0))
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    places = [(y, x) for y in range(3) for x in range(3)]
    found = [
        [p for p in places if np.array_equal(m, w[p[0] : p[0] + 5, p[1] : p[1] + 5])]
        for m, w in zip(moved, wide, strict=True)
    ]
    assert all(found)
    assert {p[0] for p in found} == set(places)
    assert shifted(images, 0, rng(0)) is images


def test_images_too_small_for_scatter_are_refused(scatter):
    with pytest.raises(ConfigError, match=r"tiles.size: scatter needs images of at least 4 px, found 3"):
        scatter(size=3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"whitening_share": 1.0}, {"caution": -0.1}, {"shift": -1}])
def test_scatter_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScatterSettings(**wrong)
