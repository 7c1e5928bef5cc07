import pytest
from attrs import evolve

from privagams.errors import BudgetError, StageError
from privagams.ledger import accounting
from privagams.ledger.events import spending
from privagams.training import checkpoint, phase_run, train
from privagams.training.noise_plan import MOST_EXTRA_NOISE, Stretch, plan_noise

LEDGER_POINTS = ["before reserve", "after reserve", "before close", "after close"]
OTHER_POINTS = ["mid block", "while the checkpoint is written", "while the weights are written"]


def crash(setting, point, time, monkeypatch):
    """Run until the `time`-th passage of `point`, then stop as if killed there."""
    with monkeypatch.context() as patch:
        told = list(setting.told)
        if point in LEDGER_POINTS:
            setting.account.fail_at = (point, setting.account.calls.count(point) + time)
        elif point == "mid block":
            patch.setattr(
                phase_run.PhaseRun, "apply", _stopping_after(2 * time - 1, phase_run.PhaseRun.apply)
            )
        else:
            name = "checkpoint" if "checkpoint" in point else "weights"
            patch.setattr(checkpoint.os, "replace", _FailingReplace(name, time))
        with pytest.raises(KeyboardInterrupt):
            setting.run(told=told)
        setting.account.fail_at = None


def never_undercounted(setting):
    """Every noisy sum that was computed stands in the account, at its noise."""
    counted = {cost.noise: n for cost, n in spending(setting.account.events).items()}
    for noise, released in setting.mechanism.released.items():
        assert released <= counted.get(noise, 0) + 0


@pytest.mark.parametrize(
    ("point", "time"),
    [(p, t) for p in [*LEDGER_POINTS, "mid block", "while the checkpoint is written"] for t in (1, 2, 3)]
    + [("while the weights are written", 1)],
)
def test_total_epsilon_keeps_to_the_target_after_a_crash_at_every_point(private, monkeypatch, point, time):
    crash(private, point, time, monkeypatch)
    never_undercounted(private)
    result = private.run()
    never_undercounted(private)
    assert list(result.events) == private.account.events
    spent, _ = accounting.epsilon(private.account.events, private.mechanism.delta)
    assert spent <= private.mechanism.epsilon
    ran = sum(private.mechanism.released.values())
    reserved = sum(event.count for event in private.account.events)
    lost_a_block = point in ("after reserve", "mid block", "while the checkpoint is written")
    # With its last block lost nothing is left to spend: the checkpoint before it is the result.
    assert result.steps == (4 if lost_a_block and time == 3 else 6)
    assert ran <= reserved == (8 if lost_a_block and time < 3 else 6)
    assert bool(result.notes) == lost_a_block


def test_many_crashes_end_in_fewer_steps_and_a_note(private, monkeypatch):
    """Six attempts die after reserving; the seventh does what the rest of the budget allows."""
    for _ in range(6):
        try:
            crash(private, "mid block", 2, monkeypatch)
        except BudgetError:
            break
        except pytest.fail.Exception:  # it ran to its end: nothing was left to interrupt
            break
    result = private.run()
    never_undercounted(private)
    assert accounting.epsilon(private.account.events, 1e-4)[0] <= 8.0
    assert result.notes
    assert (private.folder / result.weights).exists()


def test_budget_used_up_before_a_first_checkpoint_is_refused(private, monkeypatch):
    private.account.events.append(private.mechanism.event(1.3, 6, 6))
    with pytest.raises(BudgetError, match="of which no checkpoint is left"):
        private.run()
    assert sum(private.mechanism.released.values()) == 0


def test_budget_used_up_later_stops_at_the_last_checkpoint(private, monkeypatch):
    crash(private, "mid block", 2, monkeypatch)
    stopped = checkpoint.load_checkpoint(private.folder)
    ran = sum(private.mechanism.released.values())
    private.account.events.append(private.mechanism.event(1.3, 4, 6))
    result = private.run()
    assert result.steps == stopped.step == 2
    assert sum(private.mechanism.released.values()) == ran
    assert "0 of the 4 steps" in result.notes[0]


def test_an_older_checkpoint_put_back_buys_nothing(private, tmp_path, monkeypatch):
    crash(private, "mid block", 2, monkeypatch)
    old = (private.folder / checkpoint.CHECKPOINT).read_bytes()
    private.run()
    (private.folder / checkpoint.CHECKPOINT).write_bytes(old)
    private.run()
    never_undercounted(private)
    assert accounting.epsilon(private.account.events, 1e-4)[0] <= 8.0


def test_fewer_steps_run_when_the_noise_would_grow_too_much(dp):
    mechanism = dp()
    z = accounting.calibrate(lambda noise: mechanism.event(noise, 6, 6), 8.0, 1e-4)
    # What is left after 97 % of 1/z² is gone is too little for six steps at four times the noise.
    spent = [mechanism.event(z / 0.985, 6, 6)]
    (dose,) = plan_noise(mechanism, [Stretch(6, 6)], 6, spent)
    assert 0 < dose.steps < 6
    assert dose.noise_multiplier == pytest.approx(MOST_EXTRA_NOISE * z)
    assert accounting.epsilon([*spent, mechanism.event(dose.noise_multiplier, dose.steps, 6)], 1e-4)[0] <= 8.0
    assert (
        accounting.epsilon([*spent, mechanism.event(dose.noise_multiplier, dose.steps + 1, 6)], 1e-4)[0] > 8.0
    )


@pytest.mark.slow
def test_a_resumed_training_with_sampled_patients_keeps_to_the_target(
    private, dp, monkeypatch, real_accounting
):
    setting = evolve(private, mechanism=dp(patients_per_step=2, epsilon=2.0))
    crash(setting, "mid block", 2, monkeypatch)
    result = setting.run()
    never_undercounted(setting)
    assert result.steps == 6
    assert accounting.epsilon(setting.account.events, 1e-4)[0] <= 2.0


def test_a_crash_costs_at_most_fifty_steps_and_a_twentieth_of_all():
    assert train.BLOCK_STEPS == 50


def _stopping_after(step, apply):
    def stopping(self, gradients):
        apply(self, gradients)
        if self.step == step:
            raise KeyboardInterrupt

    return stopping


class _FailingReplace:
    def __init__(self, name, time):
        from os import replace

        self._real, self._name, self._left = replace, name, time

    def __call__(self, source, target):
        if self._name in str(target):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
        self._real(source, target)


def test_a_device_that_is_lost_midway_is_named_and_training_goes_on_from_the_last_block(private, monkeypatch):
    stop = phase_run.PhaseRun.apply

    def lost(self, gradients):
        if self.step == 3:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")
        stop(self, gradients)

    with monkeypatch.context() as patch:
        patch.setattr(phase_run.PhaseRun, "apply", lost)
        with pytest.raises(StageError, match="goes on from the last checkpoint"):
            private.run()
    result = private.run()
    never_undercounted(private)
    assert result.steps == 6
    assert accounting.epsilon(private.account.events, private.mechanism.delta)[0] <= private.mechanism.epsilon
