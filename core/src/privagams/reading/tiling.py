"""The tile stage: images of the table to records, in child processes, with failures by pseudonym."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from privagams.plan import Stage
from privagams.plugins import discover
from privagams.reading.children import Limits
from privagams.reading.tiles import cut_tiles
from privagams.roles import Progress, Reader
from privagams.store import write_json

if TYPE_CHECKING:
    from privagams.run import Prepared


def tile_stage(
    stage: Stage, prepared: Prepared, jobs: int, progress: Progress
) -> tuple[dict[str, Any], dict[str, str]]:
    """Cut all images; returns counts with the pseudonyms of images that failed or had no tissue, and why they failed.

    The reasons stay out of the artifact: what a reader raises may name a file or a patient.
    """
    source = prepared.pipeline.source
    provenance = {"verb": stage.verb, "name": stage.name, "components": dict(stage.components)}
    with prepared.store.writing(stage.verb, stage.key, provenance, stage.resumes) as folder:
        outcome = cut_tiles(
            prepared.images,
            partial(open_reader, source.reader.name, source.reader.settings, prepared.pipeline.plugins.allow),
            prepared.pipeline.tiles, prepared.home.salt, folder, jobs,
            Limits(memory_mb=round(source.memory_gib * 1024), seconds=source.seconds), progress,
        )  # fmt: skip
        pseudonym = {image.path: image.image for image in prepared.images}
        facts = {
            "patients": outcome.patients, "images": outcome.images, "tiles": outcome.tiles,
            "failed": sorted(pseudonym[f.path] for f in outcome.failures),
            "skipped": sorted(pseudonym[f.path] for f in outcome.skipped),
        }  # fmt: skip
        write_json(folder / "facts.json", facts)
    return facts, {pseudonym[f.path]: f.reason for f in outcome.failures}


def open_reader(name: str, settings: Mapping[str, Any], allow: list[str] | None) -> Reader:
    """Make the reader; called in each child process."""
    from privagams.component import Use
    from privagams.stage_inputs import build

    return build(discover(allow), "readers", Use(name, settings))
