"""How weights of an earlier run become a start, and which files are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from privagams.errors import ConfigError, StageError
from privagams.training.job import LEARNT_FROM

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")


def load_start(model: nn.Module, path: Path, sha256: str | None) -> None:
    """Fill `model`, which has no adapters yet, with the file's weights; adapters in the file are added to theirs.

    Guarantee: nothing is downloaded, no file whose loading could run code is opened
    (test_a_start_that_can_run_code_is_refused_unopened), and weights that a run marked as learnt from members are
    refused, since what they hold of members is in no later run's claim (test_a_start_from_members_is_refused).
    """
    _check_file(path, sha256)
    state = _merged(_read(path))
    _check_fit(state, model.state_dict())
    model.load_state_dict(state)


def _check_file(path: Path, sha256: str | None) -> None:
    if path.suffix.lower() in _PICKLES:
        raise ConfigError(
            f"start: expected a .safetensors file, found {path.suffix!r}, whose loading can run any code; "
            "convert it where you trust its origin: safetensors.torch.save_file(model.state_dict(), "
            f"{path.with_suffix('.safetensors').name!r})"
        )
    if path.suffix.lower() != ".safetensors":
        raise ConfigError(
            f"start: expected a .safetensors file, found {path.name!r}; name the weights of an earlier run"
        )
    if not path.is_file():
        raise ConfigError(f"start: expected a file at {path}, found none; check the path")
    if sha256 is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256.lower():
        raise StageError(
            f"start: expected sha256 {sha256}, found {found}; the file was changed or is another one: fetch it "
            "anew, or correct start_sha256 if you changed it on purpose"
        )


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise StageError(
            f"start: expected a whole .safetensors file, found a damaged one ({error}); fetch it anew"
        ) from error
    if facts.get(LEARNT_FROM) == "members":
        raise ConfigError(
            "start: expected weights that learnt from public data alone, found ones that learnt from members, which "
            'no claim of this run would cover; start from a run with train_on = "reference", or use pretrain'
        )
    broken = sorted(key for key, tensor in state.items() if not torch.isfinite(tensor).all())
    if broken:
        raise StageError(
            f"start: expected finite numbers, found others in {_some(broken)}; fetch the file anew"
        )
    return state


def _merged(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights with their adapters' B A added, under the names of a model without adapters."""
    plain = {key.replace(".base_layer.", "."): t for key, t in state.items() if ".lora_" not in key}
    for key, first in state.items():
        if ".lora_A." not in key:
            continue
        second = state.get(key.replace(".lora_A.", ".lora_B."))
        name = key.partition(".lora_A.")[0] + ".weight"
        if second is not None and name in plain:
            change = second.flatten(1) @ first.flatten(1)
            plain[name] = plain[name] + change.view_as(plain[name])
    return plain


def _check_fit(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    shapes = [
        f"{key} ({tuple(state[key].shape)} instead of {tuple(wanted[key].shape)})"
        for key in wanted.keys() & state.keys()
        if state[key].shape != wanted[key].shape
    ]
    faults = [
        ("missing", wanted.keys() - state.keys()),
        ("not of this model", state.keys() - wanted.keys()),
        ("of another shape", shapes),
    ]
    told = [f"{len(keys)} tensors {what}: {_some(keys)}" for what, keys in faults if keys]
    if told:
        raise ConfigError(
            f"start: expected the weights of a network as set here, found {'; '.join(told)}; set channels, "
            "layers, patch, attention, the channels of images and the number of classes as in the earlier run, "
            "or name another file"
        )


def _some(keys: Iterable[str]) -> str:
    shown = sorted(keys)
    return ", ".join(shown[:4]) + (", …" if len(shown) > 4 else "")
