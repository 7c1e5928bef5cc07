"""How a training goes, as reference patients and drawn images tell it: members are never asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from attrs import evolve

from privagams.errors import PrivagamsError
from privagams.records import Records
from privagams.roles import Phase, Space, Trained
from privagams.training.course import Course, Point, load_course, save_course
from privagams.training.feed import Feed

_RECORDS = 64
"""Reference images whose loss is looked at, each under one noise, the same every time."""
_AT_ONCE = 16
_DRAWN = 8
_LOOKS = 4
"""How often images are drawn on the way."""


class Watch:
    """Looks at a model between blocks, and keeps what it saw beside the checkpoint.

    Guarantee: nothing here is computed from a member's data but the model itself, which under a mechanism is
    paid for (test_the_course_of_a_training_does_not_look_at_members), and nothing here changes what is trained
    (test_watching_a_training_changes_nothing).
    """

    def __init__(
        self, model: Trained, reference: Records | None, space: Space, seed: int, folder: Path, device: str
    ) -> None:
        self._model, self._space, self._seed, self._folder = model, space, seed, folder
        self._feed = (
            Feed(reference.take(_spread(len(reference))), space.classes, device) if reference else None
        )
        self._course = Course()

    def resume(self, done: int) -> None:
        """Go on from what was seen before step `done`; what came after it is trained again."""
        found = load_course(self._folder)
        kept = [n for n, step in enumerate(found.drawn) if step <= done]
        images = found.images[kept] if found.images is not None and kept else None
        points = tuple(point for point in found.points if point.step <= done)
        self._course = Course(points, tuple(found.drawn[n] for n in kept), images, found.missed)

    def look(self, phase: Phase, done: int, total: int) -> float | None:
        """See where the model stands after `done` of `total` steps; gives the loss on reference images.

        None where it cannot be seen, too little memory included: what was paid for must not be lost over a look
        (test_a_look_that_fails_costs_nothing_but_the_look).
        """
        try:
            loss = self._loss(phase)
            if loss is not None:
                points = (*self._course.points, Point(phase.name, done, loss))
                self._course = evolve(self._course, points=points)
            if done * _LOOKS // total > len(self._course.drawn):
                self._draw(done)
        except (PrivagamsError, RuntimeError, ValueError, ArithmeticError, MemoryError):
            self._course, loss = evolve(self._course, missed=self._course.missed + 1), None
        save_course(self._folder, self._course)
        return loss

    def _loss(self, phase: Phase) -> float | None:
        if self._feed is None or len(self._feed) == 0:
            return None
        noise = phase.draw(len(self._feed), torch.Generator().manual_seed(self._seed))
        total = 0.0
        for some in np.array_split(np.arange(len(self._feed)), -(-len(self._feed) // _AT_ONCE)):
            batch = self._feed.batch(some)
            mine = {name: tensor[some].to(batch["pixels"].device) for name, tensor in noise.items()}
            with torch.no_grad():
                total += float(phase.module(batch, mine).double().sum())
        return total / len(self._feed)

    def _draw(self, done: int) -> None:
        labels = np.arange(_DRAWN) % max(1, len(self._space.classes))
        drawn = self._model.sample(
            labels, torch.Generator().manual_seed(self._seed), lambda done, total, note="": None
        )
        seen = self._course.images
        images = drawn[None] if seen is None else np.concatenate([seen, drawn[None]])
        self._course = evolve(self._course, drawn=(*self._course.drawn, done), images=images)


def _spread(count: int) -> np.ndarray:
    """At most `_RECORDS` positions, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, _RECORDS)).round().astype(np.int64))
