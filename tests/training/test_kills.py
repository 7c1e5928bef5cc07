"""Trainings ended by SIGKILL at a random moment, with the ledger on disk, and taken up again."""

import os
import signal
import time

import numpy as np
import pytest
from attrs import evolve
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent

from privagams.ledger import accounting
from privagams.ledger.events import spending
from privagams.ledger.ledger import Ledger
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.noisy_sum import GaussianSum
from privagams_dp.settings import DpSgdSettings

TARGET, DELTA = 8.0, 1e-4


class WrittenSum(GaussianSum):
    """Writes down each sum before it is released: a record of its own, which no kill can take back."""

    def __init__(self, file, like, clip_norm, noise_multiplier, rate):
        super().__init__(like, clip_norm, noise_multiplier, rate)
        self._file, self._multiplier = file, noise_multiplier

    def release(self):
        os.write(self._file, f"{self._multiplier!r}\n".encode())
        return super().release()


class WrittenDpSgd(DpSgd):
    def __init__(self, file):
        super().__init__(DpSgdSettings(epsilon=TARGET, delta=DELTA, patients_per_step=6))
        self._file = file

    def noisy_sum(self, like, noise_multiplier, patients):
        return WrittenSum(self._file, like, self.clip_norm, noise_multiplier, self.sampling_rate(patients))


@pytest.fixture
def one(plain, tmp_path):
    """A training in a folder of its own, with a ledger and a list of all sums that were released."""

    def make(name):
        folder = tmp_path / name
        (folder / "fit").mkdir(parents=True)
        file = os.open(folder / "released", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

        def run():
            account = Ledger(folder / "home").account(
                run="r", release="x", fit="x", patients=[f"{i:016x}" for i in range(6)], budget=None,
                run_folder=folder / "fit",
            )  # fmt: skip
            changed = evolve(plain, folder=folder / "fit", phase={"steps": 16}, mechanism=WrittenDpSgd(file))
            return changed.run(account=account, block_steps=2)

        return folder, run

    return make


def killed_after(seconds, run):
    """Run in a child and end it; True where it was ended before it was done."""
    child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.study)])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked child")
def test_random_kills_never_under_count_and_never_pass_the_target(one, kills):
    one("first")[1]()  # what is slow once only
    _, whole = one("whole")
    start = time.monotonic()
    whole()
    length = time.monotonic() - start
    rng, cut = np.random.default_rng(), 0
    for number in range(kills):
        folder, run = one(str(number))
        cut += killed_after(rng.uniform(0, 0.8 * length), run)
        killed_after(rng.uniform(0, length), run)
        run()
        released = [float(line) for line in (folder / "released").read_text().split()]
        done = [SelfComposedDpEvent(GaussianDpEvent(z), 1) for z in released]
        booked = Ledger(folder / "home").spent(fit="x")
        counted, performed = dict(spending(booked)), dict(spending(done))
        for cost, times in performed.items():
            assert times <= counted.get(cost, 0), f"{times} sums at {cost}, the ledger holds {counted}"
        assert accounting.epsilon(booked, DELTA)[0] <= TARGET + 1e-9
    # Kills must hit trainings at work, or this shows nothing. Of fifty most do; so few cannot be chance.
    assert kills < 50 or cut >= 5
