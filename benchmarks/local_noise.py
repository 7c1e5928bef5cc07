"""Noise of the local mechanisms: seconds for one image on one core, growth with its size, and use of two cores.

    python benchmarks/local_noise.py [--rounds 3] [--images 1000]

One grey image of 256 × 256 (65,536 coordinates) on one core, process time, the least of the rounds. Growth: images
of 32² to 256² coordinates, slope of log time over log coordinates (1 is linear). Two cores: `--images` images of
64 × 64, a fifth of them at once, by the clock, on one core and on two by turns, the best fifth of each counted; the
bound beside it is what two processes that do nothing but count gain over one at the same moment.
"""

import argparse
import os
import time
from multiprocessing import get_context

import numpy as np

from privagams.plugins import discover
from privagams.roles import Coordinates
from privagams.settings import structure

SIDES = (32, 64, 128, 256)
MECHANISMS = {
    "latent-laplace": {"epsilon": 10.0},
    "latent-gaussian": {"epsilon": 10.0, "delta": 1e-5},
    "latent-topk": {"epsilon": 10.0, "delta": 1e-5},
    "latent-topk, k = d": {"epsilon": 10.0, "delta": 1e-5},
    "pixel-laplace": {"epsilon": 10.0},
}


def bound(name, size):
    """The mechanism as configuration builds it, for vectors of `size`."""
    use = name.split(",")[0]
    (component,) = (o.component for o in discover().offers if o.component.name == use)
    figures = MECHANISMS[name] | ({"k": size} if name.endswith("k = d") else {})
    return component.build(structure(figures, component.settings)).randomiser(
        Coordinates(size, np.arange), 0, 1
    )


def best(function, rounds, clock):
    seconds = []
    for _ in range(rounds):
        start = clock()
        function()
        seconds.append(clock() - start)
    return min(seconds)


def on_cores(count):
    """Keep this process to `count` of the cores it may use; noise is drawn by as many threads."""
    os.sched_setaffinity(0, sorted(CORES)[:count])


def growth(name, rounds):
    """Process seconds for each of `SIDES`, and the slope."""
    rng, seconds = np.random.default_rng(0), []
    for side in SIDES:
        made, image = bound(name, side**2), rng.normal(size=(1, side**2))
        seconds.append(best(lambda made=made, image=image: made.randomise(image), rounds, time.process_time))
    slope = np.polyfit(np.log(np.square(SIDES)), np.log(seconds), 1)[0]
    return seconds, slope


def count(turns):
    while turns:
        turns -= 1


def free_cores():
    """How much faster two counting processes are than one after the other, just now."""
    pool = get_context("spawn").Pool(2)
    with pool:
        pool.map(count, [1, 1])
        one = best(lambda: pool.apply(count, (20_000_000,)), 2, time.perf_counter)
        two = best(lambda: pool.map(count, [20_000_000] * 2, chunksize=1), 2, time.perf_counter)
    return 2 * one / two


def main(rounds, images):
    on_cores(1)
    for name in MECHANISMS:
        seconds, slope = growth(name, rounds)
        each = ", ".join(f"{side}²: {s:.3f}" for side, s in zip(SIDES, seconds, strict=True))
        print(f"{name}: {seconds[-1]:.2f} s for 256 × 256 on one core ({each} s; slope {slope:.2f})")
    vectors = np.random.default_rng(1).normal(size=(images, 64 * 64))
    for name in MECHANISMS:
        made, clock = bound(name, 64 * 64), {1: [], 2: []}
        for part in np.array_split(vectors, 5):
            for cores, seconds in clock.items():
                on_cores(cores)
                seconds.append(
                    5 * best(lambda made=made, part=part: made.randomise(part), 1, time.perf_counter)
                )
        one, two = (min(seconds) for seconds in clock.values())
        print(
            f"{name}: {images:,} images of 64 × 64 in {one:.1f} s on one core, {two:.1f} s on two, "
            f"{one / two:.2f}× (two processes just now: {free_cores():.2f}×)"
        )


CORES = os.sched_getaffinity(0)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    asked = parser.parse_args()
    main(asked.rounds, asked.images)
