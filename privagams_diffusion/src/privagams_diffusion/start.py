"""How weights of an earlier run become a start, and which files are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from privagams.errors import ConfigError
from privagams.training.job import LEARNT_FROM
from privagams.weights_file import misfits, read_weights, require_weights_file


def load_start(model: nn.Module, path: Path, sha256: str | None) -> None:
    """Fill `model`, which has no adapters yet, with the file's weights; adapters in the file are added to theirs.

    Guarantee: nothing is downloaded, no file whose loading could run code is opened
    (test_a_start_that_can_run_code_is_refused_unopened), and weights that a run marked as learnt from members are
    refused, since what they hold of members is in no later run's claim (test_a_start_from_members_is_refused).
    """
    require_weights_file(path, sha256, "start", "start_sha256")
    state = _merged(_read(path))
    told = misfits(state, model.state_dict())
    if told:
        raise ConfigError(
            f"start: expected the weights of a network as set here, found {told}; set channels, "
            "layers, patch, attention, the channels of images and the number of classes as in the earlier run, "
            "or name another file"
        )
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, torch.Tensor]:
    state, facts = read_weights(path, "start")
    if facts.get(LEARNT_FROM) == "members":
        raise ConfigError(
            "start: expected weights that learnt from public data alone, found ones that learnt from members, which "
            'no claim of this run would cover; start from a run with train_on = "reference", or use pretrain'
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
