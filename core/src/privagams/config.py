"""Configuration: pipeline.toml to `Pipeline`, with every fault at once, before anything runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from privagams.component import Use
from privagams.errors import ConfigError
from privagams.pipeline import (
    API,
    NAME,
    AuditSettings,
    BudgetSettings,
    Pipeline,
    PluginSettings,
    PublicSettings,
    ReleaseSearchSettings,
    ReleaseSettings,
    ReportSettings,
    SourceSettings,
    SplitSettings,
)
from privagams.plugins import Registry, discover
from privagams.reading.tile_choice import TileSettings
from privagams.release_rules import release_faults
from privagams.search_rules import combination_faults, values_to_try
from privagams.settings import Faults, structure, suggest, to_plain

_TABLES: dict[str, tuple[type, bool]] = {
    "tiles": (TileSettings, True),
    "split": (SplitSettings, False),
    "public": (PublicSettings, True),
    "budget": (BudgetSettings, False),
    "audit": (AuditSettings, False),
    "plugins": (PluginSettings, False),
    "report": (ReportSettings, False),
}
_USES = {"generator": "generators", "mechanism": "mechanisms", "training": "mechanisms"}
_TOP = ("api", "name", "seed", "source", *_TABLES, "releases", "attacks", "metrics")


def load(
    path: Path, overrides: Sequence[str] = (), registry: Registry | None = None
) -> tuple[Pipeline, Registry]:
    """Read and check `path`; raises `ConfigError` listing every fault with its TOML path.

    `overrides`: "releases.0.mechanism.epsilon=4", applied before anything is checked.
    """
    document = _parse(path)
    for override in overrides:
        set_value(document, override)
    pipeline, registry = check(document, path.resolve().parent, registry)
    return attrs.evolve(pipeline, file=str(path), overrides=tuple(overrides)), registry


def check(
    document: Mapping[str, Any], folder: Path, registry: Registry | None = None
) -> tuple[Pipeline, Registry]:
    """Structure a parsed document. Paths in it are relative to `folder`."""
    if document.get("api") != API:
        raise ConfigError(
            f"api: expected {API}, found {document.get('api', 'nothing')!r}; "
            f"write `api = {API}`, or install the privagams that reads this file"
        )
    if registry is None:
        allow = document.get("plugins", {})
        registry = discover(allow.get("allow") if isinstance(allow, Mapping) else None)
    registry.refuse_clashes()
    return _Checker(document, registry, folder).pipeline(), registry


class _Checker:
    """Collects faults while structuring one document."""

    def __init__(self, document: Mapping[str, Any], registry: Registry, folder: Path) -> None:
        self.document, self.registry, self.folder = document, registry, folder
        self.problems: list[str] = []

    def pipeline(self) -> Pipeline:
        for key in self.document:
            if key not in _TOP:
                self.problems.append(f"{key}: unknown setting{suggest(key, list(_TOP))}")
        name, seed = self._name(), self._seed()
        source = self._source()
        tables = {key: self._table(key, *spec) for key, spec in _TABLES.items()}
        releases = self._releases()
        attacks, metrics = self._uses("attacks"), self._uses("metrics")
        if not self.problems:
            self._together(releases, tables)
        if self.problems:
            raise ConfigError(self.problems)
        made = {k: v for k, v in tables.items() if v is not None}
        made.setdefault("split", SplitSettings())
        pipeline = Pipeline(
            name=name, seed=seed, source=source, releases=list(releases.values()), attacks=attacks, metrics=metrics,
            folder=self.folder, **made,
        )  # fmt: skip
        return attrs.evolve(pipeline, resolved=_resolved(pipeline))

    def _name(self) -> str:
        name = self.document.get("name")
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            self.problems.append(f"name: expected letters, digits, '.', '_' or '-', found {name!r}")
            return ""
        return name

    def _seed(self) -> int:
        seed = self.document.get("seed", 0)
        if type(seed) is not int or seed < 0:
            self.problems.append(f"seed: expected a whole number from 0, found {seed!r}")
            return 0
        return seed

    def _structure(self, path: str, value: Any, target: type) -> Any:
        try:
            return structure(value, target)
        except Faults as faults:
            self.problems += [f"{path}{inner}: {text}" for inner, text in faults.found]
            return None

    def _table(self, key: str, target: type, required: bool) -> Any:
        if key not in self.document:
            if required:
                self.problems.append(f"{key}: required table missing; add [{key}]")
            return None
        return self._structure(key, self.document[key], target)

    def _source(self) -> Any:
        table = self.document.get("source")
        if not isinstance(table, Mapping):
            self.problems.append("source: required table missing; add [source]")
            return None
        known = {f.name for f in attrs.fields(SourceSettings)} - {"reader"}
        own = {k: v for k, v in table.items() if k in known}
        reader = self._component("source", "readers", {k: v for k, v in table.items() if k not in known})
        if reader is None:
            reader = Use("")
        made = self._structure(
            "source", own | {"reader": {"use": reader.name, **reader.settings}}, SourceSettings
        )
        return attrs.evolve(made, reader=reader) if made is not None else None

    def _uses(self, role: str) -> list[Use]:
        items = self.document.get(role, [])
        if not isinstance(items, list):
            self.problems.append(f"{role}: expected tables, each [[{role}]]")
            return []
        made = [self._component(f"{role}[{i}]", role, item) for i, item in enumerate(items)]
        return [use for use in made if use is not None]

    def _component(self, path: str, role: str, value: Any) -> Use | None:
        """Check a reference: the name is registered and its settings fit. Defaults are filled in."""
        try:
            use = structure(value, Use)
        except Faults as faults:
            self.problems += [f"{path}: {text}" for _, text in faults.found]
            return None
        offer = self.registry.find(role, use.name)
        if offer is None:
            self.problems.append(f"{path}.use: {self.registry.missing(role, use.name)}")
            return None
        target = offer.component.settings
        if target is None:
            self.problems += [f"{path}.{k}: {use.name!r} takes no settings" for k in use.settings]
            return use
        made = self._structure(path, dict(use.settings), target)
        if made is None:
            return None
        plain = to_plain(made)
        return Use(
            use.name,
            {s.name: self._settled(f"{path}.{s.name}", s, plain[s.name]) for s in attrs.fields(target)},
        )

    def _settled(self, path: str, spec: Any, value: Any) -> Any:
        """One setting as stages see it: references with their defaults, paths whole."""
        if "role" in spec.metadata and value is not None:
            inner = self._component(path, spec.metadata["role"], value)
            return value if inner is None else {"use": inner.name, **inner.settings}
        if spec.metadata.get("path") and value is not None:
            # Paths are meant from where pipeline.toml lies, not from where the command is run.
            return str((self.folder / value).resolve())
        return value

    def _releases(self) -> dict[int, ReleaseSettings]:
        """Those that could be read, by their place in the file."""
        items = self.document.get("releases", [])
        if not isinstance(items, list):
            self.problems.append("releases: expected tables, each [[releases]]")
            return {}
        made = {i: self._release(f"releases[{i}]", item) for i, item in enumerate(items)}
        releases = {i: release for i, release in made.items() if release is not None}
        seen: set[str] = set()
        for index, release in releases.items():
            if release.name in seen:
                self.problems.append(f"releases[{index}].name: {release.name!r} is used twice; rename one")
            seen.add(release.name)
        return releases

    def _release(self, path: str, item: Any) -> ReleaseSettings | None:
        release = self._structure(path, item, ReleaseSettings)
        if release is None:
            return None
        uses = {
            name: self._component(f"{path}.{name}", role, item[name])
            for name, role in _USES.items()
            if name in item
        }
        if None in uses.values():
            return None
        self.problems += [f"{path}{text}" for text in release_faults(release, self.registry)]
        made = attrs.evolve(release, **uses)
        return made if made.search is None else self._with_search(path, made, made.search)

    def _with_search(
        self, path: str, release: ReleaseSettings, search: ReleaseSearchSettings
    ) -> ReleaseSettings | None:
        """Check the metric, and each candidate like the generator's own table."""
        score = self._component(f"{path}.search.score", "metrics", to_plain(search.score))
        offer = (
            None if release.generator is None else self.registry.find("generators", release.generator.name)
        )
        if score is None or release.generator is None or offer is None:
            return None  # what is amiss has been said
        target = offer.component.settings
        over, faults = values_to_try(search.over, target)
        if target is not None and not faults:
            specs = attrs.fields_dict(target)
            where = f"{path}.search.over"
            over = {
                name: [self._settled(f"{where}.{name}[{i}]", specs[name], v) for i, v in enumerate(values)]
                for name, values in over.items()
            }
            faults = combination_faults(over, release.generator.settings, target)
        self.problems += [f"{path}.search.over{inner}: {text}" for inner, text in faults]
        return attrs.evolve(release, search=attrs.evolve(search, score=score, over=over))

    def _together(self, releases: Mapping[int, ReleaseSettings], tables: Mapping[str, Any]) -> None:
        if tables["budget"] is None and any(r.mechanism for r in releases.values()):
            self.problems.append(
                "budget: required when a release has a mechanism; add [budget] with epsilon and delta, "
                "the most this data set may ever spend"
            )
        if tables["split"] is None or tables["split"].reference == 0:
            self.problems += [
                f"split.reference: required by releases[{index}].search, which compares what it draws with reference "
                "patients' images; set a share, such as 0.2"
                for index, release in releases.items()
                if release.search is not None
            ]
        for name in tables["public"].classes:
            if not name:
                self.problems.append("public.classes: a class needs a name")


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name a pipeline.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {error}") from error


def set_value(document: dict[str, Any], text: str) -> None:
    """Apply one "PATH=VALUE", such as "releases.0.mechanism.epsilon=4", to a parsed document."""
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--set {text}: expected PATH=VALUE, such as releases.0.mechanism.epsilon=4")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    steps = key.strip().replace("[", ".").replace("]", "").split(".")
    place: Any = document
    try:
        for step in steps[:-1]:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if isinstance(place, list):
            place[int(steps[-1])] = parsed
        else:
            place[steps[-1]] = parsed
    except (ValueError, IndexError, TypeError, AttributeError):
        raise ConfigError(f"--set {text}: there is no {key.strip()} in the file") from None


def _resolved(pipeline: Pipeline) -> dict[str, Any]:
    plain = to_plain(pipeline)
    for hidden in ("folder", "file", "overrides", "resolved"):
        plain.pop(hidden)
    reader = plain["source"].pop("reader")
    return {"api": API, **plain, "source": {**reader, **plain["source"]}}
