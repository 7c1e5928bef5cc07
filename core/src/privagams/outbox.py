"""What leaves: the folder that an approved release becomes."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from privagams.pipeline import ReleaseSettings
from privagams.records import Records
from privagams.store import disk_error, file_digest, write_json, write_text

if TYPE_CHECKING:
    from privagams.run import Prepared

_UNPROTECTED = {
    "epsilon": "inf", "delta": 0.0, "unit": "patient", "adjacency": "zero-out", "accountant": "none",
    "protects": "nothing: the release left without protection",
}  # fmt: skip


def copy_out(prepared: Prepared, release: ReleaseSettings, target: Path) -> Path:
    """Write images or weights, claim, card, licence and checksums; whole, or not there at all."""
    try:
        return _copy(prepared, release, target)
    except OSError as error:
        raise disk_error(error, target.parent) from error


def _copy(prepared: Prepared, release: ReleaseSettings, target: Path) -> Path:
    from privagams.report.cards import data_card, model_card
    from privagams.report.interface import as_object
    from privagams.reporting import build_report
    from privagams.stage_inputs import open_released

    partial = target.with_name(f".{target.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    (partial / "images").mkdir(parents=True)
    stage = prepared.plan.of("release", release.name)[0]
    _write_images(open_released(prepared.context, stage.artifact), partial)
    if release.weights:
        fit = prepared.plan.of("fit", release.name)[0]
        shutil.copyfile(
            prepared.store.path("fit", fit.key) / "weights.safetensors", partial / "weights.safetensors"
        )
    report = build_report(prepared)
    found = next(r for r in report.releases if r.name == release.name)
    name, card = ("MODEL_CARD.md", model_card) if release.weights else ("DATA_CARD.md", data_card)
    write_text(partial / name, card(report, found, prepared.pipeline.report.licence))
    stated = next(r for r in as_object(report)["releases"] if r["name"] == release.name)
    claims = {"claims": stated["claims"], "total": stated["total"]}
    if release.yardstick:
        claims = {"claims": [_UNPROTECTED], "total": _UNPROTECTED}
    write_json(partial / "claim.json", {"release": release.name, **claims})
    write_text(partial / "LICENCE.txt", prepared.pipeline.report.licence + "\n")
    sums = [
        f"{file_digest(p)}  {p.relative_to(partial)}\n" for p in sorted(partial.rglob("*")) if p.is_file()
    ]
    write_text(partial / "SHA256SUMS", "".join(sums))
    os.replace(partial, target)
    return target


def _write_images(records: Records, folder: Path) -> None:
    """Number images at random: copies lie in the order of their patients, which a number would give away."""
    from PIL import Image

    numbers = np.random.default_rng().permutation(len(records))
    labels, lines = records.column("label"), []
    for chosen, pixels in records.batches(256):
        for offset, image in enumerate(pixels):
            position = chosen.start + offset
            name = f"images/{numbers[position]:06d}.png"
            Image.fromarray(image.squeeze()).save(folder / name)
            lines.append((name, str(labels[position])))
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label"), *sorted(lines)])
