"""Which files of network weights are opened, and what of them is believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from privagams.errors import ConfigError, StageError

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_LISTED = 4


def require_weights_file(path: Path, sha256: str | None, where: str, sha256_name: str = "sha256") -> None:
    """Refuse what is no .safetensors file or has another checksum; `where` and `sha256_name` are the settings.

    Guarantee: a file whose loading could run code is refused unopened
    (test_a_start_that_can_run_code_is_refused_unopened, test_files_that_can_run_code_are_refused_unopened).
    """
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise ConfigError(
            f"{where}: expected a .safetensors file, found {path.suffix!r}, whose loading can run any code; "
            "convert it where you trust its origin: safetensors.torch.save_file(model.state_dict(), "
            f"{path.with_suffix('.safetensors').name!r})"
        )
    if suffix != ".safetensors":
        raise ConfigError(
            f"{where}: expected a .safetensors file, found {path.name!r}; name the file with the weights"
        )
    if not path.is_file():
        raise ConfigError(f"{where}: expected a file at {path}, found none; check the path")
    if sha256 is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256.lower():
        raise StageError(
            f"{where}: expected sha256 {sha256}, found {found}; the file was changed or is another one: fetch it "
            f"anew, or correct {sha256_name} if you changed it on purpose"
        )


def read_weights(path: Path, where: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the file's tensors, all of them finite, and what is said of them beside."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise StageError(
            f"{where}: expected a whole .safetensors file, found a damaged one ({error}); fetch it anew"
        ) from error
    broken = [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise StageError(
            f"{where}: expected finite numbers, found others in {_some(broken)}; fetch the file anew"
        )
    return state, facts


def misfits(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> str:
    """Say what of `state` is missing, unknown or of another shape in a network with `wanted`; "" where all fits."""
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
    return "; ".join(f"{len(keys)} tensors {what}: {_some(keys)}" for what, keys in faults if keys)


def _some(keys: Iterable[str]) -> str:
    shown = sorted(keys)
    return ", ".join(shown[:_LISTED]) + (", …" if len(shown) > _LISTED else "")
