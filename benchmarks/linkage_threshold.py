"""Where linkage of randomised latents sets in, measured on simulated ones, beside where theory says.

    python benchmarks/linkage_threshold.py [--sizes 4096 16384] [--released 1000] [--correlations 1 0.5 0.2]

N vectors of d independent N(0, 1) entries are clipped to ±3 and get Laplace noise for an ε per entry; the adversary
holds all N (correlation 1), or others of the same people whose entries correlate with them by r, and guesses by
correlation. Each vector is probed once, at each ε anew. numpy's noise is good enough here: the vectors are invented
and nothing is released. Prints the share of right first guesses with its 95 % interval beside what
`expected_top1` says, and where it crosses one half, with a 95 % bootstrap interval over patients, beside ε*.
"""

import argparse

import numpy as np
from scipy.special import ndtri

from privagams.judge import expected_top1, threshold_epsilon
from privagams.judge.intervals import mean_interval

CLIP = 3.0
AROUND = (0.2, 0.4, 0.55, 0.65, 0.75, 0.85, 0.95, 1.05, 1.2, 1.5, 2.0, 4.0)
"""Of ε*."""
BATCH = 250


def hits(size, released, correlation, epsilon, rng):
    """Whether each of the vectors is found at the first guess, bool "released"."""
    vectors = rng.standard_normal((released, size), dtype=np.float32)
    held = vectors
    if correlation < 1:
        held = correlation * vectors + np.float32(np.sqrt(1 - correlation**2)) * rng.standard_normal(
            vectors.shape, dtype=np.float32
        )
    lengths = np.linalg.norm(held, axis=1)
    found = []
    for start in range(0, released, BATCH):
        clean = np.clip(vectors[start : start + BATCH], -CLIP, CLIP)
        noisy = clean + rng.laplace(0, 2 * CLIP / epsilon, clean.shape).astype(np.float32)
        guess = (noisy @ held.T / lengths).argmax(axis=1)
        found.append(guess == np.arange(start, start + len(clean)))
    return np.concatenate(found)


def crossing(epsilons, shares):
    """The ε at which a rising share crosses one half, between two measured ones, straight in (ln ε, Φ⁻¹)."""
    rising = ndtri(np.clip(np.maximum.accumulate(shares), 1e-4, 1 - 1e-4))
    return float(np.exp(np.interp(0.0, rising + 1e-9 * np.arange(len(rising)), np.log(epsilons))))


def study(size, released, correlation, rng, resamples=2000):
    edge = threshold_epsilon(size, released, CLIP, correlation)
    epsilons = edge * np.array(AROUND)
    found = np.array([hits(size, released, correlation, epsilon, rng) for epsilon in epsilons])
    print(f"\nd = {size:,}, N = {released:,}, correlation {correlation:g}: ε* = {edge:.4f} per entry")
    print(f"{'ε per entry':>12} {'ε in total':>11} {'top-1':>7}  {'95 % interval':<14} {'theory':>7}")
    for epsilon, row in zip(epsilons, found, strict=True):
        low, high = mean_interval(row.mean(), released)
        theory = expected_top1(size, released, 2 * CLIP / epsilon, correlation)
        print(
            f"{epsilon:12.4f} {epsilon * size:11,.0f} {row.mean():7.3f}  {f'{low:.3f}–{high:.3f}':<14} {theory:7.3f}"
        )
    half = crossing(epsilons, found.mean(axis=1))
    again = [
        crossing(epsilons, np.array([row[rng.integers(0, released, released)].mean() for row in found]))
        for _ in range(resamples)
    ]
    low, high = np.quantile(again, [0.025, 0.975])
    finer = np.geomspace(epsilons[0], epsilons[-1], 400)
    shares = np.array([expected_top1(size, released, 2 * CLIP / e, correlation) for e in finer])
    print(
        f"half of all are found at ε = {half:.4f} (95 % interval {low:.4f}–{high:.4f}), {half / edge:.2f} of ε*; "
        f"`expected_top1` is one half at {crossing(finer, shares):.4f}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--released", type=int, default=1000)
    parser.add_argument("--correlations", type=float, nargs="+", default=[1.0, 0.5, 0.2])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for size in asked.sizes:
        for correlation in asked.correlations:
            study(size, asked.released, correlation, np.random.default_rng(asked.seed))


if __name__ == "__main__":
    main()
