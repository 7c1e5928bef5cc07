"""How many patients a one-shot release needs: use and likeness against the number of patients, simulated.

    python benchmarks/patients_needed.py [--generator scatter] [--epsilon 1 8] [--patients 100 300 1000 3000 10000]
        [--seeds 3] [--out FILE.json]

The noise of a noisy sum does not grow with its patients. So the mean features of the same few hundred invented
patients, with noise that is smaller by the ratio of N to their number, are what N such patients would give, but
for the chance of which patients these are: the curve shows the price of privacy alone. Tiles of 32 px, two classes.
Use: accuracy on real tiles of other patients, of a classifier that learnt from drawn ones; likeness: KID by `texture`.
Bars are the least and the most of the seeds, each with noise, fit and classifier of its own.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from dp_accounting import GaussianDpEvent, get_epsilon_gaussian

import privagams_dp
import privagams_oneshot
from privagams.demo.signature import CLASSES
from privagams.demo.tiles import render_tiles
from privagams.ledger import accounting
from privagams.ledger.uncharged import Uncharged
from privagams.records import Records
from privagams.roles import Space
from privagams.training.train import fit
from privagams_metrics.classifier import outputs, trained
from privagams_metrics.kid import kernel_sums
from privagams_metrics.settings import DownstreamSettings
from privagams_metrics.texture import Texture

SIZE, TILES, DELTA = 32, 8, 1e-5
LEARNT, JUDGED, DRAWN = 400, 200, 1200


def tiles(first, count):
    pixels, owner, label = render_tiles(range(first, first + count), TILES, SIZE)
    table = {"patient": np.array([f"p{i:06d}" for i in owner]), "label": np.array(CLASSES)[label]}
    return Records(pixels, table)


def component(listed, name):
    return next(c for c in listed if c.name == name)


def price_of(epsilon, patients):
    """The ε whose noise over `LEARNT` patients is as loud as that of `epsilon` over `patients`."""
    noise = accounting.calibrate(GaussianDpEvent, epsilon, DELTA)
    return get_epsilon_gaussian(noise * LEARNT / patients, DELTA)


def drawn(asked, members, epsilon, seed):
    """Images of a generator fitted to `members` at `epsilon`; None for no noise at all."""
    generator = component(privagams_oneshot.privagams_generators(), asked.generator)
    space = Space(SIZE, 3, CLASSES)
    given = dict(item.split("=") for item in asked.set)
    settings = generator.settings(**{name: int(value) for name, value in given.items()})
    model = generator.build(settings).model(space, seed)
    mechanism = account = None
    if epsilon is not None:
        noisy_sum = component(privagams_dp.privagams_mechanisms(), "noisy-sum")
        mechanism, account = noisy_sum.build(noisy_sum.settings(epsilon=epsilon, delta=DELTA)), Uncharged()
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model, members, None, space, mechanism, LEARNT, seed, Path(folder), account,
            lambda done, total, note="": None, threads=1,
        )  # fmt: skip
    labels = np.arange(DRAWN) % len(CLASSES)
    rng = torch.Generator().manual_seed(seed)
    pixels = model.sample(labels, rng, lambda done, total, note="": None)
    return Records(pixels, {"patient": np.array([""] * DRAWN), "label": np.array(CLASSES)[labels]})


def judged(released, real, seed):
    """(accuracy on real tiles, KID)."""
    settings, rng = DownstreamSettings(), np.random.default_rng(seed)
    net = trained(released, released.label_index(CLASSES), len(CLASSES), settings, rng)
    wanted = real.label_index(CLASSES)
    right = outputs(net, real, settings.side).argmax(1) == wanted
    accuracy = float(np.mean([right[wanted == k].mean() for k in range(len(CLASSES))]))
    embed = Texture().embed
    sums = kernel_sums(embed(real.read()), real.patient, embed(released.read()), degree=3)
    return accuracy, sums.kid(np.ones(sums.patients))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="scatter")
    parser.add_argument("--set", nargs="*", default=[], help="whole-number settings of the generator")
    parser.add_argument("--epsilon", type=float, nargs="*", default=[1.0, 8.0])
    parser.add_argument("--patients", type=int, nargs="*", default=[100, 300, 1000, 3000, 10000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    members, real = tiles(0, LEARNT), tiles(LEARNT, JUDGED)
    print("| ε | patients | accuracy, mean (least to most) | KID | s |\n|---|---|---|---|---|", flush=True)
    cases = [(e, n) for e in asked.epsilon for n in asked.patients] + [(None, LEARNT)]
    for epsilon, patients in cases:
        start = time.process_time()
        price = None if epsilon is None else price_of(epsilon, patients)
        found = np.array(
            [judged(drawn(asked, members, price, seed), real, seed) for seed in range(asked.seeds)]
        )
        spread = "{:.3f} ({:.3f} to {:.3f}) | {:.2f} ({:.2f} to {:.2f})".format(
            *(f(found[:, k]) for k in (0, 1) for f in (np.mean, np.min, np.max))
        )
        named = "no noise" if epsilon is None else f"{epsilon:g}"
        print(f"| {named} | {patients} | {spread} | {time.process_time() - start:.0f} |", flush=True)
        if asked.out:
            line = {"generator": asked.generator, "epsilon": epsilon, "patients": patients}
            with asked.out.open("a") as file:
                file.write(json.dumps({**line, "found": found.tolist()}) + "\n")


if __name__ == "__main__":
    main()
