"""Linkability of a table of features: `two-views` against anonymeter; one run.

    python -m venv FOLDER && FOLDER/bin/pip install anonymeter
    python benchmarks/anonymeter.py --anonymeter FOLDER/bin/python [--patients 2000] [--released 4000] [--k 5]

One record a patient, numeric features, two halves. A part of the released records are originals with noise.
anonymeter: Gower's distance (sums of differences over each column's range), risk = (attack − control) /
(1 − control) with Wilson's intervals; n_attacks = patients, two jobs, its compiled code warmed up beforehand.
Ours: the attack as it runs on images, Euclidean distance of standardised features, one thread; the same risk
from the members and non-members that it calls found.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import norm

from privagams.access import Access, Target, World
from privagams.records import Records
from privagams_attacks.settings import TwoViewsSettings
from privagams_attacks.two_views import TwoViews, chance_of_meeting

THEIRS = """
import json, sys, time
import numpy as np, pandas as pd
from anonymeter.evaluators import LinkabilityEvaluator

folder, k, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tables = np.load(f"{folder}/tables.npz")
names = [f"f{i}" for i in range(tables["members"].shape[1])]
half = len(names) // 2
frame = {name: pd.DataFrame(tables[name], columns=names) for name in tables}

def evaluate(count):
    made = LinkabilityEvaluator(
        ori=frame["members"], syn=frame["released"], control=frame["others"],
        aux_cols=(names[:half], names[half:]), n_attacks=count, n_neighbors=k,
    )
    return made.evaluate(n_jobs=2)

evaluate(20)
seconds = []
for _ in range(rounds):
    start = time.perf_counter()
    made = evaluate(len(frame["members"]))
    seconds.append(time.perf_counter() - start)
results, risk = made.results(), made.risk()
rates = [results.attack_rate, results.control_rate, results.baseline_rate]
print(json.dumps({
    "seconds": min(seconds), "risk": [risk.value, *risk.ci], "rates": [[r.value, r.error] for r in rates],
}))
"""


def tables(patients, released, features, copied, noise, rng):
    """Members, others and a release: some patients' features with noise, the rest new people."""
    mixing = rng.normal(size=(features, features)) / np.sqrt(features)
    people = rng.normal(size=(2 * patients + released, features)) @ mixing
    shown = people[2 * patients :].copy()
    count = int(copied * patients)
    shown[:count] = people[:count] + noise * rng.normal(size=(count, features))
    return people[:patients], people[patients : 2 * patients], rng.permutation(shown)


def ours(members, others, released, k):
    """Shares of members and of others that the attack calls found, and seconds."""
    everything = np.concatenate([members, others, released]).astype(np.float32)
    known = len(members) + len(others)
    names = np.array([f"p{i:06}" for i in range(known)])
    pixels = np.zeros((len(everything), 1, 1, 1), np.uint8)
    candidates = Records(pixels, {"patient": names}, np.arange(known))
    target = Target(Records(pixels, {}, np.arange(known, len(everything))), Access.RELEASED)
    world = World(candidates, names, None, (), lambda _, records: everything[records.rows])
    start = time.perf_counter()
    scores = TwoViews(TwoViewsSettings(k=k)).run(target, world, np.random.default_rng(0))
    seconds = time.perf_counter() - start
    found = scores.values > scores.threshold
    return found[: len(members)], found[len(members) :], seconds


def wilson(successes, n, confidence=0.95):
    z = norm.ppf((1 + confidence) / 2)
    rate = (successes + z * z / 2) / (n + z * z)
    return rate, z / (n + z * z) * np.sqrt(successes * (n - successes) / n + z * z / 4)


def risk(found, control):
    (a, da), (c, dc) = (wilson(x.sum(), len(x)) for x in (found, control))
    value = (a - c) / (1 - c)
    error = np.sqrt((da / (1 - c)) ** 2 + (dc * (1 - a) / (1 - c) ** 2) ** 2)
    return [float(np.clip(x, 0, 1)) for x in (value, value - error, value + error)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anonymeter", required=True, help="a Python that has anonymeter")
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--released", type=int, default=4000)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--copied", type=float, default=0.3, help="share of members behind released records")
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    members, others, released = tables(
        asked.patients, asked.released, asked.features, asked.copied, asked.noise, rng
    )
    with tempfile.TemporaryDirectory() as name:
        np.savez(Path(name) / "tables.npz", members=members, others=others, released=released)
        command = [asked.anonymeter, "-c", THEIRS, name, str(asked.k), str(asked.rounds)]
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    theirs = json.loads(done.stdout)
    runs = [ours(members, others, released, asked.k) for _ in range(asked.rounds)]
    found, control, _ = runs[0]
    seconds = min(took for *_, took in runs)
    value, low, high = risk(found, control)
    print(
        f"{asked.patients} members, as many others, {asked.released} released, {asked.features} features, k = {asked.k}"
    )
    print(f"chance, closed form: {chance_of_meeting(asked.released, asked.k):.4f}", end="; ")
    print("anonymeter's baseline, simulated: {:.4f} ± {:.4f}".format(*theirs["rates"][2]))
    print(f"{'':12}{'attack':>9}{'control':>9}{'risk':>8}  95 % interval{'s':>9}")
    print(
        f"{'anonymeter':12}{theirs['rates'][0][0]:9.3f}{theirs['rates'][1][0]:9.3f}{theirs['risk'][0]:8.3f}"
        f"  {theirs['risk'][1]:.3f} to {theirs['risk'][2]:.3f}{theirs['seconds']:9.2f}"
    )
    print(
        f"{'two-views':12}{found.mean():9.3f}{control.mean():9.3f}{value:8.3f}  {low:.3f} to {high:.3f}{seconds:9.2f}"
    )
    inside = theirs["risk"][1] <= value <= theirs["risk"][2]
    print(
        f"ours {'within' if inside else 'outside'} their interval; time ratio {theirs['seconds'] / seconds:.1f}"
    )


if __name__ == "__main__":
    main()
