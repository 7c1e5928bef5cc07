import json
import math
import subprocess
import sys

import dp_accounting as dp
import pytest

from privagams.errors import BudgetError
from privagams.ledger import accounting
from privagams.ledger.accounting import Claim, calibrate, claim, epsilon
from privagams.ledger.events import EventError, event_from_json, event_of, event_to_json, spending


def sampled(rate: float, noise: float, steps: int) -> dp.DpEvent:
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), steps)


GOLDEN = [
    (1 / 15, 2.357, 4500, 1e-5, 9.987, 9.997),
    (1 / 74, 0.774, 3700, 1e-6, 9.983, 9.994),
    (0.01, 1.1, 1000, 1e-5, 1.515, 1.525),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "pld", "prv"), GOLDEN)
def test_both_accountants_give_the_published_figures(rate, noise, steps, delta, pld, prv):
    spent = spending([sampled(rate, noise, steps)])
    first, name = accounting._pld(spent, delta)
    assert (round(first, 3), name) == (pld, "PLD")
    assert accounting._prv(spent, delta, first) == pytest.approx(prv, abs=1e-3)


def test_the_larger_of_two_accountants_is_reported():
    rate, noise, steps, delta, pld, prv = GOLDEN[2]
    value, accountant = epsilon([sampled(rate, noise, steps)], delta)
    assert value >= max(pld, prv) - 1e-3
    assert accountant == "PLD, cross-checked with PRV"


def test_without_a_second_accountant_the_claim_names_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    assert epsilon([sampled(0.01, 1.1, 1000)], 1e-5)[1] == "PLD"


def test_zero_out_costs_what_the_accountant_says_of_replacement_by_a_zero_record():
    from dp_accounting.pld import PLDAccountant

    event = sampled(0.1, 1.5, 500)
    relation = dp.NeighboringRelation.REPLACE_SPECIAL
    zero_record = PLDAccountant(relation).compose(event).get_epsilon(1e-4)
    assert accounting._pld(spending([event]), 1e-4)[0] == pytest.approx(zero_record)


def test_a_lone_gaussian_is_priced_like_the_analytic_gaussian():
    value, accountant = epsilon([dp.GaussianDpEvent(3.731)], 1e-5)
    assert value == pytest.approx(1, abs=2e-3)
    assert "analytic Gaussian" in accountant
    assert calibrate(dp.GaussianDpEvent, 1.0, 1e-5) == pytest.approx(3.7307, abs=3e-3)


def test_two_blocks_cost_what_one_block_of_their_steps_costs():
    halves = [sampled(0.1, 5, 20), sampled(0.1, 5, 30)]
    assert epsilon(halves, 1e-4) == epsilon([sampled(0.1, 5, 50)], 1e-4)


def test_no_protection_costs_everything_and_nothing_costs_nothing():
    assert epsilon([sampled(0.1, 2, 5), dp.NonPrivateDpEvent()], 1e-4)[0] == math.inf
    assert epsilon([dp.NoOpDpEvent()], 1e-4)[0] == 0
    assert epsilon([], 1e-4)[0] == 0


def test_noise_too_small_for_a_grid_still_has_a_finite_bound():
    value, accountant = epsilon([sampled(0.1, 0.02, 500)], 1e-4)
    assert accountant == "RDP"
    assert 1e4 < value < math.inf


def test_more_is_never_cheaper():
    costs = [epsilon([sampled(0.1, noise, 10)], 1e-4)[0] for noise in (0.1, 0.7, 1.5, 10)]
    assert costs == sorted(costs, reverse=True)


@pytest.mark.slow
def test_replacing_a_sampled_patient_costs_more_than_zeroing_out():
    assert accounting.replace_one(spending([sampled(1 / 74, 0.774, 3700)]), 1e-6) == pytest.approx(
        14.74, abs=0.01
    )


def test_replace_one_stands_beside_the_claim():
    made = claim([dp.GaussianDpEvent(3.731)], 1e-5)
    assert made.replace_one_epsilon == pytest.approx(2.154, abs=2e-3)
    assert made.adjacency == "zero-out"
    assert made.unit == "patient"


def test_a_claim_survives_json_with_infinity_as_text():
    made = claim([dp.NonPrivateDpEvent()], 1e-4)
    text = json.dumps(made.to_json(), allow_nan=False)
    assert json.loads(text)["epsilon"] == "inf"
    assert Claim.from_json(json.loads(text)) == made


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_claim_of_nan_or_less_than_nothing_is_refused(value):
    with pytest.raises(ValueError, match="epsilon"):
        Claim(epsilon=value, delta=1e-5, accountant="PLD")


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "steps", "target", "delta"), [(0.1, 500, 8, 1e-4), (0.05, 200, 0.5, 1e-5)])
def test_calibrated_noise_meets_its_target_and_hardly_exceeds_it(rate, steps, target, delta):
    noise = calibrate(lambda noise: sampled(rate, noise, steps), target, delta)
    reached = epsilon([sampled(rate, noise, steps)], delta)[0]
    assert target * 0.999 < reached <= target


def test_what_was_spent_before_is_part_of_the_target():
    spent = [sampled(1, 10, 20)]
    noise = calibrate(lambda noise: sampled(1, noise, 20), 4, 1e-4, spent)
    assert 0.998 * 4 < epsilon([*spent, sampled(1, noise, 20)], 1e-4)[0] <= 4


@pytest.mark.parametrize(
    ("event_for", "spent", "text"),
    [
        (lambda noise: dp.NonPrivateDpEvent(), [], "cannot be reached"),
        (dp.GaussianDpEvent, [dp.GaussianDpEvent(0.5)], "already spent"),
    ],
)
def test_a_target_out_of_reach_is_a_refusal(event_for, spent, text):
    with pytest.raises(BudgetError, match=text):
        calibrate(event_for, 1.0, 1e-5, spent)


@pytest.mark.parametrize("delta", [0, 1, -0.1, math.nan])
def test_a_delta_outside_its_range_is_refused(delta):
    with pytest.raises(BudgetError, match="delta"):
        epsilon([dp.GaussianDpEvent(1)], delta)


@pytest.mark.parametrize("target", [0, -1, math.nan, math.inf])
def test_a_target_that_is_no_positive_number_is_refused(target):
    with pytest.raises(BudgetError, match="epsilon"):
        calibrate(dp.GaussianDpEvent, target, 1e-5)


EVENTS = [
    dp.GaussianDpEvent(1.5),
    sampled(0.25, 0.7, 30),
    dp.ComposedDpEvent([sampled(1.0, 2, 3), dp.NoOpDpEvent()]),
    dp.NonPrivateDpEvent(),
]


@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_an_event_survives_json(event):
    value = json.loads(json.dumps(event_to_json(event)))
    assert event_from_json(value) == event
    assert spending([event_of(spending([event]))]) == spending([event])


@pytest.mark.parametrize("noise", [0, -1, math.nan, math.inf, "1", True, None])
def test_noise_that_is_no_positive_number_is_refused(noise):
    with pytest.raises(EventError, match="noise multiplier"):
        event_from_json({"type": "gaussian", "noise_multiplier": noise})
    with pytest.raises(EventError, match="noise multiplier"):
        event_to_json(dp.SelfComposedDpEvent(dp.GaussianDpEvent(noise), 2))


@pytest.mark.parametrize("rate", [0, -0.1, 1.01, math.nan, "0.1"])
def test_a_sampling_probability_outside_its_range_is_refused(rate):
    with pytest.raises(EventError, match="sampling probability"):
        event_to_json(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(1)))


@pytest.mark.parametrize("count", [0, -3, 1.5, True, "2"])
def test_a_count_below_one_is_refused(count):
    inner = {"type": "gaussian", "noise_multiplier": 1}
    with pytest.raises(EventError, match="repetitions"):
        event_from_json({"type": "repeat", "count": count, "event": inner})


@pytest.mark.parametrize(
    "value", [{}, {"type": "free"}, [], {"type": "gaussian"}, {"type": "no-op", "more": 1}]
)
def test_anything_that_is_no_event_is_refused(value):
    with pytest.raises(EventError, match="event"):
        event_from_json(value)


def test_an_unknown_event_is_refused_by_name():
    with pytest.raises(EventError, match="LaplaceDpEvent"):
        event_to_json(dp.LaplaceDpEvent(1))
    with pytest.raises(EventError, match="Poisson"):
        event_to_json(dp.PoissonSampledDpEvent(0.1, sampled(0.1, 1, 2)))


def test_importing_the_ledger_loads_no_heavy_library():
    code = (
        "import sys, privagams.ledger.ledger; print({'torch', 'scipy', 'dp_accounting'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
