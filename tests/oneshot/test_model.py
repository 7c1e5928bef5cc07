import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from privagams.errors import ConfigError, StageError
from privagams.roles import Summarised, Summary
from privagams_oneshot.features import CONSTANT
from privagams_oneshot.fitting import distance
from privagams_oneshot.model import class_means
from privagams_oneshot.settings import DpMerfSettings

SIGMA_AT_8 = 0.6
"""What epsilon = 8, delta = 1e-5 cost in one Gaussian sum, rounded up."""


def silent(done, total):
    pass


def rng(seed):
    return torch.Generator().manual_seed(seed)


def test_a_model_fulfils_the_role(make):
    assert isinstance(make(), Summarised)


@pytest.mark.parametrize(
    ("size", "channels", "classes"), [(16, 3, ("a", "b")), (21, 1, ()), (4, 1, ()), (40, 3, ())]
)
def test_a_sample_has_the_shape_of_the_space_and_repeats(make, size, channels, classes):
    model, labels = make(size, channels, classes), np.zeros(130, np.int64)
    drawn = model.sample(labels, rng(1), silent)
    assert drawn.shape == (130, size, size, channels)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, model.sample(labels, rng(1), silent))
    assert not np.array_equal(drawn, model.sample(labels, rng(2), silent))
    assert model.sample(labels[:0], rng(1), silent).shape == (0, size, size, channels)


def test_progress_is_told_every_step_and_draw(make):
    model, seen = make(steps=4), []
    width = model.embedding(torch.zeros(1, 3, 16, 16)).shape[1]
    model.sums()[0].take(Summary(torch.zeros(1, 2, width), 10, 1.0))
    model.fit(rng(0), lambda *step: seen.append(step))
    model.sample(np.zeros(150, np.int64), rng(0), lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (100, 150), (150, 150)]


def test_a_loaded_model_draws_the_same_images(make, cohort, tell):
    fitted = make(seed=1)
    tell(fitted, *cohort, 1.0)
    fitted.fit(rng(0), silent)
    saved = {name: value.clone() for name, value in fitted.state_dict().items()}
    loaded = make(seed=2)
    loaded.load_state_dict(saved)
    labels = np.arange(20) % 2
    assert np.array_equal(fitted.sample(labels, rng(3), silent), loaded.sample(labels, rng(3), silent))


def test_a_fit_repeats_under_one_seed(make, cohort, tell):
    draws = []
    for _ in range(2):
        model = make()
        tell(model, *cohort, 1.0)
        model.fit(rng(0), silent)
        draws.append(model.sample(np.arange(8) % 2, rng(1), silent))
    assert np.array_equal(*draws)


def test_classes_are_counted_by_the_sum_itself(make, cohort, tell):
    model, (images, labels) = make(), cohort
    uneven = np.repeat(labels[::2] * (np.arange(200) % 4 == 1), 2)
    (summary,) = tell(model, images, uneven, sigma=0.0)
    means, _ = class_means(summary)
    assert torch.allclose(means[:, 0], torch.full((2,), math.sqrt(CONSTANT)), atol=1e-4)
    assert torch.allclose(summary.totals[0, :, 0] / means[:, 0], torch.tensor([150.0, 50.0]), atol=0.01)


def test_a_class_that_drowned_in_noise_is_not_blown_up(make):
    width = make().embedding(torch.zeros(1, 3, 16, 16)).shape[1]
    means, _ = class_means(Summary(torch.full((1, 2, width), -1.0), 80, 4.0))
    assert means.abs().max() <= 1 / 10


def test_a_fit_comes_closer_and_classes_differ_as_members_do(make, cohort, tell):
    """Two hundred patients at epsilon = 8: mean shade and the stripes of one class must come through."""
    images, labels = cohort
    model = make(steps=150, features=64, learning_rate=0.01)
    target, _ = class_means(*tell(model, images, labels, 0.0))
    tell(model, images, labels, SIGMA_AT_8)
    wanted = np.arange(200) % 2

    def apart():
        drawn = model.sample(wanted, rng(1), silent)
        pixels = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1
        embedded = model.embedding(pixels).view(100, 2, -1).transpose(0, 1)
        return (distance(embedded, target) + target.square().sum(1)).sum(), drawn

    before, _ = apart()
    model.fit(rng(0), silent)
    after, drawn = apart()
    assert after < 0.2 * before
    pale, dark = drawn[wanted == 0].astype(float), drawn[wanted == 1].astype(float)
    assert abs(pale.mean() - images[labels == 0].mean()) < 25
    assert abs(dark.mean() - images[labels == 1].mean()) < 25
    assert dark.std((1, 2)).mean() > 2 * pale.std((1, 2)).mean()


def test_a_fit_without_the_sum_is_refused(make):
    with pytest.raises(StageError, match="dp-merf: expected the noisy sum before the fit"):
        make().fit(rng(0), silent)


def test_images_too_small_to_have_a_texture_are_refused(make):
    with pytest.raises(ConfigError, match=r"tiles.size: dp-merf needs images of at least 4 px, found 3"):
        make(size=3)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 1}, {"averaging": 1.0}, {"learning_rate": 0.0}])
def test_settings_out_of_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DpMerfSettings(**wrong)


def test_listing_the_plugin_imports_no_torch():
    script = (
        "import sys, privagams_oneshot as p; c = list(p.privagams_generators()); "
        "assert not {'torch', 'numpy'} & set(sys.modules); [x.build(x.settings()) for x in c]; "
        "assert 'torch' in sys.modules; print(*(x.name for x in c))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "dp-merf scatter", done.stderr
