"""What was seen of a training on its way, on disk; loading it needs no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

COURSE = "course.json"
IMAGES = "course.npy"


@frozen
class Point:
    """After `step` steps of all phases: the mean loss on reference images, in the phase then trained."""

    phase: str
    step: int
    loss: float


@frozen(eq=False)
class Course:
    """What was seen on the way, oldest first."""

    points: tuple[Point, ...] = ()
    drawn: tuple[int, ...] = ()
    """Steps after which images were drawn."""
    images: np.ndarray | None = None
    """Those images, uint8 "looks n h w c"."""
    missed: int = 0
    """Looks that failed, and cost nothing but the look."""


def load_course(folder: Path) -> Course:
    """What the files in `folder` hold; an empty one where there are none, or none that can be read together."""
    try:
        facts: Mapping[str, Any] = json.loads((folder / COURSE).read_text())
        points = tuple(Point(**point) for point in facts["points"])
        drawn = tuple(int(step) for step in facts["drawn"])
        images = np.load(folder / IMAGES, allow_pickle=False) if drawn else None
    except (OSError, ValueError, KeyError, TypeError):
        # It decides nothing: a run cut short while it was written goes on without it.
        return Course()
    missed = int(facts.get("missed", 0))
    return Course(points, drawn, images, missed) if images is None or len(images) == len(drawn) else Course()


def save_course(folder: Path, course: Course) -> None:
    if course.images is not None:
        partial = folder / (IMAGES + ".partial")
        with partial.open("wb") as file:
            np.save(file, course.images, allow_pickle=False)
        os.replace(partial, folder / IMAGES)
    points = [{"phase": p.phase, "step": p.step, "loss": p.loss} for p in course.points]
    partial = folder / (COURSE + ".partial")
    partial.write_text(json.dumps({"points": points, "drawn": list(course.drawn), "missed": course.missed}))
    os.replace(partial, folder / COURSE)
