"""Patient-cluster bootstrap of an AUC in one pass, against a loop over scikit-learn's roc_auc_score.

    python benchmarks/bootstrap.py [--replicates 2000] [--patients 10000] [--images 10] [--sample 20]

Both draw patients with all of their images. The loop's time is taken over a sample of its replicates and scaled
to all of them, which is said in what is printed. Process time, one thread if OMP_NUM_THREADS=1.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from privagams.judge.bootstrap import cluster_bootstrap_auc


def cohort(patients, images, rng):
    """Correlated image scores, their patients, and who is a member."""
    member = np.arange(patients) % 2 == 0
    owner = np.repeat(np.arange(patients), images)
    own = rng.normal(size=patients) + 0.5 * member
    return own[owner] + rng.normal(size=len(owner)), owner, member


def loop(scores, owner, member, replicates, rng):
    """What one would write: resample patients, gather their images, ask scikit-learn."""
    starts = np.searchsorted(owner, np.arange(len(member) + 1))
    sides = [np.flatnonzero(member), np.flatnonzero(~member)]
    found = []
    for _ in range(replicates):
        drawn = np.concatenate([rng.choice(side, len(side)) for side in sides])
        rows = np.concatenate([np.arange(starts[p], starts[p + 1]) for p in drawn])
        found.append(roc_auc_score(member[owner[rows]], scores[rows]))
    return np.array(found)


def weighted_loop(scores, owner, member, replicates, rng):
    """The same by weights, which spares the gathering."""
    sides = [np.flatnonzero(member), np.flatnonzero(~member)]
    found = []
    for _ in range(replicates):
        weights = np.zeros(len(member))
        for side in sides:
            weights[side] = rng.multinomial(len(side), np.full(len(side), 1 / len(side)))
        found.append(roc_auc_score(member[owner], scores, sample_weight=weights[owner]))
    return np.array(found)


def timed(function, *arguments):
    """Result and process time in seconds."""
    start = time.process_time()
    found = function(*arguments)
    return found, time.process_time() - start


def main(replicates, patients, images, sample):
    """Print both times and their ratio."""
    scores, owner, member = cohort(patients, images, np.random.default_rng(0))
    print(f"{len(scores):,} scores of {patients:,} patients, {replicates:,} replicates")
    found, seconds = timed(cluster_bootstrap_auc, scores, owner, member, replicates, np.random.default_rng(1))
    print(f"one pass: {seconds:.2f} s; AUC {found.mean():.4f} ± {found.std():.4f}")
    for name, function in (("gathering images", loop), ("by weights", weighted_loop)):
        other, taken = timed(function, scores, owner, member, sample, np.random.default_rng(1))
        whole = taken * replicates / sample
        print(
            f"loop over roc_auc_score, {name}: {whole:.1f} s (scaled from {sample} replicates in {taken:.2f} s); "
            f"AUC {other.mean():.4f} ± {other.std():.4f}; ratio {whole / seconds:.1f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=10, help="per patient")
    parser.add_argument("--sample", type=int, default=20, help="replicates of the loop that are timed")
    chosen = parser.parse_args()
    main(chosen.replicates, chosen.patients, chosen.images, chosen.sample)
