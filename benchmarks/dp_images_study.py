"""What one ε buys by each generator: use, likeness, linkage and membership of finished runs in one picture.

    python benchmarks/dp_images_study.py RUN/report.json [...] --out FILE.png

Takes releases named GENERATOR-EPSILON, such as "scatter-8" or "diffusion-none", and "raw" as the yardstick. Prints the
figures as a table and draws one row of panels for each report; bars are 95 % intervals as the report states them.
"""

import argparse
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt

PANELS = {
    "kid": "KID (lower: more alike)",
    "downstream-accuracy": "accuracy on real images",
    "linkage": "linkage, AUC",
    "membership": "membership, AUC",
}
MARKS = {
    "scatter": ("o", "#00577f"),
    "merf": ("s", "#5b6875"),
    "diffusion": ("^", "#b3470a"),
    "pretrained": ("D", "#6b4fa0"),
}
PLACES = {1.0: 0, 8.0: 1, math.inf: 2}


def figures_of(release):
    """The headline of each panel as (value, low, high, chance), where the release has it."""
    found = {m["metric"]: m["measurements"][0] for m in release["metrics"] if m["measurements"]}
    for attack in release["attacks"]:
        for one in attack["measurements"]:
            if one["name"] == "auc" and attack["game"] in PANELS:
                found.setdefault(attack["game"], one)
    return {
        name: (m["value"], m["low"], m["high"], m.get("chance"))
        for name, m in found.items()
        if name in PANELS
    }


def points_of(report):
    """(generator, ε, figures) of each release that is named so; "raw" has ε = inf."""
    for release in report["releases"]:
        generator, _, epsilon = release["name"].rpartition("-")
        if release["name"] == "raw":
            yield "raw", math.inf, figures_of(release)
        elif generator:
            yield generator, math.inf if epsilon == "none" else float(epsilon), figures_of(release)


def draw(reports, out):
    plt.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(len(reports), len(PANELS), figsize=(13, 3.4 * len(reports)), squeeze=False)
    for row, report in zip(axes, reports, strict=True):
        points = list(points_of(report))
        for axis, (name, title) in zip(row, PANELS.items(), strict=True):
            panel(axis, name, points)
            axis.set_title(f"{report['pipeline']}: {title}", fontsize=10)
            axis.set_xticks(list(PLACES.values()), ["ε = 1", "ε = 8", "no noise"])
            axis.set_xlim(-0.4, 2.4)
    shown = {}
    for axis in axes[:, 0]:
        handles, labels = axis.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown, loc="lower center", ncol=len(shown), frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(out, dpi=110)


def panel(axis, name, points):
    for number, generator in enumerate(dict.fromkeys(g for g, _, _ in points)):
        mine = sorted((e, f[name]) for g, e, f in points if g == generator and name in f)
        if not mine:
            continue
        if generator == "raw":
            axis.axhline(mine[0][1][0], color="#1d2935", linestyle="--", label="raw copies")
            continue
        mark, colour = MARKS.get(generator, ("d", "#444444"))
        across = [PLACES[e] + 0.06 * (number - 2) for e, _ in mine]
        values = [v for _, (v, _, _, _) in mine]
        bars = [[v - low for _, (v, low, _, _) in mine], [high - v for _, (v, _, high, _) in mine]]
        axis.errorbar(across, values, bars, marker=mark, color=colour, capsize=3, label=generator)
    if name == "kid":
        axis.set_yscale("symlog", linthresh=1)
    elif name in ("linkage", "membership"):
        axis.axhline(0.5, color="#c9d1d8", linestyle=":")
        axis.set_ylim(0, 1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in asked.reports]
    for report in reports:
        print(f"\n| {report['pipeline']} | ε | {' | '.join(PANELS)} |\n|{'---|' * (2 + len(PANELS))}")
        for generator, epsilon, found in points_of(report):
            cells = [
                "{:.3g} [{:.3g}, {:.3g}]".format(*found[name][:3]) if name in found else "–"
                for name in PANELS
            ]
            print(f"| {generator} | {epsilon:g} | {' | '.join(cells)} |")
    draw(reports, asked.out)


if __name__ == "__main__":
    main()
