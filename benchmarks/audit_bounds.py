"""Bounds on ε that audits of honest mechanisms find, beside the claim.

    python benchmarks/audit_bounds.py [--runs 20] [--canaries 512 2000]

ε = 8, δ = 1e-5. dp-sgd: 400 patients, q = 0.08, 200 steps of a network of 6,352 parameters; noisy-sum: one sum of
about 4,096 entries. Prints, for each level, the mean and the largest bound by each method.
"""

import argparse
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from privagams.audit import audit_mechanism
from privagams.judge import audit_bounds
from privagams.ledger import accounting
from privagams.roles import Phase, Space, Sums
from privagams_dp.dp_sgd import DpSgd
from privagams_dp.one_sum import OneSum
from privagams_dp.settings import DpSgdSettings, NoisySumSettings

SPACE, PATIENTS, STEPS = Space(8, 3, ("a", "b")), 400, 200
EPSILON, DELTA = 8.0, 1e-5


class Network(nn.Module):
    """A denoising autoencoder."""

    def __init__(self, space, seed):
        super().__init__()
        self.width = space.channels * space.size**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down, self.up = nn.Linear(self.width, 16), nn.Linear(16, self.width)

    def phases(self):
        return [Phase("fit", self, self.draw, steps=STEPS, learning_rate=1e-3, ema=0.9)]

    def draw(self, n, rng):
        return {"noise": torch.randn(n, self.width, generator=rng)}

    def forward(self, batch, noise):
        pixels = batch["pixels"].flatten(1)
        return (self.up(torch.relu(self.down(pixels + noise["noise"]))) - pixels).square().mean(1)

    def sample(self, labels, rng, progress):
        raise NotImplementedError("an audit draws nothing")


class Sum(nn.Module):
    """Pixels, many times over, scaled to norm 1 at most."""

    def __init__(self, space, seed):
        super().__init__()

    def features(self, batch):
        pixels = batch["pixels"].flatten(1)
        wide = pixels.repeat(1, -(-4096 // pixels.shape[1]))
        return wide / wide.norm(dim=1, keepdim=True).clamp(min=1)

    def sums(self):
        return [Sums("pixels", self.features, lambda summary: None, by_class=False)]

    def fit(self, rng, progress):
        raise NotImplementedError("an audit needs the sum only")

    def sample(self, labels, rng, progress):
        raise NotImplementedError("an audit draws nothing")


class Generator:
    def __init__(self, network):
        self.model = network


KINDS = {
    "dp-sgd": (Generator(Network), DpSgd(DpSgdSettings(epsilon=EPSILON, delta=DELTA))),
    "noisy-sum": (Generator(Sum), OneSum(NoisySumSettings(epsilon=EPSILON, delta=DELTA))),
}


def remember_prices():
    """Accountants take seconds, and each run asks them the same."""
    calibrate, price, known = accounting.calibrate, cache_of(accounting.price), {}

    def once(event_for, epsilon, delta, spent=()):
        asked = str(event_for(1.0)), epsilon, delta
        if asked not in known:
            known[asked] = calibrate(event_for, epsilon, delta, spent)
        return known[asked]

    accounting.calibrate, accounting.price = once, price
    accounting.replace_one = lambda spent, delta: None  # is no part of an audit


def cache_of(price):
    @cache
    def by_items(items, delta):
        return price(dict(items), delta)

    return lambda spent, delta: by_items(tuple(sorted(spent.items())), delta)


def bounds_of(kind, canaries):
    generator, mechanism = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        found = audit_mechanism(
            generator, mechanism, SPACE, PATIENTS, None, canaries, 0, Path(folder), lambda done, total: None
        )
    assert not found.faults, found.faults
    gradient = found.canaries[0]
    return [audit_bounds(gradient.scores, gradient.included, DELTA, miss) for miss in (0.05, 0.001)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--canaries", type=int, nargs="+", default=[512, 2000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    remember_prices()
    for kind in KINDS:
        for canaries in options.canaries:
            runs = [bounds_of(kind, canaries) for _ in range(options.runs)]
            for level, at in (("95 %", 0), ("99.9 %", 1)):
                values = np.array([[bound.epsilon for bound in run[at]] for run in runs])
                figures = ", ".join(
                    f"{bound.method} {mean:.2f} (at most {most:.2f})"
                    for bound, mean, most in zip(
                        runs[0][at], values.mean(axis=0), values.max(axis=0), strict=True
                    )
                )
                print(f"{kind}, {canaries} canaries, {level}: {figures}", flush=True)


if __name__ == "__main__":
    main()
