"""What may be asked of a released model, question by question, each behind the access that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from privagams.errors import AccessError, NotApplicable
from privagams.records import Records

if TYPE_CHECKING:
    import torch

    from privagams.roles import Batch, Model

_CHUNK = 128
"""Records that go through a model at once."""


class Access(IntEnum):
    """How much of a release an attack needs: each level includes those before it."""

    RELEASED = 0
    """The released images."""
    QUERY = 1
    """Draw further images from the model."""
    LOSS = 2
    """The model's loss, noise prediction or likelihood on chosen images."""
    WEIGHTS = 3
    """The model itself."""


@frozen(eq=False)
class Denoiser:
    """A diffusion model's noise prediction, and nothing else of it."""

    levels: torch.Tensor
    """ᾱ_t, the share of signal variance at each timestep, float "T", falling."""
    predict: Callable[[torch.Tensor, int, torch.Tensor | None], torch.Tensor]
    """(x_t "n c h w", t, labels int64 "n" or None) → the predicted noise ε, "n c h w", without gradients."""


@frozen(eq=False)
class Oracle:
    """A model behind a door that answers what `granted` allows, and raises `AccessError` for anything above.

    Where a question has no answer (copies have no model, not every model is a diffusion model), it raises
    `NotApplicable`, which the report gives as the reason why the attack was not run.
    """

    granted: Access
    classes: tuple[str, ...] = ()
    """Labels that the model was trained with, in the order of its label numbers."""
    _load: Callable[[], Model] | None = field(default=None, alias="load")

    def draw(self, labels: np.ndarray, seed: int) -> np.ndarray:
        """Draw one image per label (int64 "n"; zeros when unconditional), uint8 "n h w c". Takes QUERY."""
        import torch

        model = self._open(Access.QUERY, "further images")
        return model.sample(labels, torch.Generator().manual_seed(seed), lambda done, total, note="": None)

    def losses(self, records: Records, draws: int, seed: int) -> np.ndarray:
        """The training loss of each record under `draws` noises, float64 "n draws". Takes LOSS.

        Equal seeds give equal noises, here and for every shadow, and each noise is the same for all records:
        what differs between records is then the records.
        """
        import torch

        from privagams.roles import Phase, Trained

        model = self._open(Access.LOSS, "losses")
        if not isinstance(model, Trained):
            raise NotApplicable("the model has no loss per image: it was fitted to one sum")
        phases = [part for part in model.phases() if isinstance(part, Phase)]
        # The last that saw members: what they left in the model, they left there.
        phase = ([p for p in phases if p.data == "members"] or [phases[-1]])[-1]
        found = np.empty((len(records), draws))
        noises = [phase.draw(1, torch.Generator().manual_seed(seed + k)) for k in range(draws)]
        with torch.no_grad():
            for rows, batch in self.batches(records):
                count = rows.stop - rows.start
                for k, noise in enumerate(noises):
                    spread = {name: t.expand(count, *t.shape[1:]) for name, t in noise.items()}
                    found[rows, k] = phase.module(batch, spread).double().numpy()
        return found

    def denoiser(self) -> Denoiser:
        """The model's noise prediction. Takes LOSS; `NotApplicable` unless it is a diffusion model."""
        import torch

        from privagams.roles import Denoising

        model = self._open(Access.LOSS, "the noise prediction")
        if not isinstance(model, Denoising):
            raise NotApplicable("the model is no diffusion model")
        denoising: Denoising = model

        def predict(noisy: torch.Tensor, timestep: int, labels: torch.Tensor | None) -> torch.Tensor:
            parts = []
            with torch.no_grad():
                for start in range(0, len(noisy), _CHUNK):
                    part = slice(start, start + _CHUNK)
                    steps = torch.full((len(noisy[part]),), timestep, dtype=torch.int64)
                    told = None if labels is None else labels[part]
                    parts.append(denoising.predict_noise(noisy[part], steps, told))
            return torch.cat(parts)

        return Denoiser(denoising.levels, predict)

    def log_prob(self, records: Records) -> np.ndarray:
        """Ln p(x) of each record, float64 "n", nat. Takes LOSS; `NotApplicable` unless the model has one."""
        import torch

        from privagams.roles import Likelihood

        model = self._open(Access.LOSS, "the likelihood")
        if not isinstance(model, Likelihood):
            raise NotApplicable("the model gives no likelihood")
        found = np.empty(len(records))
        with torch.no_grad():
            for rows, batch in self.batches(records):
                found[rows] = model.log_prob(batch).double().numpy()
        return found

    def model(self) -> Model:
        """The released model itself. Takes WEIGHTS."""
        return self._open(Access.WEIGHTS, "the model")

    def batches(self, records: Records) -> Iterator[tuple[slice, Batch]]:
        """Records as models read them: pixels float32 "n c h w" in [-1, 1], labels int64 "n" (−1: not told)."""
        import torch

        labels = torch.from_numpy(records.label_index(self.classes)) if self.classes else None
        for rows, pixels in records.batches(_CHUNK):
            scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1
            yield rows, {"pixels": scaled} if labels is None else {"pixels": scaled, "labels": labels[rows]}

    def _open(self, needed: Access, what: str) -> Model:
        if self.granted < needed:
            raise AccessError(
                f"the attack declared access {self.granted.name.lower()!r} and asked for {what}, which takes "
                f"{needed.name.lower()!r}; declare that, or do without"
            )
        if self._load is None:
            raise NotApplicable("there is no model behind this release")
        return self._load()


def labels_of(records: Records, classes: Sequence[str]) -> torch.Tensor | None:
    """Label numbers of records, int64 "n"; None without classes."""
    import torch

    return torch.from_numpy(records.label_index(classes)) if classes else None
