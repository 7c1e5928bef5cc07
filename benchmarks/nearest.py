"""Exact nearest neighbours against a bare faiss flat index; ratios of one run.

    python -m venv FOLDER && FOLDER/bin/pip install faiss-cpu
    python benchmarks/nearest.py --faiss FOLDER/bin/python [--probes 10000] [--gallery 1000000] [--rounds 3]

256 dimensions, float32, one neighbour, two threads for both; each in a process of its own, in turn, least of
several rounds. faiss holds the gallery in its index, and only its search is timed. Ours reads it from a memory
map, and all of it is timed. "beyond inputs" is the largest growth of memory that belongs to the process alone.
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

DIMENSIONS, THREADS = 256, 2

MEASURE = """
import json, sys, threading, time
import numpy as np

def anonymous():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

def measured(search):
    before, peak, done = anonymous(), [0.0], threading.Event()
    def watch():
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous() - before)
    watcher = threading.Thread(target=watch)
    watcher.start()
    start, cpu = time.perf_counter(), time.process_time()
    distances, positions = search()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    done.set()
    watcher.join()
    np.save(f"{folder}/{name}.npy", positions[:, 0])
    print(json.dumps({"seconds": seconds, "cpu": cpu, "MiB": peak[0]}))

folder, name = sys.argv[1:]
probes = np.load(f"{folder}/probes.npy")
"""
OURS = (
    MEASURE
    + """
from privagams_attacks.nearest import nearest
gallery = np.load(f"{folder}/gallery.npy", mmap_mode="r")
measured(lambda: nearest(probes, gallery, threads=2))
"""
)
FAISS = (
    MEASURE
    + """
import faiss
faiss.omp_set_num_threads(2)
gallery = np.load(f"{folder}/gallery.npy", mmap_mode="r")
index = faiss.IndexFlatL2(gallery.shape[1])
for start in range(0, len(gallery), 50_000):
    index.add(np.ascontiguousarray(gallery[start : start + 50_000]))
measured(lambda: index.search(probes, 1))
"""
)


def write_inputs(folder, probes, gallery):
    rng = np.random.default_rng(0)
    np.save(folder / "probes.npy", rng.standard_normal((probes, DIMENSIONS), dtype=np.float32))
    out = np.lib.format.open_memmap(
        folder / "gallery.npy", mode="w+", dtype=np.float32, shape=(gallery, DIMENSIONS)
    )
    for start in range(0, gallery, 50_000):
        part = out[start : start + 50_000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    out.flush()


def run(python, code, folder, name):
    env = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        [python, "-c", code, str(folder), name], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def disagreements(folder):
    """Probes for which the two differ, and for how many of them ours is nearer by double precision."""
    ours, theirs = np.load(folder / "ours.npy"), np.load(folder / "faiss.npy")
    probes, gallery = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("probes", "gallery"))
    rows = np.flatnonzero(ours != theirs)
    gaps = [
        ((probes[rows].astype(np.float64) - gallery[found[rows]]) ** 2).sum(axis=1)
        for found in (ours, theirs)
    ]
    return len(rows), int((gaps[0] <= gaps[1]).sum())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faiss", required=True, help="a Python that has faiss-cpu")
    parser.add_argument("--probes", type=int, default=10_000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, asked.probes, asked.gallery)
        rounds = [
            (run(sys.executable, OURS, folder, "ours"), run(asked.faiss, FAISS, folder, "faiss"))
            for _ in range(asked.rounds)
        ]
        differing, nearer = disagreements(folder)
    print(f"{asked.probes:,} probes × {asked.gallery:,} × {DIMENSIONS}, float32, {THREADS} threads")
    print(f"{'':8}{'s':>8}{'CPU s':>8}{'MiB beyond inputs':>20}")
    for at, title in enumerate(("ours", "faiss")):
        best = {key: min(pair[at][key] for pair in rounds) for key in ("seconds", "cpu")}
        peak = max(pair[at]["MiB"] for pair in rounds)
        print(f"{title:8}{best['seconds']:8.1f}{best['cpu']:8.1f}{peak:20.0f}")
    for key, words in (("seconds", "by the clock"), ("cpu", "of processor time")):
        ours, theirs = (min(pair[at][key] for pair in rounds) for at in (0, 1))
        print(f"ratio {words}: {ours / theirs:.2f}")
    print(f"neighbours that differ: {differing}, ours nearer or as near in {nearer}")
    print(f"all of it took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
