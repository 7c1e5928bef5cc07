"""How a timm model and a local weights file become an embedder, and which files are refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch.nn import functional

from privagams.errors import ConfigError
from privagams.training.job import LEARNT_FROM
from privagams.weights_file import misfits, read_weights, require_weights_file
from privagams_metrics.settings import WeightsSettings
from privagams_metrics.timm_import import import_timm


class Weights:
    """A timm network without its classifier, with weights from a local file.

    Guarantee: nothing is downloaded, no file whose loading could run code is opened
    (test_files_that_can_run_code_are_refused_unopened,
    test_names_that_would_fetch_or_read_elsewhere_are_refused), and weights that a run marked as learnt from members
    are refused (test_weights_that_learnt_from_members_are_refused).
    """

    def __init__(self, settings: WeightsSettings) -> None:
        path = Path(settings.file)
        require_weights_file(path, settings.sha256, "weights.file")
        timm = import_timm()
        _check_name(settings.model, timm)
        # The weights drawn here are overwritten at once; torch's global generator is to stay as it was.
        with torch.random.fork_rng(devices=[]):
            self._net = timm.create_model(settings.model, pretrained=False, num_classes=0).eval()
        usual = self._net.pretrained_cfg
        _load(self._net, path, settings.model, _classifiers(usual.get("classifier")))
        self._size = _size(settings, usual)
        self._mean = torch.tensor(settings.mean or usual["mean"])[:, None, None]
        self._std = torch.tensor(settings.std or usual["std"])[:, None, None]
        self._batch = settings.batch

    @torch.inference_mode()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 "n h w c", c of 1 (shown as grey) or 3, to float32 "n d"."""
        parts = [self._features(some) for some in _batches(pixels, self._batch)]
        return np.concatenate(parts) if parts else np.empty((0, self._net.num_features), dtype=np.float32)

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
        images = images.expand(-1, 3, -1, -1)
        if images.shape[-2:] != (self._size, self._size):
            images = functional.interpolate(
                images, (self._size, self._size), mode="bilinear", antialias=True, align_corners=False
            )
        return self._net((images - self._mean) / self._std).float().numpy()


def _batches(pixels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def _check_name(name: str, timm: ModuleType) -> None:
    if timm.is_model(name.partition(".")[0]) and ":" not in name:
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() names them all"
    raise ConfigError(f"weights.model: expected an architecture of timm, found {name!r}; {hint}")


def _classifiers(named: str | tuple[str, ...] | None) -> tuple[str, ...]:
    names = (named,) if isinstance(named, str) else tuple(named or ())
    return tuple(f"{name}." for name in names)


def _load(net: torch.nn.Module, path: Path, name: str, classifiers: tuple[str, ...]) -> None:
    read, facts = read_weights(path, "weights.file")
    if facts.get(LEARNT_FROM) == "members":
        raise ConfigError(
            "weights.file: expected weights that learnt from others than members, found ones of a run that learnt from "
            "members: features would tell of them, past every claim; take weights that learnt from public images"
        )
    state = {key: tensor for key, tensor in read.items() if not key.startswith(classifiers or "\0")}
    told = misfits(state, net.state_dict())
    if told:
        raise ConfigError(
            f"weights.file: expected the weights of timm's {name!r}, found {told}; "
            "correct model, or take the file that belongs to it"
        )
    net.load_state_dict(state)


def _size(settings: WeightsSettings, usual: Mapping[str, object]) -> int:
    own = int(usual["input_size"][-1])  # type: ignore[index]
    if settings.size not in (None, own) and usual.get("fixed_input_size"):
        raise ConfigError(
            f"weights.size: expected {own}, the only size that {settings.model!r} takes, "
            f"found {settings.size}; leave size out"
        )
    return settings.size or own
