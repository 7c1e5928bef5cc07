"""A search: a secret number of trainings, paid for as a whole before the first, of which only the best is kept."""

import logging
import random
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attrs import evolve
from torch import nn

from privagams import search as searching
from privagams.errors import BudgetError, PluginError, StageError
from privagams.ledger.accounting import epsilon
from privagams.ledger.events import NoisySumCost, SearchCost, event_of, spending
from privagams.ledger.ledger import Ledger
from privagams.records import Records
from privagams.roles import Phase, Space
from privagams.search import Price, SearchSettings, plan_search, priced_search
from privagams.training import train
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.one_sum import OneSum
from privagams_dp.settings import DpSgdSettings, NoisySumSettings

SPACE = Space(4, 1)
RATES = (1e-3, 1e-2, 1e-1)
PATIENTS = 6


class Level(nn.Module):
    """Learns one number; how far it gets depends on its learning rate."""

    def __init__(self, rate, steps=4, data="members"):
        super().__init__()
        self.level = nn.Parameter(torch.zeros(1))
        self.rate, self.steps, self.data = rate, steps, data

    def phases(self):
        return [Phase("level", self, self.draw, steps=self.steps, learning_rate=self.rate, data=self.data)]

    def draw(self, n, rng):
        return {"spare": torch.zeros(n)}

    def forward(self, batch, noise):
        return (batch["pixels"] - self.level).square().flatten(1).mean(1)

    def sample(self, labels, rng, progress):
        raise AssertionError("a score may draw, this one does not")


def records():
    pixels = np.random.default_rng(0).integers(150, 256, (12, 4, 4, 1), dtype=np.uint8)
    patient = np.repeat([f"p{i}" for i in range(PATIENTS)], 2)
    return Records(pixels, {"patient": patient, "label": np.full(12, "")})


@pytest.fixture(scope="module")
def mechanism():
    return DpSgd(DpSgdSettings(epsilon=6.0, delta=1e-4, patients_per_step=PATIENTS, noise_draws=1))


@pytest.fixture(scope="module")
def price(mechanism):
    """Accountants take seconds; all tests but one ask the same."""
    return plan_search([Level(RATES[0])], SearchSettings(), mechanism, PATIENTS)


@pytest.fixture
def kit(tmp_path, mechanism, price, monkeypatch):
    """`search(...)` runs one of `trials` trainings against a real ledger; `seen` holds the scores in order."""
    torch.set_num_threads(1)
    folder = tmp_path / "fit"
    folder.mkdir()
    kit = SimpleNamespace(folder=folder, seen=[], told=[], mechanism=mechanism, price=price)
    kit.ledger = Ledger(tmp_path / "home" / "set")

    def score(model):
        kit.seen.append(float(model.level.detach()))
        kit.ended = time.time()
        return kit.seen[-1]

    def run(
        trials=5,
        score=score,
        candidates=tuple(lambda rate=rate: Level(rate) for rate in RATES),
        name="f",
        seed=1,
    ):
        account = kit.ledger.account(
            run="r", release="d", fit=name, patients=[f"{i:016x}" for i in range(PATIENTS)], budget=None,
            run_folder=tmp_path / "run",
        )  # fmt: skip
        monkeypatch.setattr(searching, "_draw_trials", lambda settings: trials)
        monkeypatch.setattr(searching, "plan_search", lambda *asked: price)
        return priced_search(
            candidates, score, SearchSettings(), records(), None, SPACE, mechanism, PATIENTS, seed, folder, account,
            lambda *told: kit.told.append(told),
        )  # fmt: skip

    kit.search, kit.score = run, score
    return kit


def test_only_the_best_of_all_trainings_is_left(kit):
    found = kit.search(trials=8)
    assert len(kit.seen) == 8
    assert len(set(kit.seen)) == 8, "trainings of one setting differ in their noise"
    from safetensors.torch import load_file

    assert float(load_file(found.folder / found.weights)["level"]) == pytest.approx(max(kit.seen))
    assert [path.name for path in kit.folder.iterdir()] == ["found"]
    assert {path.name for path in found.folder.iterdir()} == {found.weights, "choice.json"}
    assert found.choice in range(len(RATES))
    # When the winner was trained would tell that others came after it.
    assert (found.folder / found.weights).stat().st_mtime >= kit.ended - 0.1


def test_the_search_is_charged_whole_before_the_first_training(kit, price):
    held = []

    def watching():
        held.append(kit.ledger.spent("f"))
        return Level(RATES[0])

    kit.search(trials=3, candidates=(watching,))
    first, *later = held
    assert first == []  # made once beforehand, to see what it will ask for
    assert all(events == [price.event] for events in later)
    assert kit.ledger.spent("f") == [price.event]
    (cost,) = spending([price.event])
    assert isinstance(cost, SearchCost)
    assert cost.trials == 10


def test_the_search_as_a_whole_keeps_to_the_target_at_more_noise_than_one_training(mechanism, price):
    value = epsilon([price.event], mechanism.delta)[0]
    assert 0.99 * mechanism.epsilon < value <= mechanism.epsilon
    one = epsilon([event_of(price.each)], mechanism.delta)[0]
    assert one <= price.mechanism.epsilon < 0.8 * mechanism.epsilon
    assert price.each == {NoisySumCost(1.0, price.noise_multipliers[0]): 4}


def test_a_training_that_spends_more_than_planned_is_stopped(kit, monkeypatch):
    honest, released = train.plan_noise, []
    monkeypatch.setattr(
        train,
        "plan_noise",
        lambda *given: [evolve(d, noise_multiplier=d.noise_multiplier / 2) for d in honest(*given)],
    )
    monkeypatch.setattr(DpSgd, "noisy_sum", lambda *given: released.append(given))
    with pytest.raises(BudgetError, match="more than was planned"):
        kit.search(trials=1)
    assert kit.seen == []
    assert kit.ledger.spent("f") == [kit.price.event]


def test_nothing_tells_how_many_trainings_there_were(kit, caplog, capfd, tmp_path):
    caplog.set_level(logging.DEBUG)
    left = []
    for trials in (1, 7):
        kit.told.clear()
        found = kit.search(trials, name=f"f{trials}")
        files = {path.name: path.stat().st_size for path in found.folder.iterdir()}
        left.append((list(kit.told), files, [path.name for path in kit.folder.iterdir()], found.event))
        shutil.rmtree(kit.folder / "found")
    assert left[0] == left[1]
    assert left[0][0] == [(1, 1)]
    assert [record for record in caplog.records if record.name != "filelock"] == []
    assert capfd.readouterr() == ("", "")
    blocks = kit.ledger.books().blocks
    assert [(b.steps, b.cost) for b in blocks[:1]] == [(b.steps, b.cost) for b in blocks[1:]]


@pytest.mark.parametrize("number", [1, 3])
def test_a_search_cut_short_stays_charged_and_is_not_made_up_for(kit, number):
    def dies(model):
        if len(kit.seen) == number - 1:
            raise KeyboardInterrupt
        return kit.score(model)

    with pytest.raises(KeyboardInterrupt):
        kit.search(trials=5, score=dies)
    assert not (kit.folder / "found").exists(), "the best of fewer trainings than were drawn has no price"
    with pytest.raises(BudgetError, match="buys no second search"):
        kit.search()
    assert list(kit.folder.iterdir()) == []
    assert kit.ledger.spent("f") == [kit.price.event]


def test_a_finished_search_is_neither_run_nor_charged_again(kit):
    first = kit.search()
    seen = len(kit.seen)
    assert kit.search() == first
    assert len(kit.seen) == seen
    assert len(kit.ledger.spent("f")) == 1


def test_a_training_without_a_score_counts_as_the_worst(kit):
    numbers = iter(range(10))

    def score(model):
        number = next(numbers)
        if number == 0:
            raise RuntimeError("no image could be drawn")
        return [float("nan"), 2.0, float("inf")][number - 1] if number < 4 else 1.0

    assert kit.search(trials=6, score=score) is not None
    assert next(numbers) == 6


def test_a_training_that_breaks_down_ends_the_search_and_decides_nothing(kit, monkeypatch):
    """Whether one breaks down may hang on a member; if it merely lost, the winner would tell of it."""
    calls = iter(range(10))

    def breaks(self, batch, noise):
        if next(calls) >= 2:
            raise RuntimeError("a sentinel pixel")
        return kept(self, batch, noise)

    kept = Level.forward
    monkeypatch.setattr(Level, "forward", breaks)
    with pytest.raises(StageError, match="a sentinel pixel"):
        kit.search(trials=6)
    assert not (kit.folder / "found").exists()
    assert kit.ledger.spent("f") == [kit.price.event]


def test_the_result_of_another_search_is_refused(kit):
    kit.search(seed=1)
    with pytest.raises(StageError, match="one of other settings"):
        kit.search(seed=2)
    with pytest.raises(StageError, match="has not paid for"):
        kit.search(seed=1, name="another")


def test_the_ledger_does_not_hold_when_a_search_ended(kit):
    kit.search()
    assert '"close"' not in kit.ledger.path.read_text()


@pytest.mark.parametrize("trials", [0, 4])
def test_where_nothing_came_out_nothing_is_left_and_all_is_charged(kit, trials):
    def score(model):
        return float("nan")

    assert kit.search(trials=trials, score=score) is None
    assert list(kit.folder.iterdir()) == []
    assert kit.ledger.spent("f") == [kit.price.event]
    assert kit.told == [(1, 1)]


def test_candidates_that_ask_for_different_sums_are_refused(mechanism):
    with pytest.raises(PluginError, match="the same noisy sums"):
        plan_search([Level(1e-2), Level(1e-2, steps=5)], SearchSettings(), mechanism, PATIENTS)
    with pytest.raises(PluginError, match="the same noisy sums"):
        plan_search([Level(1e-2, data="reference")], SearchSettings(), mechanism, PATIENTS)
    with pytest.raises(StageError, match="at least one candidate"):
        plan_search([], SearchSettings(), mechanism, PATIENTS)


def test_what_no_training_could_do_is_refused_before_it_is_paid_for(kit, monkeypatch):
    with pytest.raises(StageError, match="reference"):
        kit.search(candidates=(lambda: Level(1e-2, data="reference"),))
    monkeypatch.setattr(kit.mechanism, "kind", "summary")
    with pytest.raises(PluginError, match="found one for 'summary'"):
        kit.search()
    assert kit.ledger.spent("f") == []


@pytest.mark.parametrize("mean", [1.0, 3.5, 200.0])
@pytest.mark.parametrize("distribution", ["geometric", "poisson"])
def test_the_number_of_trainings_is_drawn_from_the_distribution_that_is_priced(distribution, mean):
    draws = 20_000 if mean < 100 else 4000
    found = np.array([searching._draw_trials(SearchSettings(mean, distribution)) for _ in range(draws)])
    variance = mean * (mean - 1) if distribution == "geometric" else mean
    assert abs(found.mean() - mean) <= 6 * np.sqrt(variance / draws)
    # Fourth moments: 9 + p²/(1−p) over the variance's square for a geometric number, 3 + 1/mean for a Poisson one.
    kurtosis = 3 + 1 / mean if distribution == "poisson" else 9 + (1 / (variance or 1.0))
    assert abs(found.var() - variance) <= 7 * variance * np.sqrt((kurtosis - 1) / draws)
    assert found.min() >= (1 if distribution == "geometric" else 0)


def test_the_number_of_trainings_follows_no_seed():
    drawn = []
    for _ in range(2):
        random.seed(1)
        state = np.random.get_state()
        np.random.seed(1)
        drawn.append([searching._draw_trials(SearchSettings(100.0)) for _ in range(40)])
        np.random.set_state(state)
    assert drawn[0] != drawn[1]


def test_a_search_over_one_noisy_sum_can_be_planned():
    mechanism = OneSum(NoisySumSettings(epsilon=3.0, delta=1e-5))

    class Asks:
        def sums(self):
            from privagams.roles import Sums

            return [Sums("means", lambda batch: batch["pixels"].flatten(1), lambda summary: None)]

        def fit(self, rng, progress):
            raise AssertionError("planning fits nothing")

        sample = state_dict = load_state_dict = fit

    price = plan_search([Asks()], SearchSettings(4, "poisson"), mechanism, 30)
    assert isinstance(price, Price)
    assert 2.98 < epsilon([price.event], 1e-5)[0] <= 3.0
