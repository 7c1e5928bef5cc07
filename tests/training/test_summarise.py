import numpy as np
import pytest
import torch
from attrs import evolve
from safetensors.torch import load_file

from privagams.errors import BudgetError, LedgerError
from privagams.ledger import accounting
from privagams.ledger.ledger import Ledger
from privagams.roles import Space, Summarised
from privagams.training import checkpoint
from privagams_dp.one_sum import OneSum
from privagams_dp.settings import NoisySumSettings


class Averages:
    """A one-shot model whose features are a record's pixels, scaled to norm at most 1."""

    def __init__(self, dies=False):
        self.weight = torch.zeros(64)
        self.seen, self.dies = [], dies

    def features(self, batch):
        flat = batch["pixels"].flatten(1)
        return flat / flat.norm(dim=1, keepdim=True).clamp(min=1.0)

    def fit(self, summary, rng, progress):
        self.seen.append(summary)
        if self.dies:
            raise KeyboardInterrupt
        self.weight = summary.total / summary.patients + 0 * torch.rand(1, generator=rng)
        progress(1, 1)

    def sample(self, labels, rng, progress):
        return np.zeros((len(labels), 8, 8, 1), np.uint8)

    def state_dict(self):
        return {"weight": self.weight}

    def load_state_dict(self, state):
        self.weight = state["weight"]


@pytest.fixture
def once(plain, kit):
    mechanism = OneSum(NoisySumSettings(epsilon=2.0, delta=1e-4))
    return evolve(plain, mechanism=mechanism, account=kit.MemoryAccount())


def expected_sum(records):
    pixels = torch.from_numpy(records.read()).permute(0, 3, 1, 2).float() / 127.5 - 1
    features = Averages().features({"pixels": pixels})
    return sum(features[torch.from_numpy(records.patient == p)].mean(0) for p in records.patients)


def test_a_yardstick_learns_from_the_exact_sum(plain):
    model = Averages()
    assert isinstance(model, Summarised)
    plain.run(model=model)
    (summary,) = model.seen
    torch.testing.assert_close(summary.total, expected_sum(plain.records))
    assert (summary.patients, summary.noise_std) == (6, 0.0)


def test_the_sum_is_charged_and_has_the_noise_that_it_says(once):
    model = Averages()
    result = once.run(model=model)
    (summary,) = model.seen
    (event,) = once.account.events
    assert event.noise_multiplier == summary.noise_std == result.noise_multiplier
    assert accounting.epsilon([event], 1e-4)[0] == pytest.approx(2.0, rel=1e-3)
    error = summary.total - expected_sum(once.records)
    assert 0.5 < float(error.std()) / summary.noise_std < 1.5


def test_many_records_weigh_no_more_than_one(plain, kit):
    one, many = Averages(), Averages()
    records = kit.records((1, 3))
    doubled = records.take(np.array([0] * 300 + [1, 2, 3]))
    plain.run(model=one, records=records)
    plain.run(model=many, records=doubled, folder=plain.folder.with_name("many"))
    torch.testing.assert_close(one.seen[0].total, many.seen[0].total)


def test_a_crash_after_the_release_reuses_the_sum_and_costs_nothing_more(once):
    with pytest.raises(KeyboardInterrupt):
        once.run(model=(first := Averages(dies=True)))
    result = once.run(model=(second := Averages()))
    assert torch.equal(first.seen[0].total, second.seen[0].total)
    assert len(once.account.events) == 1
    assert torch.equal(load_file(once.folder / result.weights)["weight"], second.weight)
    assert result.notes == ()


@pytest.mark.parametrize("point", ["before close", "after close"])
def test_a_crash_while_the_block_is_closed_reuses_the_sum(once, point):
    once.account.fail_at = (point, 1)
    with pytest.raises(KeyboardInterrupt):
        once.run(model=Averages())
    once.account.fail_at = None
    once.run(model=Averages())
    assert len(once.account.events) == 1


def test_a_crash_between_ledger_and_file_leaves_nothing_to_spend(once):
    once.account.fail_at = ("after reserve", 1)
    with pytest.raises(KeyboardInterrupt):
        once.run(model=Averages())
    once.account.fail_at = None
    with pytest.raises(BudgetError, match="of which no checkpoint is left"):
        once.run(model=(again := Averages()))
    assert again.seen == []
    assert len(once.account.events) == 1


def test_a_finished_folder_is_not_charged_again(once):
    first = once.run(model=Averages())
    assert once.run(model=(again := Averages())) == first
    assert again.seen == []
    assert len(once.account.events) == 1


@pytest.mark.slow
def test_a_real_ledger_holds_what_was_spent_and_knows_its_checkpoint(
    private, once, tmp_path, real_accounting
):
    """Both kinds of training against the ledger on disk; a ledger put back behind a checkpoint is refused."""
    run_folder, home = tmp_path / "run", tmp_path / "home"
    run_folder.mkdir()

    pseudonyms = [f"{i:016x}" for i in range(6)]

    def account(fit):
        return Ledger(home / "data").account(
            run="r", release=fit, fit=fit, patients=pseudonyms, budget=None,
            run_folder=run_folder,
        )  # fmt: skip

    result = evolve(private, account=account("sgd")).run(block_steps=3)
    evolve(once, account=account("sum"), folder=tmp_path / "sum").run(model=Averages())
    ledger = Ledger(home / "data")
    assert sum(event.count for event in ledger.spent("sgd")) == result.steps == 6
    assert len(ledger.spent("sum")) == 1
    assert 8.0 < ledger.total(1e-4).epsilon <= 10.0
    ledger.path.write_text("")
    (private.folder / checkpoint.WEIGHTS).unlink()
    with pytest.raises(LedgerError):
        evolve(private, account=account("sgd")).run(block_steps=3)


def test_labels_reach_the_features(plain):
    seen = []

    class Labelled(Averages):
        def features(self, batch):
            seen.append(batch["labels"])
            return super().features(batch)

    plain.run(model=Labelled(), space=Space(8, 1, ("a", "b")))
    assert torch.cat(seen).unique().tolist() == [0, 1]
