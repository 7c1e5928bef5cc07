"""What a search of the best among a secret number of trainings costs: the paper's formulas, and where it may stand."""

import json
import math
import re

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting.dp_event import RepeatAndSelectDpEvent
from scipy.special import gammaln, logsumexp

from privagams.ledger.accounting import calibrate, claim, epsilon, replace_one
from privagams.ledger.books import worst_off
from privagams.ledger.chain import read_chain
from privagams.ledger.events import (
    EventError,
    NoisySumCost,
    SearchCost,
    event_from_json,
    event_of,
    event_to_json,
    is_local,
    local,
    pure,
    spending,
)
from privagams.ledger.ledger import Ledger
from privagams.ledger.search_event import holds_search, searched

DELTA = 1e-5
ORDERS = np.array([*range(2, 128), 160, 192, 256, 384, 512, 1024, 2048], dtype=float)


def sampled(rate, noise, steps):
    return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), steps)


def rdp_of_gaussian(noise):
    return ORDERS / (2 * noise**2)


def rdp_of_sampled(rate, noise, steps):
    """Mironov et al. (2019), arXiv 1908.10530, section 3.3, whole α: log Σ (α over k)(1−q)^(α−k) q^k e^(k²−k)/2σ²."""
    found = []
    for order in ORDERS:
        k = np.arange(order + 1)
        choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        logs = choose + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k * k - k) / (2 * noise**2)
        found.append(steps * logsumexp(logs) / (order - 1))
    return np.array(found)


def epsilon_of_rdp(rdp, delta):
    """Canonne et al. (2020), arXiv 2004.00010, proposition 12."""
    return float(np.min(rdp + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)))


def delta_of_rdp(rdp, epsilon):
    logs = (ORDERS - 1) * (rdp - epsilon + np.log1p(-1 / ORDERS)) - np.log(ORDERS)
    return min(1.0, math.exp(logs.min()))


def of_geometric(rdp, trials):
    """Papernot and Steinke (2022), arXiv 2110.03620, theorem 2 with η = 1 and γ = 1/E[K]."""
    other = np.min((1 - 1 / ORDERS) * rdp + math.log(trials) / ORDERS)
    return rdp + 2 * other + math.log(trials) / (ORDERS - 1)


def of_poisson(rdp, trials):
    """The same, theorem 6."""
    hats = [delta_of_rdp(rdp, math.log1p(1 / (order - 1))) for order in ORDERS]
    return rdp + trials * np.array(hats) + math.log(trials) / (ORDERS - 1)


BY_HAND = {"geometric": of_geometric, "poisson": of_poisson}
ONE_RUN = {
    "sum": (dp.GaussianDpEvent(2.0), rdp_of_gaussian(2.0)),
    "training": (sampled(0.05, 1.2, 300), rdp_of_sampled(0.05, 1.2, 300)),
}


@pytest.mark.parametrize("trials", [1.0, 4.0, 10.0, 50.0])
@pytest.mark.parametrize("distribution", BY_HAND)
@pytest.mark.parametrize("run", ONE_RUN)
def test_a_search_costs_what_the_paper_says(run, distribution, trials):
    event, rdp = ONE_RUN[run]
    value, accountant = epsilon([searched(event, trials, distribution)], DELTA)
    assert value == pytest.approx(epsilon_of_rdp(BY_HAND[distribution](rdp, trials), DELTA), rel=0.01)
    assert accountant == "RDP of repeating and selecting the best"


@pytest.mark.parametrize(("trials", "expected"), [(3, 3.522), (10, 4.323), (100, 5.437)])
def test_a_geometric_search_over_one_gaussian_sum_costs_what_its_closed_form_says(trials, expected):
    """With ρ = 1/2σ² the inner minimum of theorem 2 lies at λ̂ = √(log t/ρ): λρ + 4√(ρ·log t) − 2ρ + log t/(λ − 1)."""
    rho, log_t = 1 / (2 * 2.0**2), math.log(trials)
    rdp = ORDERS * rho + 4 * math.sqrt(rho * log_t) - 2 * rho + log_t / (ORDERS - 1)
    found = epsilon([searched(dp.GaussianDpEvent(2.0), trials)], DELTA)[0]
    assert found == pytest.approx(epsilon_of_rdp(rdp, DELTA), rel=0.02)
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("distribution", BY_HAND)
def test_more_trials_cost_more_and_one_costs_at_least_what_it_does_by_itself(distribution):
    event = ONE_RUN["training"][0]
    costs = [
        epsilon([searched(event, trials, distribution)], DELTA)[0] for trials in (1, 2, 5, 20, 100, 1000)
    ]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
    assert costs[0] >= epsilon([event], DELTA)[0]


def test_a_search_costs_far_less_than_all_its_trials_and_more_than_one():
    event = ONE_RUN["training"][0]
    one = epsilon([event], DELTA)[0]
    every = epsilon([dp.SelfComposedDpEvent(event, 20)], DELTA)[0]
    for distribution in BY_HAND:
        assert one < epsilon([searched(event, 20, distribution)], DELTA)[0] < every / 1.3


def test_searches_and_sums_beside_them_add_up():
    search = searched(dp.GaussianDpEvent(3.0), 5, "poisson")
    alone = epsilon([search], DELTA)[0]
    beside = epsilon([search, dp.GaussianDpEvent(4.0)], DELTA)[0]
    assert alone < beside < alone + epsilon([dp.GaussianDpEvent(4.0)], DELTA)[0] + 0.2
    assert epsilon([search, search], DELTA)[0] > alone
    assert epsilon([search, search], DELTA) == epsilon([dp.SelfComposedDpEvent(search, 2)], DELTA)
    value, name = epsilon([search, local(pure(1.5))], DELTA)
    assert value == pytest.approx(alone + 1.5)
    assert name.endswith("plus the sum of pure ε")
    assert epsilon([search, dp.NonPrivateDpEvent()], DELTA)[0] == math.inf


@pytest.mark.parametrize("distribution", BY_HAND)
def test_noise_is_found_with_which_the_search_as_a_whole_keeps_to_the_target(distribution):
    def event(noise):
        return searched(sampled(0.1, noise, 100), 10, distribution)

    noise = calibrate(event, 8.0, DELTA)
    assert 8 * 0.999 < epsilon([event(noise)], DELTA)[0] <= 8
    assert noise > calibrate(lambda z: sampled(0.1, z, 100), 8.0, DELTA)


def test_a_search_is_told_as_zero_out_and_replacing_is_not_priced():
    spent = spending([searched(dp.GaussianDpEvent(3.0), 5, "geometric")])
    assert not is_local(spent)
    assert replace_one(spent, DELTA) is None
    made = claim([searched(dp.GaussianDpEvent(3.0), 5, "geometric")], DELTA)
    assert (made.adjacency, made.replace_one_epsilon) == ("zero-out", None)


def test_a_search_survives_json_and_is_counted_whole():
    inner = dp.ComposedDpEvent([sampled(0.1, 2.0, 30), dp.GaussianDpEvent(5.0), sampled(0.1, 2.0, 20)])
    event = searched(inner, 12, "poisson")
    value = json.loads(json.dumps(event_to_json(event), allow_nan=False))
    assert event_from_json(value) == event
    cost = SearchCost(12.0, "poisson", ((NoisySumCost(0.1, 2.0), 50), (NoisySumCost(1.0, 5.0), 1)))
    assert spending([event, event]) == {cost: 2}
    assert spending([event_of({cost: 2})]) == {cost: 2}


GAUSSIAN = {"type": "gaussian", "noise_multiplier": 1.0}
SEARCH = {"type": "search", "trials": 5.0, "distribution": "poisson", "event": GAUSSIAN}


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": 0.5}, {"trials": math.nan}, {"trials": math.inf}, {"trials": "5"}, {"trials": 1e9},
        {"distribution": "fixed"}, {"distribution": 1}, {"event": SEARCH}, {"event": {"type": "no-op"}},
        {"event": {"type": "non-private"}}, {"event": {"type": "all", "events": []}},
        {"event": {"type": "local", "event": GAUSSIAN}}, {"event": {"type": "pure", "epsilon": 1.0}}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_search_is_refused_and_never_priced_as_less(wrong):
    with pytest.raises(EventError):
        spending([event_from_json({**SEARCH, **wrong})])


def test_a_search_of_anything_else_than_noisy_sums_is_refused_by_name():
    with pytest.raises(EventError, match="NonPrivateDpEvent"):
        searched(dp.NonPrivateDpEvent(), 5)
    with pytest.raises(EventError, match="RepeatAndSelectDpEvent"):
        searched(searched(dp.GaussianDpEvent(1.0), 5), 5)
    with pytest.raises(EventError, match="shape 1"):
        event_to_json(RepeatAndSelectDpEvent(dp.GaussianDpEvent(1.0), 5, 0.0))
    with pytest.raises(EventError, match="shape"):
        event_to_json(RepeatAndSelectDpEvent(dp.GaussianDpEvent(1.0), 5, math.nan))


def test_the_patients_of_a_search_are_not_taken_for_less_than_those_of_its_sums():
    sums, search = spending([dp.GaussianDpEvent(3.0)]), spending([searched(dp.GaussianDpEvent(3.0), 5)])
    found = worst_off([(frozenset("ab"), sums), (frozenset("b"), search)])
    assert found == [sums + search]


def test_the_ledger_keeps_a_search_whole(tmp_path, patients, limit):
    ledger = Ledger(tmp_path / "home" / "set")
    event = searched(dp.GaussianDpEvent(3.0), 5, "geometric")
    price = epsilon([event], DELTA)[0]
    account = ledger.account(
        run="r",
        release="d",
        fit="f",
        patients=patients,
        budget=limit(1.5 * price, DELTA),
        run_folder=tmp_path / "run",
    )
    account.plan(event)
    account.reserve(event, 1)
    assert ledger.spent("f") == [event]
    assert ledger.total(DELTA).epsilon == price
    assert ledger.summary(DELTA)[0].epsilon == price


def test_from_a_search_on_the_ledger_holds_days(tmp_path, patients, limit):
    ledger = Ledger(tmp_path / "home" / "set")
    noise, search = dp.GaussianDpEvent(30.0), searched(dp.GaussianDpEvent(30.0), 2)
    for fit, event in (("before", noise), ("search", search), ("after", noise)):
        account = ledger.account(
            run="r", release=fit, fit=fit, patients=patients, budget=limit(9.0, DELTA), run_folder=tmp_path / "run"
        )  # fmt: skip
        account.plan(event)
        account.reserve(event, 1)
    ledger.record_refusal(run="r", release="search", who="the gate", report="", run_folder=None)
    day, hour = r"\d{4}-\d\d-\d\d", r"T\d\d:\d\d:\d\d\+00:00"
    records = read_chain(ledger.path).records
    assert [record["kind"] for record in records] == ["open", "patients", *["reserve"] * 3, "refuse"]
    for record in records[:3]:
        assert re.fullmatch(day + hour, record["time"])
    for record in records[3:]:
        assert re.fullmatch(day, record["time"])
    assert [row.release for row in ledger.summary(DELTA)] == ["before", "search", "after", "search"]
    assert holds_search(event_to_json(dp.ComposedDpEvent([noise, dp.SelfComposedDpEvent(search, 2)])))
    assert not holds_search(event_to_json(dp.ComposedDpEvent([noise, sampled(0.1, 30.0, 2)])))
