"""Tiny generators that an audit trains in a second, accountants that answer once, and an audit to run."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from privagams.audit.training import audit_mechanism
from privagams.ledger import accounting
from privagams.roles import Phase, Space
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.one_sum import OneSum
from privagams_dp.settings import DpSgdSettings, NoisySumSettings

SPACE = Space(8, 1, ("a", "b"))
PATIENTS = 120
REAL = {name: getattr(accounting, name) for name in ("calibrate", "price", "replace_one")}


class TinyModel(nn.Module):
    """A denoising autoencoder of 2,128 parameters."""

    def __init__(self, space, seed, steps, data):
        super().__init__()
        self.space, self.steps, self.data = space, steps, data
        width = space.channels * space.size**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down, self.up = nn.Linear(width, 16), nn.Linear(16, width)

    def phases(self):
        return [
            Phase(f"fit {i}", self, self.draw, steps=self.steps, learning_rate=1e-3, ema=0.9, data=data,
                  share=1 / len(self.data))
            for i, data in enumerate(self.data)
        ]  # fmt: skip

    def draw(self, n, rng):
        return {"noise": torch.randn(n, self.up.out_features, generator=rng)}

    def forward(self, batch, noise):
        pixels = batch["pixels"].flatten(1)
        return (self.up(torch.relu(self.down(pixels + noise["noise"]))) - pixels).square().mean(1)

    def sample(self, labels, rng, progress):
        raise AssertionError("an audit draws nothing")


class TinyGenerator:
    def __init__(self, steps=60, data=("members",)):
        self.steps, self.data = steps, data

    def model(self, space, seed):
        return TinyModel(space, seed, self.steps, self.data)


class TinySummary(nn.Module):
    """Asks members for their pixels, many times over, so that there are entries for every canary."""

    copies = 64

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))

    def features(self, batch):
        pixels = batch["pixels"].flatten(1).repeat(1, self.copies)
        return pixels / pixels.norm(dim=1, keepdim=True).clamp(min=1)

    def fit(self, summary, rng, progress):
        raise AssertionError("an audit needs the sum only")

    def sample(self, labels, rng, progress):
        raise AssertionError("an audit draws nothing")


class TinySummariser:
    def model(self, space, seed):
        return TinySummary()


@pytest.fixture(scope="session")
def _prices():
    return {}


@pytest.fixture(autouse=True)
def _each_price_is_asked_for_once(monkeypatch, _prices):
    """Accountants take seconds; the same question always has the same answer."""

    def calibrate(event_for, epsilon, delta, spent=()):
        asked = "calibrate", str(accounting.event_to_json(event_for(1.0))), epsilon, delta, str(spent)
        if asked not in _prices:
            _prices[asked] = REAL["calibrate"](event_for, epsilon, delta, spent)
        return _prices[asked]

    def price(spent, delta):
        asked = "price", tuple(sorted(spent.items())), delta
        if asked not in _prices:
            _prices[asked] = REAL["price"](spent, delta)
        return _prices[asked]

    monkeypatch.setattr(accounting, "calibrate", calibrate)
    monkeypatch.setattr(accounting, "price", price)
    monkeypatch.setattr(accounting, "replace_one", lambda spent, delta: None)  # is no part of an audit


@pytest.fixture
def kit(tmp_path):
    """`dp_sgd(epsilon)` and `noisy_sum(epsilon)` build mechanisms, `audit(mechanism)` audits one."""

    def dp_sgd(epsilon=8.0, made=DpSgd, **settings):
        asked = {"epsilon": epsilon, "delta": 1e-5, "patients_per_step": 12, "noise_draws": 1} | settings
        return made(DpSgdSettings(**asked))

    def noisy_sum(epsilon=8.0, made=OneSum):
        return made(NoisySumSettings(epsilon=epsilon, delta=1e-5))

    def audit(mechanism, canaries=512, generator=None, patients=None, seed=0, public=PATIENTS):
        generator = generator or (TinyGenerator() if mechanism.kind == "gradients" else TinySummariser())
        return audit_mechanism(
            generator, mechanism, SPACE, public, patients, canaries, seed, tmp_path, lambda done, total: None
        )

    return SimpleNamespace(
        dp_sgd=dp_sgd,
        noisy_sum=noisy_sum,
        audit=audit,
        space=SPACE,
        patients=PATIENTS,
        Generator=TinyGenerator,
    )


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
