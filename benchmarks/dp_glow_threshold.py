"""Where noise on latents ends linkage: the formula against simulated Gaussian latents and those of a fitted flow.

    python benchmarks/dp_glow_threshold.py examples/dp-glow-xray.toml [--runs DIR] [--draws 20]

Reads the finished run of the pipeline. Laplace noise of scale b = 2c/ε is put on clipped latents, and a copy goes to
the patient whose image has the highest correlation with it (cosine of latents cut at ±4), as `latent-matching` does.
Predicted: half are linked at b* = √((d r²/(2 ln M) − 1)/2), ε* = 2c/b*, for M images of the gallery, d coordinates, and
latents that are N(0, 1), independent but for a correlation r (1 for the same image). √(2 ln M) is what the largest of M
normal numbers tends to; for the M at hand their median is less, Φ⁻¹(2^(−1/M)), so beside it stands ε* with that.
Noise here is simulated and protects nobody.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from attrs import frozen
from scipy.stats import norm

from privagams.config import load
from privagams.coordinates import codec_of
from privagams.judge.threshold import expected_top1, threshold_epsilon
from privagams.run import prepare
from privagams.splits import AUXILIARY, MAIN, MEMBER, NONMEMBER
from privagams.stage_inputs import copied, records_of, table_of

CUT = 4.0
EPSILONS = np.geomspace(0.02, 100, 38)
RESAMPLES = 1000
LIKENESS = 0.3
"""Correlation at which the formula for another image is tried on simulated latents."""
_CHUNK = 64


@frozen(eq=False)
class Latents:
    """Copied images and a gallery, as latent vectors."""

    probes: np.ndarray
    """float64 "n d"."""
    probe_owner: np.ndarray
    gallery: np.ndarray
    """float64 "m d"."""
    owner: np.ndarray
    clip: float


@frozen
class Crossing:
    """Where half of the patients are linked; NaN where that never happens."""

    epsilon: float
    low: float
    high: float
    best: float
    """Top-1 without noise."""


def unit(vectors):
    """Rows of norm 1."""
    cut = np.clip(vectors, -CUT, CUT)
    return cut / np.linalg.norm(cut, axis=1, keepdims=True)


def linked(latents, epsilon, draws, rng):
    """Share of draws in which each probe is linked to its owner, "n"; an ε of infinity is no noise."""
    known = unit(latents.gallery).T
    hits = np.zeros(len(latents.probes))
    clipped = np.clip(latents.probes, -latents.clip, latents.clip)
    draws = 1 if math.isinf(epsilon) else draws
    for _ in range(draws):
        noise = 0.0 if math.isinf(epsilon) else rng.laplace(0, 2 * latents.clip / epsilon, clipped.shape)
        hits += latents.owner[(unit_noised(clipped + noise) @ known).argmax(axis=1)] == latents.probe_owner
    return hits / draws


def unit_noised(vectors):
    """Rows of norm 1 after shrinking and cutting, as copies are decoded and encoded again."""
    return unit(vectors / vectors.std(axis=1, keepdims=True))


def crossing(latents, draws, rng):
    """Find the per-element ε at which half are linked, with a bootstrap over patients; and top-1 at every ε."""
    table = np.stack([linked(latents, epsilon, draws, rng) for epsilon in EPSILONS])
    weights = rng.multinomial(
        len(latents.probes), np.full(len(latents.probes), 1 / len(latents.probes)), RESAMPLES
    )
    spread = [half(table @ w / w.sum()) for w in weights]
    low, high = np.percentile(spread, [2.5, 97.5]) if np.isfinite(spread).all() else (math.nan, math.nan)
    best = float(linked(latents, math.inf, 1, rng).mean())
    return Crossing(half(table.mean(axis=1)), float(low), float(high), best), table.mean(axis=1)


def half(curve, epsilons=EPSILONS):
    """ε at which a curve first passes one half, by interpolation in ln ε; NaN if it never does."""
    above = np.flatnonzero(np.asarray(curve) >= 0.5)
    if not len(above):
        return math.nan
    i = above[0]
    if i == 0:
        return float(epsilons[0])
    share = (0.5 - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(np.exp(np.log(epsilons[i - 1]) + share * np.log(epsilons[i] / epsilons[i - 1])))


def median_peak(gallery):
    """Median of the largest of M normal numbers."""
    return float(norm.ppf(0.5 ** (1 / gallery)))


def predicted(size, clip, margin, peak, size_of_entries=1.0, effective=None):
    """ε* at which a copy stands out of the gallery as often as not; infinite where it does not even without noise.

    Entries of latents have the root mean square s (1, if the flow is right) and noise 2b². A copy's correlation with
    its own image exceeds that with others' by margin · s/√(s² + 2b²) on average. The latter is normal; its
    variance has 2b²/(s² + 2b²)/d from the noise and s²/(s² + 2b²)/effective from the images, where d coordinates are
    as good as `effective` independent ones. Half are linked where the former is `peak` standard deviations.
    """
    squared = size / 2 * (margin**2 / peak**2 - 1 / (effective or size))
    return 2 * clip / (size_of_entries * math.sqrt(squared)) if margin > 0 and squared > 0 else math.inf


def simulated(size, probes, gallery, correlation, clip, rng):
    """Latents as the formula supposes them: each probe has one image in the gallery, of this correlation."""
    known = rng.standard_normal((gallery, size))
    own = known[:probes]
    shown = correlation * own + math.sqrt(1 - correlation**2) * rng.standard_normal(own.shape)
    return Latents(shown, np.arange(probes), known, np.arange(gallery), clip)


def prepared(pipeline, runs):
    """The plan of a finished run."""
    loaded, registry = load(pipeline)
    return prepare(loaded, registry, runs or loaded.folder / "runs"), registry


def real(run, registry):
    """Latents of the run's flow: copied images and two galleries, with and without the copied images themselves."""
    stage = next(
        s for s in run.plan.of("release") if (s.settings["mechanism"] or {}).get("use") == "latent-laplace"
    )
    records, table = records_of(stage, run.context), table_of(stage, run.context)
    codec = codec_of(stage, run.context, registry)
    rows = copied(run.context, stage.artifact).rows
    clip = float(stage.settings["mechanism"].get("clip", 3.0))

    def encoded(chosen):
        return np.concatenate([codec.encode(pixels) for _, pixels in records.take(chosen).batches(_CHUNK)])

    owner = records.patient.astype(str)
    candidate = np.isin(table.role, (MEMBER, NONMEMBER))
    found = {}
    probes = encoded(rows)
    for name, parts in (("same image", (MAIN, AUXILIARY)), ("other image", (AUXILIARY,))):
        held = np.flatnonzero(candidate & np.isin(table.part, parts))
        mine = np.isin(owner[rows], owner[held])
        if mine.sum() >= 2:
            found[name] = Latents(probes[mine], owner[rows][mine], encoded(held), owner[held], clip)
    return found


@frozen
class Likeness:
    """What real latents are like."""

    own: float
    """Mean correlation with a patient's own images in the gallery."""
    others: float
    """Mean correlation with other patients' images."""
    spread: float
    """Its standard deviation."""
    entries: float
    """Root mean square of the clipped entries; 1 if the flow is right."""


def likeness(latents):
    clipped = np.clip(latents.probes, -latents.clip, latents.clip)
    alike = unit(clipped) @ unit(latents.gallery).T
    same = latents.probe_owner[:, None] == latents.owner
    own = np.mean([row[mine].mean() for row, mine in zip(alike, same, strict=True)])
    rest = alike[~same]
    return Likeness(float(own), float(rest.mean()), float(rest.std()), float(np.sqrt((clipped**2).mean())))


def words(epsilon):
    return "never" if not math.isfinite(epsilon) else f"{epsilon:.2f}"


def row(what, latents, correlation, draws, rng, like=None):
    """One line of the table, and the curve. `like`: of real latents, for the prediction that takes it in."""
    size, gallery = latents.gallery.shape[1], len(latents.gallery)
    found, curve = crossing(latents, draws, rng)
    interval = "" if math.isnan(found.low) else f" [{found.low:.2f}, {found.high:.2f}]"
    peak, adjusted = median_peak(gallery), "–"
    if like is not None:
        margin = correlation if correlation < 1 else 1 - like.others
        adjusted = words(predicted(size, latents.clip, margin, peak, like.entries, 1 / like.spread**2))
    cells = [
        what, f"{size:,}", str(gallery), f"{correlation:.3f}",
        words(threshold_epsilon(size, gallery, latents.clip, max(correlation, 0.0))),
        words(predicted(size, latents.clip, correlation, peak)), adjusted, words(found.epsilon) + interval,
        f"{found.best:.2f}",
    ]  # fmt: skip
    return cells, curve


def report(run, registry, copies=None, draws=20, seed=0):
    """Markdown: predicted and measured thresholds, what real latents are like, and top-1 by ε.

    `copies`: by relation, (ε per element, top-1) of the released copies, which were also decoded, rounded to 8 bits
    and encoded again.
    """
    rng = np.random.default_rng(seed)
    rows, curves, notes = [], {}, []
    for name, mine in real(run, registry).items():
        size, gallery, probes = mine.gallery.shape[1], len(mine.gallery), len(mine.probes)
        like = likeness(mine)
        r = 1.0 if name == "same image" else like.own - like.others
        noise = 2 * mine.clip / EPSILONS
        curves[f"formula, {name}"] = np.array([expected_top1(size, gallery, b, max(r, 0.0)) for b in noise])
        shown = [(f"Gaussian, {name}", simulated(size, probes, gallery, r, mine.clip, rng), r, None)]
        if name != "same image":
            alike = simulated(size, probes, gallery, LIKENESS, mine.clip, rng)
            shown.append((f"Gaussian, r = {LIKENESS:g}", alike, LIKENESS, None))
        shown.append((f"real, {name}", mine, r, like))
        for what, latents, correlation, known in shown:
            cells, curves[what] = row(what, latents, correlation, draws, rng, known)
            rows.append(cells)
        if copies and len(copies[name]) > 1:
            epsilons, top1 = zip(*copies[name], strict=True)
            found = words(half(top1, np.array(epsilons)))
            rows.append(
                [f"released copies, {name}", *rows[-1][1:7], found, f"{max(top1):.2f} (highest measured)"]
            )
        notes.append(described(name, like, size))
    head = [
        "latents", "d", "images in the gallery", "r", "ε* by √(2 ln M)", "ε* by the median", "ε* as latents are",
        "ε at 50 % measured", "top-1 without noise",
    ]  # fmt: skip
    table = [head, ["---"] * len(head), *rows]
    steps = [["ε per element", *curves], ["---"] * (len(curves) + 1)]
    steps += [
        [f"{EPSILONS[i]:.2g}", *(f"{c[i]:.2f}" for c in curves.values())] for i in range(0, len(EPSILONS), 2)
    ]
    lines = [["| " + " | ".join(cells) + " |" for cells in one] for one in (table, steps)]
    return "\n".join([*lines[0], "", *notes, "", *lines[1]])


def described(name, like, size):
    own = "" if name == "same image" else f"{like.own:.3f} with a patient's own images and "
    return (
        f"Real latents, {name}: entries have a root mean square of {like.entries:.2f} after clipping, where the model "
        f"says 1. They correlate by {own}{like.others:.3f} ± {like.spread:.4f} with other patients', where independent "
        f"coordinates would give 0 ± {1 / math.sqrt(size):.4f}: images vary as if along {1 / like.spread**2:,.0f} "
        "coordinates. “ε* as latents are” takes this in."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    print(report(*prepared(given.pipeline, given.runs), draws=given.draws))
