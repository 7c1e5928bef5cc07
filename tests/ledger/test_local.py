import json
import math
import time

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privagams import home
from privagams.errors import BudgetError
from privagams.ledger import accounting
from privagams.ledger.accounting import Claim, calibrate, claim, claim_of, epsilon, price, replace_one
from privagams.ledger.books import worst_off
from privagams.ledger.events import (
    EventError,
    LocalGaussianCost,
    NoisySumCost,
    PureCost,
    event_from_json,
    event_of,
    event_to_json,
    local,
    pure,
    spending,
    spending_of_json,
)
from privagams.ledger.ledger import Ledger
from privagams.ledger.local_event import EpsilonDeltaDpEvent, LocalDpEvent
from privagams.ledger.prices import Prices

DELTA = 1e-5
PROTECTS = "the images"
SUM = dp.GaussianDpEvent(4.0)


def pures(*values):
    return [local(pure(value)) for value in values]


within = st.recursive(
    st.floats(0, 1e6).map(pure) | st.floats(0.3, 1e3).map(dp.GaussianDpEvent),
    lambda inner: (
        st.lists(inner, max_size=3).map(dp.ComposedDpEvent)
        | st.builds(dp.SelfComposedDpEvent, inner, st.integers(1, 5))
    ),
    max_leaves=5,
)
sums = st.floats(1, 1e3).map(dp.GaussianDpEvent)
events = st.recursive(
    sums | within.map(local) | st.builds(dp.PoissonSampledDpEvent, st.floats(0.01, 1), sums),
    lambda inner: (
        st.lists(inner, max_size=3).map(dp.ComposedDpEvent)
        | st.builds(dp.SelfComposedDpEvent, inner, st.integers(1, 5))
    ),
    max_leaves=5,
)


def test_pure_guarantees_add_up_however_they_are_nested():
    image = dp.ComposedDpEvent([pure(1.5), dp.SelfComposedDpEvent(pure(0.25), 2)])
    assert epsilon([dp.SelfComposedDpEvent(local(image), 3), *pures(1)], DELTA) == (7, "sum of pure ε")


def test_pure_guarantees_beside_noise_add_up_and_are_named():
    alone, name = epsilon([SUM], DELTA)
    assert epsilon([SUM, *pures(2)], DELTA) == (alone + 2, f"{name}, plus the sum of pure ε")
    sampled = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(1.1)), 100)
    assert epsilon([sampled, *pures(2)], DELTA)[1] == "PLD, cross-checked with PRV, plus the sum of pure ε"


def test_a_huge_guarantee_is_priced_at_once():
    start = time.process_time()
    many = pures(*(1e6 + n / 7 for n in range(500)))
    many += [local(dp.GaussianDpEvent(1 + n / 100)) for n in range(500)]
    value, _ = epsilon(many, DELTA)
    assert 5e8 < value < math.inf
    assert replace_one(spending(many), DELTA) == value
    assert epsilon([local(dp.GaussianDpEvent(1e-4))], DELTA)[0] > 1e7
    assert time.process_time() - start < 10


def test_delta_plays_no_part_in_pure_guarantees():
    assert price(spending(pures(3, 4)), 0)[0] == price(spending(pures(3, 4)), 0.5)[0] == 7
    assert claim(pures(3, 4), DELTA).delta == 0
    with pytest.raises(BudgetError, match="delta"):
        price(spending([local(dp.GaussianDpEvent(1))]), 0)


def test_a_local_gaussian_costs_what_the_analytic_gaussian_mechanism_of_its_diameter_costs():
    value, accountant = epsilon([local(dp.GaussianDpEvent(3.7306))], DELTA)
    assert value == pytest.approx(1, abs=2e-3)
    assert "analytic Gaussian" in accountant


def test_replacing_a_patient_doubles_the_sums_and_not_the_images():
    images = [local(dp.GaussianDpEvent(2.0))]
    assert replace_one(spending(images), DELTA) == epsilon(images, DELTA)[0]
    assert replace_one(spending([dp.GaussianDpEvent(4.0)]), DELTA) == pytest.approx(
        epsilon([dp.GaussianDpEvent(2.0)], DELTA)[0], abs=1e-3
    )
    mixed = replace_one(spending([*images, dp.GaussianDpEvent(4.0), *pures(3)]), DELTA)
    both = epsilon([dp.GaussianDpEvent(2.0), dp.GaussianDpEvent(2.0)], DELTA)[0]
    assert mixed == pytest.approx(both + 3, abs=1e-3)


def test_noise_on_several_vectors_is_priced_as_an_accountant_composes_it_one_by_one():
    from dp_accounting.pld import PLDAccountant

    noises = [1.5, 3.0, 7.0]
    accountant = PLDAccountant()
    for noise in noises:
        accountant.compose(dp.GaussianDpEvent(noise))
    together = epsilon([local(dp.GaussianDpEvent(noise)) for noise in noises], DELTA)[0]
    assert together == pytest.approx(accountant.get_epsilon(DELTA), abs=1e-3)
    four = epsilon([local(dp.SelfComposedDpEvent(dp.GaussianDpEvent(4.0), 4))], DELTA)[0]
    assert four == epsilon([local(dp.GaussianDpEvent(2.0))], DELTA)[0]


@given(st.lists(events, max_size=4), st.randoms())
def test_an_event_with_images_in_it_survives_json_and_its_order_does_not_matter(parts, shuffler):
    event = dp.ComposedDpEvent(parts)
    value = json.loads(json.dumps(event_to_json(event), allow_nan=False))
    assert event_from_json(value) == event
    spent = spending([event])
    assert spending_of_json([value]) == spent == spending([event_of(spent)])
    mixed = list(parts)
    shuffler.shuffle(mixed)
    assert spending(mixed) == spent
    assert event_of(spending(mixed)) == event_of(spent)


@settings(max_examples=15, deadline=None)
@given(st.lists(events, min_size=1, max_size=2), st.lists(events, min_size=1, max_size=2))
def test_two_parts_cost_at_least_what_either_costs_in_whatever_order(one, other):
    def cost(parts):
        return accounting._rough_price(spending(parts), DELTA)

    together = cost(one + other)
    assert together == cost(other + one)
    assert together >= max(cost(one), cost(other)) - 0.02 * together - 2e-3  # the accountant's grid


@given(st.lists(st.floats(0, 1e6), max_size=6), st.lists(st.floats(0, 1e6), max_size=6))
def test_pure_parts_cost_their_sum_to_the_last_digit_in_whatever_order(one, other):
    value = epsilon(pures(*one, *other), DELTA)[0]
    assert value == epsilon(pures(*other, *one), DELTA)[0]
    assert value == pytest.approx(math.fsum(one + other))


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "1", True, None])
def test_an_epsilon_that_is_no_number_is_refused(value):
    with pytest.raises(EventError, match="epsilon"):
        event_from_json({"type": "local", "event": {"type": "pure", "epsilon": value}})
    with pytest.raises(EventError, match="epsilon"):
        spending_of_json([{"type": "local", "event": {"type": "pure", "epsilon": value}}])
    with pytest.raises(EventError, match="epsilon"):
        event_to_json(LocalDpEvent(EpsilonDeltaDpEvent(value, 0.0)))


@pytest.mark.parametrize("delta", [1e-9, -1.0, math.nan])
def test_a_guarantee_that_is_not_pure_is_refused(delta):
    with pytest.raises(EventError, match="delta"):
        local(EpsilonDeltaDpEvent(1.0, delta))


PURE = {"type": "pure", "epsilon": 1.0}
GAUSSIAN = {"type": "gaussian", "noise_multiplier": 1.0}


@pytest.mark.parametrize(
    "value",
    [
        PURE,
        {"type": "repeat", "count": 2, "event": PURE},
        {"type": "local"},
        {"type": "local", "event": {"type": "non-private"}},
        {"type": "local", "event": {"type": "no-op"}},
        {"type": "local", "event": {"type": "local", "event": PURE}},
        {"type": "local", "event": {"type": "poisson", "rate": 0.5, "event": GAUSSIAN}},
        {"type": "local", "event": {**PURE, "delta": 0}},
        {"type": "local", "event": {"type": "all", "events": [PURE, {"type": "free"}]}},
        {"type": "local", "event": {"type": "all", "events": "pure"}},
        {"type": "local", "event": PURE, "images": 3},
        {"type": "poisson", "rate": 0.5, "event": {"type": "local", "event": GAUSSIAN}},
        {"type": "free"},
    ],
    ids=str,
)
def test_what_is_no_cost_of_an_image_is_refused_and_never_priced_as_nothing(value):
    with pytest.raises(EventError):
        event_from_json(value)
    with pytest.raises(EventError):
        spending_of_json([value])


def test_an_event_that_an_image_cannot_cost_is_refused_by_name():
    with pytest.raises(EventError, match="PoissonSampledDpEvent"):
        local(dp.PoissonSampledDpEvent(0.5, SUM))
    with pytest.raises(EventError, match="NonPrivateDpEvent"):
        local(dp.NonPrivateDpEvent())
    with pytest.raises(EventError, match="within `local`"):
        event_to_json(pure(1))


def test_the_claim_of_images_alone_is_for_replacing_a_patient():
    made = claim(pures(1, 2), DELTA, per_element_epsilon=0.01)
    assert (made.epsilon, made.adjacency, made.replace_one_epsilon) == (3, "replace-one", None)
    assert made.per_element_epsilon == 0.01
    assert Claim.from_json(json.loads(json.dumps(made.to_json()))) == made
    noisy = claim([local(dp.GaussianDpEvent(2.0))], DELTA)
    assert (noisy.adjacency, noisy.delta) == ("replace-one", DELTA)


def test_the_claim_of_images_and_a_training_is_for_zero_out_with_replacement_beside():
    made = claim([SUM, *pures(1)], DELTA)
    assert made.adjacency == "zero-out"
    assert made.replace_one_epsilon == pytest.approx(claim([SUM], DELTA).replace_one_epsilon + 1)
    assert made.replace_one_epsilon > made.epsilon


def test_the_largest_replacement_stands_beside_the_largest_loss_whoever_has_them():
    trained, copied = spending([dp.GaussianDpEvent(1.0)]), spending([dp.GaussianDpEvent(50.0), *pures(5)])
    for order in ([trained, copied], [copied, trained]):
        made = claim_of(order, DELTA)
        assert made.epsilon == price(copied, DELTA)[0] > price(trained, DELTA)[0]
        assert made.replace_one_epsilon == replace_one(trained, DELTA) > replace_one(copied, DELTA)
    unknown = claim_of(
        [trained, copied], DELTA, prices=(price, lambda spent, _: None if spent is copied else 1.0)
    )
    assert unknown.replace_one_epsilon is None


def test_noise_is_calibrated_to_what_images_leave_of_a_target():
    noise = calibrate(dp.GaussianDpEvent, 2.0, DELTA, pures(1))
    assert noise == pytest.approx(calibrate(dp.GaussianDpEvent, 1.0, DELTA), rel=2e-3)


@pytest.fixture
def true_ledger(tmp_path):
    return Ledger(tmp_path / "home" / "chest-2026")


def release(ledger, tmp_path, batches, fit="copies-1", value=2.0, images=1):
    for batch in batches:
        account = ledger.account(
            run="one", release="copies", fit=fit, patients=batch, budget=None, run_folder=tmp_path / "runs"
        )
        account.close(account.reserve(dp.SelfComposedDpEvent(local(pure(value)), images), images), "x")


def test_batches_of_different_patients_do_not_add_up(true_ledger, patients, tmp_path):
    release(true_ledger, tmp_path, [patients[:7], patients[7:14], patients[14:]])
    made = true_ledger.claim_of(["copies-1"], DELTA, protects=PROTECTS, per_element_epsilon=0.1)
    assert (made.epsilon, made.adjacency, made.protects) == (2.0, "replace-one", PROTECTS)
    assert made.per_element_epsilon == 0.1


def test_a_second_release_of_the_same_patients_adds_up(true_ledger, patients, tmp_path):
    release(true_ledger, tmp_path, [patients[:10], patients[10:]])
    release(true_ledger, tmp_path, [patients[5:15]], fit="copies-2", value=3.0)
    both = true_ledger.claim_of(["copies-1", "copies-2"], DELTA, protects=PROTECTS)
    assert both.epsilon == 5.0
    assert true_ledger.claim_of(["copies-2"], DELTA, protects=PROTECTS).epsilon == 3.0
    assert true_ledger.total(DELTA).epsilon == 5.0
    assert true_ledger.total(DELTA, among=patients[15:]).epsilon == 2.0


def test_a_batch_that_was_paid_for_twice_counts_twice(true_ledger, patients, tmp_path):
    release(true_ledger, tmp_path, [patients[:10], patients[10:], patients[:10]])
    assert true_ledger.claim_of(["copies-1"], DELTA, protects=PROTECTS).epsilon == 4.0


def test_where_nothing_was_spent_there_is_no_claim(true_ledger, patients, tmp_path):
    assert true_ledger.claim_of(["copies-1"], DELTA, protects=PROTECTS) is None
    release(true_ledger, tmp_path, [patients])
    assert true_ledger.claim_of(["copies-2"], DELTA, protects=PROTECTS) is None
    assert true_ledger.claim_of([], DELTA, protects=PROTECTS) is None


def test_who_loses_most_when_replaced_need_not_be_who_loses_most_when_zeroed_out(
    true_ledger, patients, tmp_path
):
    training = true_ledger.account(
        run="one", release="dp", fit="dp", patients=patients[:10], budget=None, run_folder=tmp_path / "runs"
    )
    training.reserve(dp.GaussianDpEvent(1.0), 1)
    trained = true_ledger.claim_of(["dp"], DELTA, protects=PROTECTS)
    between = (trained.epsilon + trained.replace_one_epsilon) / 2
    release(true_ledger, tmp_path, [patients[10:]], value=between)
    total = true_ledger.total(DELTA)
    assert total.epsilon == between
    assert total.replace_one_epsilon == trained.replace_one_epsilon > between
    both = true_ledger.claim_of(["dp", "copies-1"], DELTA, protects=PROTECTS)
    assert both.adjacency == "zero-out"


def test_the_summary_counts_images_of_a_patient_and_prices_batches_once(true_ledger, patients, tmp_path):
    release(true_ledger, tmp_path, [patients[:10], patients[10:]], images=3)
    (row,) = true_ledger.summary(DELTA)
    assert row.text.startswith("images randomised: 3 of each patient, in blocks: 2")
    assert "20 patients" in row.text
    assert row.epsilon == 6.0


def test_a_budget_refuses_a_copy_too_many(true_ledger, patients, tmp_path, limit):
    release(true_ledger, tmp_path, [patients[:10], patients[10:]])
    account = true_ledger.account(
        run="one", release="more", fit="more", patients=patients[5:8], budget=limit(3.5, DELTA),
        run_folder=tmp_path / "runs",
    )  # fmt: skip
    account.plan(local(pure(1.5)))
    with pytest.raises(BudgetError, match="ε = 2 is spent"):
        account.plan(local(pure(1.6)))


def test_twenty_batches_in_each_of_forty_releases_are_told_apart_quickly():
    names = [home.pseudonym(b"k" * 32, "patient", str(number)) for number in range(4000)]
    charges = []
    for number in range(40):
        # Every other release leaves some out and makes its batches otherwise, so that no two patients are alike.
        order = names[number:] if number % 2 else sorted(names[: 4000 - number], key=lambda name: name[::-1])
        spent = {PureCost(1 + number): 2, LocalGaussianCost(1.0 + number): 1}
        charges += [(frozenset(order[start::20]), spent) for start in range(20)]
    start = time.process_time()
    found = worst_off(charges)
    assert time.process_time() - start < 1  # 0.2 s measured
    everything = {cost: count for number in range(40) for cost, count in charges[20 * number][1].items()}
    assert found == [everything]


@given(
    st.lists(
        st.tuples(
            st.frozensets(st.sampled_from("abcde"), min_size=1),
            st.dictionaries(
                st.sampled_from(
                    [PureCost(1.0), PureCost(2.5), LocalGaussianCost(1.0), NoisySumCost(1.0, 2.0)]
                ),
                st.integers(1, 3),
                min_size=1,
            ),
        ),
        max_size=6,
    ),
    st.none() | st.frozensets(st.sampled_from("abcde")),
)
def test_the_worst_off_pay_what_the_dearest_patient_pays(charges, among):
    def cost(spent):
        return sum(
            count * {PureCost: 1.0, LocalGaussianCost: 3.0, NoisySumCost: 2.0}[type(item)]
            * (item.epsilon if isinstance(item, PureCost) else 1)
            for item, count in spent.items()
        )  # fmt: skip

    each = []
    for patient in "abcde":
        if among is None or patient in among:
            total = {}
            for patients, spent in charges:
                for item, count in spent.items() if patient in patients else ():
                    total[item] = total.get(item, 0) + count
            each.append(total)
    found = Prices(lambda spent, _: (cost(spent), "by hand")).worst(charges, DELTA, among).epsilon
    assert found == pytest.approx(max(map(cost, each), default=0))
