"""Tiny generators that an audit trains in a second, local mechanisms sound and flawed, and audits to run."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attrs import frozen
from dp_accounting import ComposedDpEvent
from torch import nn

from privagams.audit import audit_local
from privagams.audit.training import audit_mechanism
from privagams.errors import StageError
from privagams.judge import gate, local_verdicts
from privagams.judge.gate import FAMILY
from privagams.ledger import accounting
from privagams.ledger.events import pure
from privagams.roles import Phase, Space, Sums
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

    def sums(self):
        return [Sums("pixels", self.features, lambda summary: None, by_class=False)]

    def fit(self, rng, progress):
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
        asked = "price", frozenset(spent.items()), delta
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


@frozen
class ToyRandomiser:
    """A sound one by default: each row clipped to ±3 in every entry, Laplace noise, labels by randomised response.

    What a test breaks is a function of its own in place of one of these. numpy's noise will do where nothing leaves.
    """

    size: int
    epsilon: float
    classes: int = 0
    label_epsilon: float = 0.0
    clip: Callable[[np.ndarray], np.ndarray] = lambda rows: np.clip(rows, -3, 3)
    noise: Callable[[np.ndarray, float], np.ndarray] = lambda rows, scale: np.random.default_rng().laplace(
        0, scale, rows.shape
    )
    scale: Callable[[np.ndarray, int, float], float] = lambda rows, size, epsilon: 6 * size / epsilon
    refuses_nan: bool = True
    seeded_labels: bool = False
    cost: Callable[[float], float] = lambda epsilon: epsilon

    @property
    def event(self):
        if self.label_epsilon:
            return ComposedDpEvent([pure(self.cost(self.epsilon)), pure(self.label_epsilon)])
        return pure(self.cost(self.epsilon))

    @property
    def per_element_epsilon(self):
        return None

    def randomise(self, vectors):
        if self.refuses_nan and np.isnan(vectors).any():
            raise StageError("row 1: expected numbers, found NaN")
        return self.clip(vectors) + self.noise(vectors, self.scale(vectors, self.size, self.epsilon))

    def labels(self, labels, rng):
        if not self.label_epsilon:
            return np.full(len(labels), -1)
        rng = rng if self.seeded_labels else np.random.default_rng()
        other = (labels + rng.integers(1, self.classes, len(labels))) % self.classes
        keep = rng.random(len(labels)) < 1 / (1 + (self.classes - 1) * np.exp(-self.label_epsilon))
        return np.where(keep, labels, other)


class ToyMechanism:
    kind, adjacency, protects, stated_by = "latents", "replace-one", "the vectors", "nobody"

    def __init__(self, epsilon, **broken):
        self.epsilon, self.broken = epsilon, broken

    def randomiser(self, coordinates, classes, images):
        return ToyRandomiser(coordinates.size, self.epsilon / images, classes, **self.broken)


class CadpRule:
    """The rule of Tölle et al. (2022), arXiv 2207.14625, as its code has it.

    `per_image` and a `factor` of 2 put one half of what is wrong right each.

    z ← s·z/‖z‖₁ where that is longer than s = min(ε/2, 4), then z + Lap(s/ε). Its norm is that of a whole batch as a
    matrix, the largest column sum, so that no image is clipped; and two vectors of an L1 ball are 2s apart, not s.
    """

    kind, adjacency, protects, stated_by = "latents", "replace-one", "the vectors", "nobody"

    def __init__(self, epsilon, per_image=False, factor=1):
        self.epsilon, self.per_image, self.factor = epsilon, per_image, factor

    def randomiser(self, coordinates, classes, images):
        epsilon = self.epsilon / images
        radius = min(epsilon / 2, 4)

        def clip(rows):
            of_image = np.abs(rows).sum(axis=1, keepdims=True)
            norm = of_image if self.per_image else np.linalg.norm(rows, ord=1)
            return rows * (radius / np.maximum(norm, radius))

        def scale(rows, size, epsilon):
            return self.factor * radius / epsilon

        return ToyRandomiser(coordinates.size, epsilon, classes, clip=clip, scale=scale)


@pytest.fixture
def local_kit():
    """`toy(epsilon, **broken)` and `cadp(epsilon, …)` build local mechanisms, `audit(mechanism)` audits one."""

    def audit(mechanism, size=64, patients=64, classes=0, images=1, seed=0):
        return audit_local(mechanism, size, classes, images, patients, seed, lambda done, total: None)

    def refused(found, level=FAMILY):
        gated = gate(local_verdicts(found.to_facts(), release="r"), level)
        return {test.bound.attack for test in gated.refused}

    def accused(found):
        """Refused at a level that no true claim is refused at in a test's lifetime; what is tested is secret chance."""
        return refused(found, level=1e-8)

    return SimpleNamespace(toy=ToyMechanism, cadp=CadpRule, audit=audit, refused=refused, accused=accused)
