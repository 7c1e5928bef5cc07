"""A small cohort, a small denoiser, an account in memory, and a mechanism whose noise is counted."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attrs import evolve, field, frozen
from dp_accounting import get_epsilon_gaussian
from scipy.optimize import brentq
from torch import nn

from privagams.errors import BudgetError, LedgerError
from privagams.ledger import accounting
from privagams.ledger.chain import Head
from privagams.ledger.events import spending
from privagams.records import Records
from privagams.roles import Phase, Space
from privagams.training.train import fit
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.noisy_sum import GaussianSum
from privagams_dp.settings import DpSgdSettings


@pytest.fixture(autouse=True)
def _price_unsampled_sums_by_the_closed_form(request, monkeypatch):
    """Accountants take seconds a question; where everybody takes part, Balle and Wang's formula is exact."""
    if "real_accounting" in request.fixturenames:
        return
    real_epsilon = accounting.epsilon

    def price(events, delta):
        costs = spending(events)
        if any(cost.rate < 1 for cost in costs):
            return real_epsilon(events, delta)
        precision = sum(n / cost.noise**2 for cost, n in costs.items())
        return (get_epsilon_gaussian(precision**-0.5, delta) if costs else 0.0), "closed form"

    def calibrate(event_for, epsilon, delta, spent=()):
        def excess(log_noise):
            return price([*spent, event_for(math.exp(log_noise))], delta)[0] - epsilon

        if excess(math.log(1e6)) > 0:
            raise BudgetError("cannot be reached")
        return math.exp(brentq(excess, math.log(1e-2), math.log(1e6), xtol=1e-12)) * (1 + 1e-9)

    monkeypatch.setattr(accounting, "calibrate", calibrate)
    monkeypatch.setattr(accounting, "epsilon", price)


@pytest.fixture
def real_accounting():
    """Ask for this to be charged by the accountants themselves."""


class Denoiser(nn.Module):
    """Predicts the noise that was added; one loss per record."""

    def __init__(self, channels=1, width=8):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, batch, noise):
        mixed = batch["pixels"] * (1 - noise["t"]) + noise["eps"] * noise["t"]
        guess = self.last(torch.nn.functional.silu(self.norm(self.first(mixed))))
        return (guess - noise["eps"]).square().flatten(1).mean(1)


class TinyModel(nn.Module):
    """A `roles.Trained` of one phase, small enough for a step in a millisecond."""

    def __init__(self, space, seed=0, **phase):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = Denoiser(space.channels)
        self._space = space
        self._phase = {"steps": 6, "learning_rate": 1e-2, "batch": 8, "ema": 0.9} | phase

    def draw(self, n, rng):
        space = self._space
        eps = torch.randn(n, space.channels, space.size, space.size, generator=rng)
        return {"eps": eps, "t": torch.rand(n, 1, 1, 1, generator=rng)}

    def phases(self):
        return [Phase("denoise", self.net, self.draw, **self._phase)]

    def sample(self, labels, rng, progress):
        return np.zeros((len(labels), self._space.size, self._space.size, self._space.channels), np.uint8)


class MemoryAccount:
    """An account as `train.Account` asks for, without a file."""

    def __init__(self):
        self.events, self.closed, self.calls, self.planned = [], [], [], []
        self.written = 0
        self.fail_at = None

    def _maybe_fail(self, point):
        self.calls.append(point)
        if self.fail_at == (point, self.calls.count(point)):
            raise KeyboardInterrupt(point)

    def spent(self):
        return list(self.events)

    def reserve(self, event, steps):
        self._maybe_fail("before reserve")
        self.events.append(event)
        self.written += 1
        self._maybe_fail("after reserve")
        return SimpleNamespace(steps=steps)

    def close(self, block, checkpoint):
        self._maybe_fail("before close")
        self.closed.append(checkpoint)
        self.written += 1
        self._maybe_fail("after close")
        return self.head

    @property
    def head(self):
        return Head(self.written, f"{self.written:064d}")

    def plan(self, event):
        self.planned.append(event)

    def check(self, head, where=None):
        if head.seq > self.written:
            raise LedgerError(f"{where}: the ledger does not reach {head.seq}")


class CountingSum(GaussianSum):
    """Counts noisy sums as they are released: what an adversary could have seen."""

    def __init__(self, owner, *settings):
        super().__init__(*settings)
        self._owner, self._multiplier = owner, settings[2]

    def sample(self, patients):
        chosen = super().sample(patients)
        return chosen[:0] if self._owner.nobody else chosen

    def release(self):
        self._owner.released[self._multiplier] += 1
        return super().release()


class CountingDpSgd(DpSgd):
    def __init__(self, settings):
        super().__init__(settings)
        self.released = Counter()
        self.nobody = False
        """Make every batch empty."""

    def noisy_sum(self, like, noise_multiplier, patients):
        rate = self.sampling_rate(patients)
        return CountingSum(self, like, self.clip_norm, noise_multiplier, rate)


def make_records(tiles=(3,) * 6, size=8, channels=1, classes=("a", "b"), seed=0):
    """One patient for each entry of `tiles`, which says how many records the patient has."""
    rng = np.random.default_rng(seed)
    patient = np.repeat([f"p{i:02d}" for i in range(len(tiles))], tiles)
    pixels = rng.integers(0, 256, (len(patient), size, size, channels), dtype=np.uint8)
    label = np.array([classes[int(p[1:]) % len(classes)] for p in patient])
    return Records(pixels, {"patient": patient, "label": label})


@frozen
class Setting:
    """A training that can be run again with one thing changed."""

    folder: object
    records: object = field(factory=make_records)
    space: Space = field(factory=lambda: Space(8, 1))
    seed: int = 1
    patients: int = 6
    phase: dict = field(factory=dict)
    mechanism: object = None
    account: object = None
    told: list = field(factory=list)
    model: object = None
    reference: object = None
    block_steps: int = 2

    def run(self, **changes):
        self = evolve(self, **changes)
        self.folder.mkdir(exist_ok=True)
        model = self.model or TinyModel(self.space, self.seed, **self.phase)
        return fit(
            model, self.records, self.reference, self.space, self.mechanism, self.patients, self.seed,
            self.folder, self.account, lambda *seen: self.told.append(seen), block_steps=self.block_steps,
        )  # fmt: skip


@pytest.fixture
def kit():
    """Classes and factories that these tests share."""
    return SimpleNamespace(
        Denoiser=Denoiser, TinyModel=TinyModel, MemoryAccount=MemoryAccount, records=make_records,
        CountingDpSgd=CountingDpSgd,
    )  # fmt: skip


@pytest.fixture
def dp():
    """Make a counting DP-SGD; every patient takes part by default, which is quick to price."""

    def make(**changes):
        return CountingDpSgd(
            DpSgdSettings(**({"epsilon": 8.0, "delta": 1e-4, "patients_per_step": 6} | changes))
        )

    return make


@pytest.fixture
def plain(tmp_path):
    return Setting(tmp_path / "fit")


@pytest.fixture
def private(tmp_path, dp):
    return Setting(tmp_path / "fit", mechanism=dp(), account=MemoryAccount())
