import math

import numpy as np
import pytest
from scipy.integrate import quad

from privagams.judge.caps import (
    advantage_cap,
    auc_cap,
    epsilon_of_auc,
    epsilon_of_linkage,
    linkage_cap,
    tpr_cap,
)


@pytest.mark.parametrize(
    ("epsilon", "advantage", "auc", "tpr_10", "tpr_1"),
    [
        (1, 0.4621, 0.7311, 0.2718, 0.0272),
        (2, 0.7616, 0.8808, 0.7389, 0.0739),
        (4, 0.9640, 0.9820, 0.9835, 0.5460),
    ],
)
def test_pure_caps_are_the_known_ones(epsilon, advantage, auc, tpr_10, tpr_1):
    found = (
        advantage_cap(epsilon, 0),
        auc_cap(epsilon, 0),
        tpr_cap(0.1, epsilon, 0),
        tpr_cap(0.01, epsilon, 0),
    )
    assert found == pytest.approx((advantage, auc, tpr_10, tpr_1), abs=6e-5)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("delta", [0.0, 1e-4, 0.2])
def test_the_auc_cap_is_the_area_under_the_tpr_cap(epsilon, delta):
    corner = (1 - delta) / (1 + math.exp(epsilon))
    area = sum(quad(tpr_cap, *ends, args=(epsilon, delta))[0] for ends in ((0, corner), (corner, 1)))
    assert auc_cap(epsilon, delta) == pytest.approx(area, abs=1e-6)


def test_no_claim_allows_everything_and_a_perfect_one_nothing():
    assert (auc_cap(math.inf, 0), tpr_cap(0.01, math.inf, 0), linkage_cap(50, math.inf, 0)) == (1, 1, 1)
    assert (auc_cap(0, 0), tpr_cap(0.01, 0, 0), advantage_cap(0, 0)) == pytest.approx((0.5, 0.01, 0))
    assert linkage_cap(50, 0, 0) == pytest.approx(1 / 50)
    assert auc_cap(5000.0, 0) == pytest.approx(1)
    assert linkage_cap(50, 5000.0, 0) == pytest.approx(1)


def test_bounds_invert_their_caps():
    for epsilon in (0.2, 1.0, 4.0, 9.0):
        assert epsilon_of_auc(auc_cap(epsilon, 1e-5), 1e-5) == pytest.approx(epsilon)
        assert epsilon_of_linkage(linkage_cap(40, epsilon, 1e-5), 40, 1e-5) == pytest.approx(epsilon)
    assert epsilon_of_auc(0.4, 0) == 0
    assert epsilon_of_linkage(0.0, 40, 0) == 0
    assert epsilon_of_auc(1.0, 0) == math.inf


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_randomised_response_among_patients_meets_the_linkage_cap_exactly(epsilon):
    """The adversary's best mechanism: it names the true patient with odds e^ε against each other one."""
    rng = np.random.default_rng(1)
    n, trials = 30, 40000
    truthful = math.exp(epsilon) / (math.exp(epsilon) + n - 1)
    rate = (rng.random(trials) < truthful).mean()
    assert linkage_cap(n, epsilon, 0) == pytest.approx(truthful)
    assert abs(rate - linkage_cap(n, epsilon, 0)) < 4 * np.sqrt(0.25 / trials)
