"""Only k coordinates carry the image; the others are nobody's."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from privagams.errors import ConfigError, PluginError
from privagams.roles import Coordinates
from privagams_dp.latent_topk import LatentTopk
from privagams_dp.local_settings import LatentTopkSettings

CHOSEN = [17, 3, 40]


def made(places=CHOSEN, size=64, **settings):
    figures = LatentTopkSettings(**{"epsilon": 500.0, "delta": 1e-5, "k": len(CHOSEN), **settings})
    return LatentTopk(figures).randomiser(Coordinates(size, lambda k: np.array(places)), 0, 1)


def test_coordinates_that_are_not_chosen_have_no_influence():
    vectors = np.full((2000, 64), 1e9)
    vectors[:, CHOSEN] = 0.1
    found = made().randomise(vectors)
    others = np.delete(found, CHOSEN, axis=1)
    assert kstest(others.ravel(), "norm").pvalue > 1e-7
    assert np.abs(np.corrcoef(others[:, :20].T) - np.eye(20)).max() < 7 / math.sqrt(2000)


def test_chosen_coordinates_come_through_in_their_places():
    vectors = np.zeros((400, 64))
    vectors[:, CHOSEN] = [0.5, -0.7, 0.9]
    assert np.abs(made().randomise(vectors)[:, CHOSEN].mean(axis=0) - [0.5, -0.7, 0.9]).max() < 0.08


def test_what_is_drawn_anew_is_drawn_from_no_seed():
    once, again = (made().randomise(np.zeros((2, 64))) for _ in range(2))
    assert not np.array_equal(once, again)
    assert abs(np.corrcoef(once[0], once[1])[0, 1]) < 0.9


def test_the_cost_is_that_of_k_coordinates_alone():
    small, large = (made(size=size, epsilon=8.0) for size in (64, 4096))
    assert small.event == large.event
    assert small.noise.scale == large.noise.scale
    assert small.noise.radius == pytest.approx(1.05 * math.sqrt(3))


def test_the_default_clip_is_that_of_the_noise():
    assert made(noise="laplace", delta=None).noise.clip == 3.0
    assert made(noise="laplace", delta=None, clip=2.0).noise.clip == 2.0
    assert made(clip=2.0).noise.radius == pytest.approx(2 * math.sqrt(3))


def test_more_coordinates_than_there_are_is_refused():
    with pytest.raises(
        ConfigError, match=r"expected k to be at most the 64 coordinates .* found 65; lower k"
    ):
        made(k=65)


@pytest.mark.parametrize("places", [[1, 2], [1, 1, 2], [0, 1, 64], [-1, 0, 1], [0.0, 1.0, 2.0]])
def test_positions_that_are_none_are_refused(places):
    with pytest.raises(PluginError, match=r"strongest: expected 3 different positions below 64"):
        made(places)
