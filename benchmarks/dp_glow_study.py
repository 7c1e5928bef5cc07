"""What the study of randomised copies found: figure, table, latents against pixels, and the threshold of linkage.

    python benchmarks/dp_glow_study.py examples/dp-glow-xray.toml [--runs DIR] [--out DIR] [--resamples 1000]

Reads the finished run of the pipeline: figures of its report.json, and its artifacts where the comparison of the two
domains takes figures of single patients. Writes NAME.md and NAME-RELATION.svg to --out and prints NAME.md.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from attrs import frozen
from dp_glow_threshold import prepared
from dp_glow_threshold import report as threshold_report

from privagams.attack_stages import load_scores
from privagams.judge.linkage import rank_probes
from privagams.report.curves_of_use import UsePoint, curves_of_use
from privagams.splits import REFERENCE
from privagams.stage_inputs import copied, open_released, records_of, table_of
from privagams_metrics.classifier import outputs, trained
from privagams_metrics.patient_auc import count_wins
from privagams_metrics.settings import PathologyAucSettings

RELATIONS = {"same image": "all images", "other image": "other images"}
"""What the released copy is linked to, and the setting `gallery` under which that is measured."""
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Linkage at which the use of two mechanisms is compared, where both have been measured below and above."""
SEED = 0


@frozen
class Row:
    """One release: what report.json says of it."""

    name: str
    mechanism: str
    epsilon: float
    per_element: float | None
    linkage: dict
    """By relation: the strongest attack's name and its top-1."""
    metrics: dict
    bound: float | None
    """The highest lower bound on ε that any attack gave."""


def number(value):
    """report.json writes infinity as text."""
    return math.inf if value == "inf" else value


def rows_of(report):
    """One row for each release with figures."""
    return [row_of(release) for release in report["releases"] if release["metrics"]]


def row_of(release):
    claim = next(iter(release["claims"]), None) or {"epsilon": "inf"}
    bounds = [
        m["value"]
        for a in release["attacks"]
        for m in a["measurements"]
        if m["name"] == "epsilon-lower-bound"
    ]
    return Row(
        release["name"],
        release["mechanism"]["name"] if release["mechanism"] else "raw copies",
        number(claim["epsilon"]),
        claim.get("per_element_epsilon"),
        {relation: strongest(release, relation) for relation in RELATIONS},
        {m["name"]: m for metric in release["metrics"] for m in metric["measurements"]},
        max(map(number, bounds), default=None),
    )


def strongest(release, relation):
    """The linkage attack with the highest top-1: (name, measurement); None where none was run."""
    found = []
    for attack in release["attacks"]:
        heads = [m for m in attack["measurements"] if m["name"] == "top-1"][:1]
        found += [
            (attack["attack"], m) for m in heads if ("same image" in m["note"]) == (relation == "same image")
        ]
    return max(found, key=lambda one: one[1]["value"], default=None)


def total(epsilon):
    """ε in words short enough for a label."""
    return "no noise" if math.isinf(epsilon) else f"ε {epsilon:,.0f}" if epsilon >= 10 else f"ε {epsilon:.2g}"


def figure(rows, relation):
    """Linkage against pathology, one curve for each mechanism; None without such linkage."""
    points = []
    for row in rows:
        if row.linkage[relation] is None or "pathology-auc" not in row.metrics:
            continue
        x, y = row.linkage[relation][1], row.metrics["pathology-auc"]
        points.append(
            UsePoint(
                row.mechanism,
                total(row.epsilon),
                x["value"],
                x["low"],
                x["high"],
                y["value"],
                y["low"],
                y["high"],
            )
        )
    if not points:
        return None
    chance = next(row.linkage[relation][1]["chance"] for row in rows if row.linkage[relation])
    return curves_of_use(
        points,
        f"patients linked at the first guess, {relation} (strongest attack)",
        "AUC of pathology on the copies",
        chance=(chance, 0.5),
    )


def with_interval(m, digits=2):
    return "–" if m is None else f"{m['value']:.{digits}f} [{m['low']:.{digits}f}, {m['high']:.{digits}f}]"


def linked(row, relation):
    if row.linkage[relation] is None:
        return "–"
    attack, m = row.linkage[relation]
    return f"{with_interval(m)}, chance {m['chance']:.3f} ({attack.split(' (')[0]})"


def table(rows):
    """Markdown: every release with claim, linkage, use, and the empirical bound beside the claim."""
    titles = [
        "release", "ε per element", "ε total", "top-1, same image", "top-1, other image", "pathology AUC",
        "learnt from the release", "PSNR, dB", "SSIM", "KID", "bound on ε", "bound ≤ claim",
    ]  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        get = row.metrics.get
        bound = "–" if row.bound is None else f"{row.bound:.2f}"
        held = (
            "–"
            if row.bound is None or math.isinf(row.epsilon)
            else "yes"
            if row.bound <= row.epsilon
            else "**NO**"
        )
        per = "–" if row.per_element is None else f"{row.per_element:.4g}"
        cells = [
            row.name, per, "inf" if math.isinf(row.epsilon) else f"{row.epsilon:,.1f}", linked(row, "same image"),
            linked(row, "other image"), with_interval(get("pathology-auc")),
            with_interval(get("pathology-auc:from-released")), with_interval(get("psnr"), 1),
            with_interval(get("ssim")), with_interval(get("kid"), 3), bound, held,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bound_sentence(rows):
    tested = [row for row in rows if row.bound is not None and math.isfinite(row.epsilon)]
    above = [row.name for row in tested if row.bound > row.epsilon]
    if not tested:
        return "No attack gave a lower bound on ε."
    largest = max(row.bound for row in tested)
    return (
        f"Of {len(tested)} claims, {len(above)} lie below what an attack shows"
        f"{': ' + ', '.join(above) if above else ''}; the largest bound is ε ≥ {largest:.2f}."
    )


class Patients:
    """Figures of single patients: whom the attacks linked, and how a classifier ranks their copies."""

    def __init__(self, run, resamples):
        self.run = run
        self.rng = np.random.default_rng(SEED)
        self.releases = {s.release: s for s in run.plan.of("release")}
        first = next(iter(self.releases.values()))
        self.records, self.table = records_of(first, run.context), table_of(first, run.context)
        self.names = self._owner(first)
        self.weights = self._resampled(resamples)
        self.nets = None

    def _owner(self, stage):
        behind = copied(self.run.context, stage.artifact)
        return np.unique(self.records.patient[behind.rows].astype(str))

    def _resampled(self, count):
        """The cohort itself, then resamples of its patients."""
        shares = np.full(len(self.names), 1 / len(self.names))
        drawn = self.rng.multinomial(len(self.names), shares, size=count)
        return np.concatenate([np.ones((1, len(self.names))), drawn])

    def linkage(self, release, relation):
        """Top-1 of the strongest attack for the cohort and each resample; None without such an attack."""
        found = []
        for stage in self.run.plan.of("attack", release):
            folder = self.run.context.store.folder / stage.artifact
            facts = json.loads((folder / "facts.json").read_text())
            if facts.get("game") == "linkage" and facts["holds"] == RELATIONS[relation]:
                found.append(self._top1(self.releases[release], folder, facts["scores"]))
        return max(found, key=lambda values: values[0], default=None)

    def _top1(self, stage, folder, facts):
        behind = copied(self.run.context, stage.artifact)
        owner = self.records.patient[behind.rows].astype(str)
        truth = np.array([owner[behind.group == g][0] for g in range(behind.group.max() + 1)])
        candidates = np.load(folder / "patients.npy")
        probes = rank_probes(
            load_scores(folder, facts).values, truth, candidates, np.ones(len(candidates), dtype=bool)
        )
        linked_to = np.full(len(self.names), np.nan)
        at = np.searchsorted(self.names, candidates[probes.own])
        linked_to[at] = probes.top1[np.arange(len(probes.own)), probes.own]
        known = np.isfinite(linked_to)
        return (self.weights[:, known] @ linked_to[known]) / self.weights[:, known].sum(axis=1)

    def auc(self, release, settings):
        """AUC of pathology on the copies for the cohort and each resample, by the same classifiers for all releases."""
        if self.nets is None:
            self.nets = self._learnt(settings)
        stage = self.releases[release]
        behind = copied(self.run.context, stage.artifact)
        shown = open_released(self.run.context, stage.artifact)
        originals = self.records.take(behind.rows)
        label = originals.column("label").astype(str)
        known = np.flatnonzero(label != "")
        scores = [outputs(net, shown.take(known), settings.side) for net in self.nets]
        # All patients, so that weights align: one whose images have no label adds no pair.
        owner = np.searchsorted(self.names, originals.patient[known].astype(str))
        wins = count_wins([s[:, 1] - s[:, 0] for s in scores], label[known] == settings.positive, owner)
        present = np.unique(owner)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.array([wins.auc(w[present]) for w in self.weights])

    def _learnt(self, settings):
        reference = self.records.take(self.table.where(REFERENCE))
        label = reference.column("label").astype(str)
        reference, label = reference.take(label != ""), label[label != ""]
        aims = (label == settings.positive).astype(np.int64)
        return [trained(reference, aims, 2, settings, self.rng) for _ in range(settings.trainings)]


def compared(patients, rows, relation, settings):
    """A sentence: whether latents keep more pathology than pixels where as many patients are linked."""
    curves = {}
    for row in rows:
        if row.mechanism in ("latent-laplace", "pixel-laplace"):
            x = patients.linkage(row.name, relation)
            if x is not None:
                curves.setdefault(row.mechanism, []).append((x, patients.auc(row.name, settings)))
    if len(curves) < 2 or min(map(len, curves.values())) < 2:
        return f"Latents against pixels, {relation}: fewer than two points of either were linked: nothing to compare."
    low = max(min(x[0] for x, _ in mine) for mine in curves.values())
    high = min(max(x[0] for x, _ in mine) for mine in curves.values())
    levels = [level for level in LEVELS if low <= level <= high]
    if not levels:
        return (
            f"Latents against pixels, {relation}: both were measured only between top-1 of {low:.2f} and {high:.2f}, "
            "which holds none of the levels compared."
        )
    gaps = use_at(curves["latent-laplace"], levels) - use_at(curves["pixel-laplace"], levels)
    parts = [f"{level:g}: {said(gaps[:, i])}" for i, level in enumerate(levels)]
    mean = gaps.mean(axis=1)
    spread = np.nanpercentile(mean[1:], [2.5, 97.5])
    verdict = (
        "latents keep more pathology than pixels at equal linkage" if spread[0] > 0
        else "pixels keep more pathology than latents at equal linkage" if spread[1] < 0
        else "no difference between latents and pixels at equal linkage can be shown"
    )  # fmt: skip
    return (
        f"Latents against pixels, {relation}: {verdict}. AUC of pathology, latents less pixels: {said(mean)} on "
        f"average over the levels of top-1; at {', '.join(parts)} (95 % by bootstrap over {len(patients.names)} "
        "patients, both curves resampled together; classifiers and noise as they fell)."
    )


def said(values):
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return f"{values[0]:+.3f} [{low:+.3f}, {high:+.3f}]"


def use_at(curve, levels):
    """AUC at levels of linkage, interpolated for the cohort and in every resample, "resamples levels"."""
    x, y = (np.stack(arrays, axis=1) for arrays in zip(*curve, strict=True))
    order = np.argsort(x, axis=1, kind="stable")
    x, y = np.take_along_axis(x, order, 1), np.take_along_axis(y, order, 1)
    return np.stack([np.interp(levels, a, b) for a, b in zip(x, y, strict=True)])


def copies_of(rows):
    """By relation: (ε per element, top-1) of every release by latent-laplace, in order of ε."""
    found = {}
    for relation in RELATIONS:
        mine = [r for r in rows if r.mechanism == "latent-laplace" and r.linkage[relation]]
        found[relation] = sorted((r.per_element, r.linkage[relation][1]["value"]) for r in mine)
    return found


def main(pipeline, runs, out, resamples):
    """Write and print what was found."""
    run, registry = prepared(pipeline, runs)
    missing = [s.name for s in run.plan.missing(run.store) if s.verb in ("fit", "release", "attack")]
    if missing:
        raise SystemExit(
            f"{pipeline}: {len(missing)} stages are not done, such as {missing[0]}; run it first"
        )
    rows = rows_of(json.loads((run.run_folder / "report.json").read_text()))
    metric = next(use for use in run.pipeline.metrics if use.name == "pathology-auc")
    settings = PathologyAucSettings(**dict(metric.settings))
    patients = Patients(run, resamples)
    name = run.pipeline.name
    out.mkdir(parents=True, exist_ok=True)
    drawn = {relation: figure(rows, relation) for relation in RELATIONS}
    words = [f"# {name}", "", table(rows), "", bound_sentence(rows), ""]
    for relation, svg in drawn.items():
        if svg is not None:
            file = f"{name}-{relation.replace(' ', '-')}.svg"
            (out / file).write_text(str(svg) + "\n", encoding="utf-8")
            words += [f"![Linkage against pathology, {relation}]({file})", ""]
            words += [compared(patients, rows, relation, settings), ""]
    words += ["## Where noise ends linkage", "", threshold_report(run, registry, copies_of(rows))]
    (out / f"{name}.md").write_text("\n".join(words) + "\n", encoding="utf-8")
    print("\n".join(words))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    main(given.pipeline, given.runs, given.out, given.resamples)
