import inspect
import json
import logging

import numpy as np
import pytest
import torch
from attrs import evolve
from safetensors.torch import load_file

from privagams.errors import BudgetError, LedgerError, PluginError, StageError
from privagams.roles import Phase
from privagams.training import asking, checkpoint, feed, gradients, job, noise_plan, phase_run, train


def weights(setting, result):
    return load_file(setting.folder / result.weights)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_plain_training_is_the_same_bit_for_bit_for_one_seed(plain, tmp_path):
    first = weights(plain, plain.run())
    again = evolve(plain, folder=tmp_path / "again")
    other = evolve(plain, folder=tmp_path / "other", seed=2)
    assert same(first, weights(again, again.run()))
    assert not same(first, weights(other, other.run()))


def test_plain_training_goes_on_from_a_checkpoint_bit_for_bit(plain, tmp_path):
    whole = weights(plain, plain.run())
    broken = evolve(plain, folder=tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        broken.run(told=_StopAt(5))
    assert checkpoint.load_checkpoint(broken.folder).step == 4
    assert same(whole, weights(broken, broken.run()))


def test_plain_training_lowers_the_loss(plain, kit):
    model = kit.TinyModel(plain.space, 1, steps=150, ema=0.0)
    feeding = feed.Feed(plain.records, ())
    batch = feeding.batch(np.arange(len(feeding)))
    noise = model.draw(len(feeding), torch.Generator().manual_seed(0))
    before = float(model.net(batch, noise).mean().detach())
    plain.run(model=model, block_steps=50)
    assert float(model.net(batch, noise).mean().detach()) < 0.8 * before


def test_private_training_differs_although_the_seed_is_fixed(private, tmp_path, kit):
    one = weights(private, private.run())
    again = evolve(private, folder=tmp_path / "again", account=kit.MemoryAccount())
    assert not same(one, weights(again, again.run()))


def test_private_training_reserves_every_block_and_closes_it(private):
    result = private.run(block_steps=4)
    assert [event.count for event in result.events] == [4, 2]
    assert sum(private.mechanism.released.values()) == result.steps == 6
    assert len(private.account.closed) == 2


def test_an_empty_batch_still_steps_with_noise(private, kit):
    private.mechanism.nobody = True
    model = kit.TinyModel(private.space, 1, ema=0.0)
    before = {k: t.clone() for k, t in model.state_dict().items()}
    result = private.run(model=model)
    assert sum(private.mechanism.released.values()) == 6
    assert sum(event.count for event in private.account.events) == 6
    assert all(not torch.equal(before[k], t) for k, t in weights(private, result).items())


def test_a_mechanism_without_an_account_is_refused(private):
    with pytest.raises(ValueError, match="account"):
        private.run(account=None)


def test_a_mechanism_for_the_other_kind_of_learning_is_refused(private):
    private.mechanism.kind = "summary"
    with pytest.raises(PluginError, match="found one for 'summary'"):
        private.run()


def test_a_finished_folder_is_neither_trained_nor_charged_again(private):
    first = private.run()
    charged, told = len(private.account.events), len(private.told)
    assert private.run() == first
    assert (len(private.account.events), len(private.told)) == (charged, told)


def test_a_checkpoint_of_other_settings_is_refused_by_their_names(private):
    with pytest.raises(KeyboardInterrupt):
        private.run(told=_StopAt(3))
    with pytest.raises(StageError, match=r"phases\[0\].learning_rate: 0.01 there, 0.5 here") as caught:
        private.run(seed=3, phase={"learning_rate": 0.5})
    assert "seed: 1 there, 3 here" in str(caught.value)


def test_a_ledger_behind_the_checkpoint_is_refused(private, kit):
    with pytest.raises(KeyboardInterrupt):
        private.run(told=_StopAt(5))
    with pytest.raises(LedgerError):
        private.run(account=kit.MemoryAccount())


def test_a_damaged_checkpoint_is_a_clear_error(plain):
    with pytest.raises(KeyboardInterrupt):
        plain.run(told=_StopAt(3))
    path = plain.folder / checkpoint.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StageError, match="damaged"):
        plain.run()


def test_nothing_that_is_written_or_told_depends_on_the_batches(private, tmp_path, caplog, capfd, kit):
    """Members with many and with few tiles: all but noisy numbers is equal, files byte for byte in length."""
    caplog.set_level(logging.DEBUG)
    few, many = kit.records((1,) * 6), kit.records((50, 1, 1, 1, 1, 1))
    seen = []
    for name, records in (("few", few), ("many", many)):
        account, told = kit.MemoryAccount(), []
        setting = evolve(private, folder=tmp_path / name, account=account, records=records, told=told)
        with pytest.raises(KeyboardInterrupt):
            setting.run(told=_StopAt(5))
        stopped = checkpoint.load_checkpoint(setting.folder)
        shapes = {k: t.shape for k, t in stopped.tensors.items()}
        result = setting.run(told=told)
        files = {p.name: p.stat().st_size for p in setting.folder.iterdir()}
        seen.append((shapes, dict(stopped.settings), stopped.step, files, told, result.notes, account.events))
    assert seen[0] == seen[1]
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_holds_no_random_state(private):
    with pytest.raises(KeyboardInterrupt):
        private.run(told=_StopAt(3))
    kept = checkpoint.load_checkpoint(private.folder)
    parts = {name.split("/")[0] for name in kept.tensors}
    assert parts == {"model", "ema", "exp_avg", "exp_avg_sq"}
    assert not [key for key in json.dumps(dict(kept.settings)).split('"') if "rng" in key or "state" in key]


def test_no_pickle_is_read_or_written():
    for module in (checkpoint, feed, gradients, job, noise_plan, phase_run, asking, train):
        source = inspect.getsource(module)
        assert "pickle" not in source.replace("without pickle", "")
        assert "torch.load" not in source
        assert "torch.save" not in source


def test_the_moving_average_ends_as_the_result(plain, kit):
    """Against a loop written out: the average of the parameters after each step, with its warm-up."""
    model = kit.TinyModel(plain.space, 1, ema=0.5)
    run = phase_run.PhaseRun(model.phases()[0])
    expected = {n: p.detach().clone() for n, p in model.net.named_parameters()}
    rng = torch.Generator().manual_seed(0)
    for step in range(1, 5):
        run.apply([torch.randn(p.shape, generator=rng) for p in run.parameters.values()])
        decay = min(0.5, (1 + step) / (10 + step))
        for name, p in model.net.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * p.detach()
    run.finish()
    for name, p in model.net.named_parameters():
        torch.testing.assert_close(p.detach(), expected[name])


def test_without_a_moving_average_the_last_weights_are_the_result(plain, kit):
    model = kit.TinyModel(plain.space, 1, ema=0.0)
    result = plain.run(model=model)
    assert same(weights(plain, result), {k: t.detach() for k, t in model.state_dict().items()})


def test_a_reference_phase_costs_nothing_and_members_come_after_it(private, kit):
    space, model = private.space, kit.TinyModel(private.space, 1)
    (phase,) = model.phases()
    warm = Phase("warm-up", model.net, model.draw, steps=3, learning_rate=1e-2, batch=4, data="reference")
    model.phases = lambda: [warm, phase]
    result = private.run(model=model, reference=kit.records((2,) * 4, seed=5), space=space)
    assert result.steps == 9
    assert sum(event.count for event in result.events) == 6
    assert sum(private.mechanism.released.values()) == 6


def test_a_reference_phase_without_reference_is_a_clear_error(private, kit):
    model = kit.TinyModel(private.space, 1, data="reference")
    with pytest.raises(StageError, match=r"set \[split\] reference"):
        private.run(model=model)


def test_only_the_named_parameters_are_trained(private, kit):
    model = kit.TinyModel(private.space, 1, trains=lambda name: name.startswith("last"))
    before = {k: t.clone() for k, t in model.state_dict().items()}
    after = weights(private, private.run(model=model))
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"net.last.weight", "net.last.bias"}


def test_shares_split_the_budget_between_phases(private, kit):
    model = kit.TinyModel(private.space, 1)
    (phase,) = model.phases()
    model.phases = lambda: [evolve(phase, share=0.25), evolve(phase, name="second", share=0.75)]
    private.run(model=model)
    few, many = sorted(private.mechanism.released)
    assert (many / few) ** 2 == pytest.approx(3.0)


def test_shares_above_one_are_refused(private, kit):
    model = kit.TinyModel(private.space, 1)
    (phase,) = model.phases()
    model.phases = lambda: [phase, phase]
    with pytest.raises(PluginError, match="at most 1"):
        private.run(model=model)


def test_an_epsilon_that_cannot_be_reached_is_refused_before_anything_is_reserved(private, dp):
    with pytest.raises(BudgetError):
        private.run(mechanism=dp(epsilon=1e-9, delta=1e-12))
    assert private.account.events == []


class _StopAt(list):
    """A progress log that interrupts as soon as step `at` or a later one is told."""

    def __init__(self, at):
        super().__init__()
        self._at = at

    def append(self, seen):
        super().append(seen)
        if seen[0] >= self._at:
            raise KeyboardInterrupt


def test_progress_of_private_training_tells_whole_blocks_only(private):
    """How long one step takes tells how many patients were in it."""
    private.run(block_steps=3)
    assert [done for done, _ in private.told] == [3, 6, 6]
