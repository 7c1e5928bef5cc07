import numpy as np
import pytest

from privagams.judge.calls import called, excess, residual, wilson


@pytest.mark.parametrize(("hits", "centre", "half"), [(850, 0.849, 0.022), (0, 0.002, 0.002)])
def test_wilsons_interval_is_the_known_one(hits, centre, half):
    assert wilson(hits, 1000) == pytest.approx((centre, half), abs=6e-4)


def test_the_residual_risk_is_the_known_one():
    value, low, high = residual((0.9, 0.02), (0.85, 0.02))
    assert (value, (high - low) / 2) == pytest.approx((0.333, 0.160), abs=6e-4)


def test_four_attacks_of_which_one_succeeds_give_the_known_interval():
    centre, half = wilson(1, 4)
    assert (centre, centre - half, centre + half) == pytest.approx((0.3725, 0.045587, 0.699358), abs=6e-5)
    centre, half = wilson(4, 4)
    assert (centre, centre - half, centre + half) == pytest.approx((0.7551, 0.5102, 1.0), abs=1.5e-4)


def test_no_excess_over_the_control_is_nought_and_never_less():
    """The published run: attack .00345 ± .00239, control .00545 ± .00308, risk 0 (0, .0019)."""
    assert residual((0.00345, 0.00239), (0.00545, 0.00308)) == pytest.approx((0, 0, 0.0019), abs=6e-5)
    assert residual((1.0, 0.0), (1.0, 0.0)) == (0.0, 0.0, 1.0)


def test_calls_are_counted_among_members_and_among_others():
    member = np.arange(100) < 60
    hits = np.where(member, np.arange(100) < 30, np.arange(100) < 64)
    found = {m.name: m for m in called(hits, member, "found", "a note")}
    assert (found["found"].value, found["found"].n) == (0.5, 60)
    assert (found["control"].value, found["control"].n) == (0.1, 40)
    assert found["excess"].value == pytest.approx(excess(30, 60, 4, 40)[0])
    assert 0.25 < found["excess"].low < found["excess"].value < found["excess"].high < 0.65
    assert found["found"].chance == pytest.approx(0.34)
    assert {m.note for m in found.values()} == {"a note"}


def test_without_others_there_is_no_excess_and_without_members_nothing():
    assert [m.name for m in called(np.ones(3, bool), np.ones(3, bool), "found")] == ["found"]
    assert called(np.ones(3, bool), np.zeros(3, bool), "found") == []


def test_intervals_of_the_excess_cover():
    rng = np.random.default_rng(1)
    hits, runs, p_a, p_c = 0, 2000, 0.4, 0.2
    for _ in range(runs):
        _, low, high = excess(rng.binomial(150, p_a), 150, rng.binomial(120, p_c), 120)
        hits += low <= (p_a - p_c) / (1 - p_c) <= high
    assert 0.93 <= hits / runs <= 0.97
