"""Laws of every component, whatever its role."""
# ruff: noqa: PT018 - the halves of an assertion share one message

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from typing import Any, get_type_hints

import attrs
import numpy as np

from privagams.settings import structure, to_plain
from privagams.testing.exercises import exercise
from privagams.testing.subject import Bench, Subject, plugin_modules


def check_name_and_summary_can_be_shown(subject: Subject, bench: Bench) -> None:
    """The name is kebab-case, the summary is one line of text.

    If this fails, rename the component: lower-case words joined by hyphens, an outside lab's name first.
    """
    name, summary = subject.component.name, subject.component.summary
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), (
        f"name {name!r}: expected lower-case words and hyphens"
    )
    assert summary.strip() and "\n" not in summary, f"summary {summary!r}: expected one line"


def check_listing_loads_no_torch(subject: Subject, bench: Bench) -> None:
    """Importing the plugin's module does not import torch.

    If this fails, move the import into `build`, or into a module that only `build` imports.
    """
    modules = plugin_modules(subject)
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 3, f"importing {', '.join(modules)} imports torch"
    assert done.returncode == 0, (
        f"importing {', '.join(modules)} fails by itself: {done.stderr.strip()[-300:]}"
    )


def check_every_setting_is_documented(subject: Subject, bench: Bench) -> None:
    """Every setting has a type and says in one line what it means.

    If this fails, write `field(…, metadata={"doc": "what it is, with its unit"})` for the settings named.
    """
    target = subject.component.settings
    if target is None:
        return
    assert attrs.has(target), f"settings: expected an attrs class, found {target!r}"
    hints = get_type_hints(target)
    silent = [
        f.name for f in attrs.fields(target)
        if f.name not in hints or not (f.metadata.get("doc") or f.metadata.get("role"))
    ]  # fmt: skip
    assert not silent, f"no type or no doc: {', '.join(silent)}"


def check_settings_survive_the_file(subject: Subject, bench: Bench) -> None:
    """Settings written out as TOML would hold them, and read again, are equal; and they cannot be changed.

    If this fails, use plain types (int, float, str, bool, tuple, Literal, `X | None`) and `attrs.frozen`.
    """
    settings = subject.structured()
    if settings is None:
        return
    plain = to_plain(settings)
    _assert_plain(plain, "settings")
    again = structure(_without_none(plain), type(settings))
    assert again == settings, f"written and read again: expected {settings}, found {again}"
    names = [f.name for f in attrs.fields(type(settings))]
    if names:
        try:
            setattr(settings, names[0], getattr(settings, names[0]))
        except attrs.exceptions.FrozenInstanceError:
            return
        raise AssertionError(f"settings.{names[0]} can be assigned; make {type(settings).__name__} frozen")


def check_component_reaches_child_processes(subject: Subject, bench: Bench) -> None:
    """The component and its settings can be sent to a child process that was started afresh.

    If this fails, give `build` and the settings class a name at the top of a module: no lambda, no closure.
    """
    try:
        ForkingPickler.dumps((subject.component, subject.structured()))
    except Exception as error:
        raise AssertionError(f"cannot be sent: {type(error).__name__}: {error}") from error


def check_same_seed_gives_the_same_result(subject: Subject, bench: Bench) -> None:
    """Built twice and used with equal seeds, it gives the same to the last bit.

    If this fails, take all randomness from the `rng` or seed that is handed in, and none from a clock or a
    set.
    """
    first, second = exercise(subject, bench).results, exercise(subject, bench).results
    assert len(first) == len(second), f"{len(first)} results, then {len(second)}"
    for index, (one, other) in enumerate(zip(first, second, strict=True)):
        same = one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        assert same, f"result {index} differs between two runs with equal seeds"


def check_inputs_stay_as_they_were(subject: Subject, bench: Bench) -> None:
    """What is handed in is not changed.

    If this fails, copy before writing: others use the same arrays.
    """
    for index, (before, after) in enumerate(exercise(subject, bench).given):
        same = before.shape == after.shape and np.array_equal(before, after)
        assert same, f"input {index} (shape {before.shape}, {before.dtype}) was changed"


def check_global_randomness_is_left_alone(subject: Subject, bench: Bench) -> None:
    """The global generators of random, numpy and torch are as they were.

    If this fails, use the `rng` that is handed in; where a library insists, fork the state and put it back.
    """
    exercise(subject, bench)  # imports are done and caches filled: what moves now is the component's doing
    before = _global_state()
    exercise(subject, bench)
    after = _global_state()
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"drew from the global state of {', '.join(moved)}"


def _global_state() -> dict[str, Any]:
    _, keys, *rest = np.random.get_state()
    state: dict[str, Any] = {"random": random.getstate(), "numpy": (np.asarray(keys).tobytes(), tuple(rest))}
    if "torch" in sys.modules:
        state["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return state


def _assert_plain(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _assert_plain(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _assert_plain(inner, f"{path}[{index}]")
    else:
        known = value is None or type(value) in (str, int, float, bool)
        assert known, f"{path}: TOML cannot hold {value!r}"


def _without_none(value: Any) -> Any:
    """TOML has no null: a setting that is None is left out."""
    if isinstance(value, dict):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value] if isinstance(value, list) else value
