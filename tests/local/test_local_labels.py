"""Labels: withheld, or randomised and paid for."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from privagams.errors import ConfigError, StageError
from privagams_dp.local_labels import response

DRAWS = 6000


@pytest.mark.parametrize(("classes", "epsilon"), [(2, 1.0), (3, 0.5), (5, 2.0)])
def test_labels_keep_their_class_as_often_as_randomised_response_says(classes, epsilon):
    true = classes - 1
    found = np.bincount(response(classes, epsilon).of(np.full(DRAWS, true)), minlength=classes)
    odds = math.exp(epsilon)
    expected = np.full(classes, DRAWS / (odds + classes - 1))
    expected[true] *= odds
    assert chisquare(found, expected).pvalue > 1e-7


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.3, 30.0])
@pytest.mark.parametrize("classes", [2, 14])
def test_a_label_costs_what_opendp_maps_and_never_more_than_asked(classes, epsilon):
    cost = response(classes, epsilon).epsilon
    # At 30 nat the chance of another class has few digits left in float64.
    assert epsilon * (1 - 1e-3) <= cost <= epsilon


def test_no_epsilon_means_no_response():
    assert response(3, 0.0) is None


@pytest.mark.parametrize("classes", [0, 1])
def test_labels_without_a_choice_are_refused(classes):
    with pytest.raises(
        ConfigError, match=r"label_epsilon: expected at least two classes .* leave label_epsilon out"
    ):
        response(classes, 1.0)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_class_that_does_not_exist_is_refused(wrong):
    with pytest.raises(StageError, match=rf"labels: expected classes 0 to 2, found .*{wrong}"):
        response(3, 1.0).of(np.array([0, 1, wrong]))


def test_no_labels_give_no_labels():
    assert response(3, 1.0).of(np.zeros(0, dtype=np.int64)).shape == (0,)
