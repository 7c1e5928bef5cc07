"""What a checkpoint is on disk: one safetensors file, replaced whole, without pickle or random state."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from privagams.errors import StageError
from privagams.ledger.chain import Head

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
_KEY = "privagams"


@frozen(eq=False)
class Checkpoint:
    """Where training stands after a whole number of blocks.

    Holds no batch, loss or random state: nothing in it but the noisy iterates saw members' data.
    """

    settings: Mapping[str, Any]
    """What must be equal for training to go on from here."""
    phase: int
    step: int
    """Steps done in `phase`."""
    done: int = 0
    """Steps done in all phases."""
    head: str = ""
    """The ledger's head when this was written; the ledger must extend it."""
    noise_multiplier: float | None = None
    planned_noise: tuple[float, ...] = ()
    """Noise multiplier of each noisy phase, as planned before any interruption."""
    notes: tuple[str, ...] = ()
    finished: bool = False
    tensors: Mapping[str, torch.Tensor] = field(factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> str:
    """Replace the folder's checkpoint; it is on disk when this returns. Returns the file's SHA-256."""
    facts = {
        "settings": checkpoint.settings,
        "phase": checkpoint.phase,
        "step": checkpoint.step,
        "done": checkpoint.done,
        "head": checkpoint.head,
        "noise_multiplier": checkpoint.noise_multiplier,
        "planned_noise": list(checkpoint.planned_noise),
        "notes": list(checkpoint.notes),
        "finished": checkpoint.finished,
    }
    return save_tensors(folder / CHECKPOINT, checkpoint.tensors, {_KEY: json.dumps(facts, sort_keys=True)})


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the folder's checkpoint, or None; raises `StageError` for a file that is not whole."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts |= {name: tuple(facts[name]) for name in ("notes", "planned_noise")}
        if facts["head"]:
            Head.parse(facts["head"])
        return Checkpoint(tensors=tensors, **facts)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise StageError(
            f"{CHECKPOINT}: expected a whole checkpoint, found a damaged or foreign file ({error}); delete "
            "it to train anew (what the ledger holds as spent stays spent)"
        ) from error


def require_same_settings(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    """Raise `StageError` that names each setting in which a checkpoint differs from this run."""
    now = json.loads(json.dumps(settings))
    then = checkpoint.settings
    different = sorted(k for k in now.keys() | then.keys() if now.get(k) != then.get(k))
    if different:
        listed = "; ".join(f"{k}: {then.get(k)!r} there, {now.get(k)!r} here" for k in different)
        raise StageError(
            f"{CHECKPOINT}: expected one of this training, found one of other settings ({listed}); restore "
            "them, or delete the checkpoint to train anew (what the ledger holds as spent stays spent)"
        )


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """Write a safetensors file under a temporary name, fsync, rename. Returns its SHA-256."""
    # Clones, because safetensors refuses tied weights that share memory.
    plain = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    content = save(plain, dict(metadata) if metadata else None)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
