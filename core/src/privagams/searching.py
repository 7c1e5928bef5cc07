"""The stage that searches: what its trainings are scored by, what it leaves, and what trains once more after it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from privagams.access import World
from privagams.component import Use
from privagams.context import Context
from privagams.drawing import draw, public_labels
from privagams.errors import StageError
from privagams.pipeline import combinations
from privagams.plan import Stage, filled
from privagams.plugins import Registry
from privagams.records import Records
from privagams.splits import REFERENCE
from privagams.stage_inputs import build, records_of, table_of
from privagams.store import digest

if TYPE_CHECKING:
    from privagams.roles import Mechanism, Model, Progress, Space, Summarised, Trained
    from privagams.training.job import Account, FitResult

_MOST_BYTES = 2**30
"""Of reference images that a score compares with; more are left out, by a choice that nothing private decides."""
_BATCH = 256


@frozen(eq=False)
class Winner:
    """What a search left."""

    model: Trained | Summarised
    """As it was before its training; the weights are in the stage's folder."""
    result: FitResult
    facts: Mapping[str, Any]
    """Which settings were chosen, and the ε at which any one training was calibrated."""


def search(
    stage: Stage, context: Context, registry: Registry, members: Records, reference: Records | None,
    space: Space, mechanism: Mechanism, account: Account, folder: Path, progress: Progress,
) -> Winner:  # fmt: skip
    """Search over the generator's settings as `stage` says; the winner's weights lie in `folder` as a fit's do.

    Guarantee: nothing that is returned, left in the artifact or printed tells how many trainings there were
    (test_a_run_with_a_search_does_not_tell_how_many_trainings_there_were).
    """
    from privagams.search import SearchSettings, priced_search
    from privagams.training.checkpoint import WEIGHTS
    from privagams.training.job import FitResult
    from privagams.training.noise_plan import learning_of, steps_of

    asked, generator = stage.settings["search"], stage.settings["generator"]
    tried = combinations(asked["over"])
    candidates = [partial(_model, registry, {**generator, **some}, space, stage.seed) for some in tried]
    score = Score(stage, context, registry, space)
    score.rehearse()
    with _silenced():
        found = priced_search(
            candidates, score, SearchSettings(asked["trials"], asked["distribution"]), members, reference, space,
            mechanism, stage.settings["patients"], stage.seed, folder, account, progress, device=context.device,
        )  # fmt: skip
    if found is None:
        raise StageError(
            "search: nothing came out of it: no training was drawn, as poisson may, or none could be scored; which of "
            "both is not told. What was reserved stays spent: to try again, take another seed or name, within the "
            "budget"
        )
    _linked(found.folder / found.weights, folder / WEIGHTS)
    model = candidates[found.choice]()
    steps = sum(steps_of(part) for part in learning_of(model))
    return Winner(
        model, FitResult(WEIGHTS, steps, found.noise_multipliers[-1]),
        {"chosen": tried[found.choice], "epsilon_of_one": found.epsilon_of_one},
    )  # fmt: skip


def once_more(stage: Stage, context: Context, registry: Registry) -> tuple[dict[str, Any], Mechanism | None]:
    """The generator and the mechanism of a stage that trains once as its release was trained.

    Where a search chose: with the settings it chose, and at the noise of any one of its trainings.
    """
    generator = dict(stage.settings["generator"])
    if stage.settings["mechanism"] is None:
        return generator, None
    mechanism: Mechanism = build(registry, "mechanisms", stage.settings["mechanism"])
    if "fit" not in stage.inputs:
        return generator, mechanism
    from privagams.search import with_epsilon

    facts = json.loads((context.store.folder / stage.inputs["fit"] / "facts.json").read_text())
    return generator | facts["chosen"], with_epsilon(mechanism, facts["epsilon_of_one"])


class Score:
    """How good a model is: a metric's first figure between what it draws and reference patients' images.

    Guarantee: the metric is given no image of a member or a non-member, nor an array that holds one
    (test_a_score_sees_reference_patients_and_drawn_images_alone). What it draws with depends on public settings, and
    no score on earlier ones (test_scores_do_not_depend_on_each_other): the price is of independent trials.
    """

    def __init__(self, stage: Stage, context: Context, registry: Registry, space: Space) -> None:
        asked = stage.settings["search"]
        self._name, self._images, self._shares = asked["score"]["use"], asked["images"], asked["shares"]
        self._metric = partial(build, registry, "metrics", asked["score"])
        # Of no input's key: that would depend on members' images past the noise.
        self._seed = [stage.seed, stage.release, "search"]
        self._device, self._space = context.device, space
        self._real = _copied(records_of(stage, context).take(table_of(stage, context).where(REFERENCE)))
        self._world = World(
            self._real, self._real.patients.astype(str), self._real, (), _Features(registry, self._real),
            space.classes,
        )  # fmt: skip

    def __call__(self, model: Model) -> float:
        import torch

        if isinstance(model, torch.nn.Module):
            model.to(self._device).eval()
        with _own_chance():
            pixels, labels = draw(model, self._images, self._shares, self._seed, lambda *_: None)
            return self._of(pixels, labels)

    def rehearse(self) -> None:
        """Score images of pure noise, so that a metric that cannot work here is found before anything is spent."""
        rng = np.random.default_rng(0)
        shape = (self._images, self._space.size, self._space.size, self._space.channels)
        names = list(self._shares) or [""]
        labels = np.array([names[i] for i in public_labels(self._images, list(self._shares.values()))])
        try:
            with _own_chance():
                self._of(rng.integers(0, 256, shape, dtype=np.uint8), labels)
        except Exception as error:
            raise StageError(
                f"search: expected a score by {self._name!r} between drawn images and the {len(self._real.patients)} "
                f"reference patients' images, found that it cannot be had ({error}); choose another metric, or "
                "change what it names. Nothing was spent"
            ) from error

    def _of(self, pixels: np.ndarray, labels: np.ndarray) -> float:
        rng = np.random.default_rng(int(digest(self._seed), 16))
        drawn = Records(pixels, {"label": labels})
        metric = self._metric()
        for figure in metric.measure(self._real, drawn, self._world, rng):
            return float(figure.value if metric.better == "higher" else -figure.value)
        raise StageError(f"search: metric {self._name!r} gave no figure")


class _Features:
    """Embeds what a metric asks for; the reference patients' images once for all scores."""

    def __init__(self, registry: Registry, reference: Records) -> None:
        self._registry, self._reference = registry, reference
        self._embedders: dict[str, Any] = {}
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, use: Use, asked: Records) -> np.ndarray:
        use = filled(use, self._registry)
        name = digest({"use": use.name, **use.settings})
        if name not in self._embedders:
            self._embedders[name] = build(self._registry, "embedders", use)
        if asked.pixels is not self._reference.pixels:
            return _embedded(self._embedders[name], asked)
        if name not in self._known:
            self._known[name] = _embedded(self._embedders[name], self._reference)
        return self._known[name][asked.rows]


def _embedded(embedder: Any, records: Records) -> np.ndarray:
    parts = [np.asarray(embedder.embed(pixels), np.float32) for _, pixels in records.batches(_BATCH)]
    return np.concatenate(parts)


def _copied(records: Records) -> Records:
    """These records in an array of their own: that of the data set holds members' images as well."""
    most = max(1, _MOST_BYTES // int(np.prod(records.shape)))
    if len(records) > most:
        records = records.take(np.sort(np.random.default_rng(0).choice(len(records), most, replace=False)))
    return evolve(records, pixels=records.read(), rows=np.arange(len(records)), origin="reference")


def _model(registry: Registry, generator: Mapping[str, Any], space: Space, seed: int) -> Trained | Summarised:
    made: Trained | Summarised = build(registry, "generators", generator).model(space, seed)
    return made


def _linked(source: Path, target: Path) -> None:
    """The same file at another place; a copy where the disk knows no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextlib.contextmanager
def _own_chance() -> Iterator[None]:
    """Start the global random generators anew, and give them back as they were: a metric may use them."""
    import torch

    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Let nothing be printed: what a library says once in each training would count the trainings."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for place in (1, 2):
            os.dup2(nowhere.fileno(), place)
        try:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for place, before in zip((1, 2), kept, strict=True):
                os.dup2(before, place)
                os.close(before)
