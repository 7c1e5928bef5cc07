"""What a search may try: settings that there are, values within their bounds, combinations that fit together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from privagams.pipeline import combinations
from privagams.settings import Faults, structure, structure_one, suggest, to_plain

MOST_CANDIDATES = 1000
"""Each is built before the search begins."""
_SHOWN = 3

Found = list[tuple[str, str]]
"""What is wrong: pairs of a path below `over` and a text."""


def values_to_try(over: Mapping[str, Any], target: type | None) -> tuple[dict[str, list[Any]], Found]:
    """The values as a generator's settings class `target` holds them, and what is wrong with them one by one."""
    if target is None:
        return {}, [("", "the generator takes no settings, so there is nothing to search over")]
    if not over:
        example = attrs.fields(target)[0].name
        return {}, [("", f"names no setting of the generator; write for example {example} = [..., ...]")]
    names = [field.name for field in attrs.fields(target)]
    made: dict[str, list[Any]] = {}
    faults: Found = []
    for name, values in over.items():
        if name not in names:
            faults.append((f".{name}", f"unknown setting {name!r} of the generator{suggest(name, names)}"))
        elif not isinstance(values, list) or not values:
            found = "an empty one" if values == [] else f"{values!r}"
            faults.append((f".{name}", f"expected a list of values to try, found {found}; write [..., ...]"))
        else:
            made[name] = _each(name, values, target, faults)
    many = math.prod(len(values) for values in made.values())
    if not faults and many > MOST_CANDIDATES:
        faults.append(
            ("", f"expected at most {MOST_CANDIDATES} combinations, found {many}; try fewer values")
        )
    return made, faults


def combination_faults(
    over: Mapping[str, Sequence[Any]], base: Mapping[str, Any], target: type
) -> list[tuple[str, str]]:
    """What the settings class asks of several settings together, for each candidate; the first few."""
    faults: Found = []
    for candidate in combinations(over):
        try:
            structure({**base, **candidate}, target)
        except Faults as found:
            faults += [("", f"with {in_words(candidate)}: {text}") for _, text in found.found]
    more = len(faults) - _SHOWN
    return faults[:_SHOWN] + ([("", f"{more} more like these")] if more > 0 else [])


def in_words(candidate: Mapping[str, Any]) -> str:
    """A candidate as it could stand in a table: "channels = [16, 32], learning_rate = 0.001"."""
    return ", ".join(f"{name} = {json.dumps(value, default=str)}" for name, value in candidate.items())


def _each(name: str, values: Sequence[Any], target: type, faults: Found) -> list[Any]:
    made: list[Any] = []
    for index, value in enumerate(values):
        try:
            plain = to_plain(structure_one(value, target, name))
        except Faults as found:
            faults += [(f".{name}[{index}]{path}", text) for path, text in found.found]
            continue
        if plain in made:
            faults.append(
                (f".{name}[{index}]", f"{value!r} is there twice; each candidate is drawn as often")
            )
        made.append(plain)
    return made
