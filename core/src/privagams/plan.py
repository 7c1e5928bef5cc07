"""The plan: a pipeline as a graph of stages with keys, made without running or importing anything heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from privagams import __version__
from privagams.component import Use
from privagams.pipeline import Pipeline, ReleaseSettings
from privagams.plugins import ROLES, Registry
from privagams.store import Store, digest, file_digest


@frozen
class Stage:
    """One node: what is done, with which component, on which inputs."""

    verb: str
    name: str
    """What people read: "fit dp-diffusion"."""
    settings: Mapping[str, Any]
    components: Mapping[str, str]
    """Distribution and version of each component that takes part, by "role:name"."""
    seed: int
    inputs: Mapping[str, str] = field(factory=dict)
    """Artifact ("verb-key") by the part it plays."""
    release: str = ""

    @property
    def key(self) -> str:
        return digest(
            [self.verb, self.settings, dict(self.components), self.seed, sorted(self.inputs.items())]
        )

    @property
    def artifact(self) -> str:
        return f"{self.verb}-{self.key}"

    @property
    def resumes(self) -> bool:
        """Whether a half-done run of it is worth keeping."""
        return self.verb == "fit"


@frozen
class Plan:
    """All stages, each after its inputs."""

    stages: tuple[Stage, ...]

    def of(self, verb: str, release: str | None = None) -> list[Stage]:
        return [s for s in self.stages if s.verb == verb and release in (None, s.release)]

    def missing(self, store: Store) -> list[Stage]:
        return [stage for stage in self.stages if not store.has(stage.verb, stage.key)]


def make_plan(pipeline: Pipeline, registry: Registry, source_digest: str, secrets_digest: str) -> Plan:
    """Lay out the stages. The digests stand for the images with their table, and for the data set's key and salt."""
    return Plan(tuple(_Planner(pipeline, registry).stages(source_digest, secrets_digest)))


class _Planner:
    def __init__(self, pipeline: Pipeline, registry: Registry) -> None:
        self.pipeline, self.registry = pipeline, registry
        self.resolved = pipeline.resolved

    def stages(self, source_digest: str, secrets_digest: str) -> Iterator[Stage]:
        p = self.pipeline
        tile = self._stage(
            "tile", "tile images",
            {"tiles": self.resolved["tiles"], "source": source_digest, "secrets": secrets_digest,
             "reader": _plain(p.source.reader)},
            [("readers", p.source.reader)],
        )  # fmt: skip
        split = self._stage(
            "split", "split by patient", {"split": self.resolved["split"], "secrets": secrets_digest}, [],
            inputs={"records": tile.artifact},
        )  # fmt: skip
        yield tile
        if not p.releases:  # reading and tiling alone
            return
        yield split
        data = {"records": tile.artifact, "split": split.artifact}
        released: list[Stage] = []
        for release in p.releases:
            for stage in self._release(release, data):
                yield stage
            released.append(stage)
        embeds: dict[tuple[str, str], Stage] = {}
        for embedder in self._embedders():
            for source in (tile, *(r for r in released if r.settings["of"] == "drawn")):
                stage = self._stage(
                    "embed", f"embed {source.release or 'images'} with {embedder.name}",
                    {"embedder": _plain(embedder)}, [("embedders", embedder)], inputs={"records": source.artifact},
                    release=source.release,
                )  # fmt: skip
                embeds[digest(_plain(embedder)), source.artifact] = stage
                yield stage
        for stage in released:
            yield from self._judged(stage, tile, data, embeds)

    def _release(self, release: ReleaseSettings, data: Mapping[str, str]) -> Iterator[Stage]:
        seed = self.pipeline.seed if release.seed is None else release.seed
        settings: dict[str, Any] = {"of": release.of}
        if release.of == "members":
            yield self._stage("release", f"copy {release.name}", settings, [], data, release.name, seed)
            return
        assert release.generator is not None  # configuration has made sure
        components = [("generators", release.generator)]
        fit: dict[str, Any] = {
            "generator": _plain(release.generator), "mechanism": None, "classes": list(self.pipeline.classes),
            "patients": self.pipeline.public_members,
        }  # fmt: skip
        if release.mechanism is not None:
            components.append(("mechanisms", release.mechanism))
            # Two releases never share a private fit's name: each is its own entry in the ledger.
            fit |= {"mechanism": _plain(release.mechanism), "release": release.name}
        made = self._stage("fit", f"fit {release.name}", fit, components, data, release.name, seed)
        yield made
        settings |= {"images": release.images, "classes": dict(self.pipeline.public.classes)}
        inputs = {"fit": made.artifact, "records": data["records"]}
        yield self._stage(
            "release", f"draw {release.name}", settings | {"generator": fit["generator"]}, components, inputs,
            release.name, seed,
        )  # fmt: skip

    def _embedders(self) -> list[Use]:
        found = {}
        for role, uses in (("attacks", self.pipeline.attacks), ("metrics", self.pipeline.metrics)):
            for use in uses:
                for inner in embedders_of(role, use, self.registry):
                    found[digest(_plain(inner))] = inner
        return list(found.values())

    def _judged(
        self, released: Stage, tile: Stage, data: Mapping[str, str], embeds: Mapping[tuple[str, str], Stage]
    ) -> Iterator[Stage]:
        for verb, role, uses in (
            ("attack", "attacks", self.pipeline.attacks),
            ("measure", "metrics", self.pipeline.metrics),
        ):
            for use in uses:
                inputs = {**data, "release": released.artifact}
                for inner in embedders_of(role, use, self.registry):
                    name = digest(_plain(inner))
                    # Copies are a view of the tiles, and so are their features.
                    for source in (tile, released) if released.settings["of"] == "drawn" else (tile,):
                        inputs[f"embed:{name}:{source.artifact}"] = embeds[name, source.artifact].artifact
                settings = {"use": _plain(use), "classes": list(self.pipeline.classes)}
                yield self._stage(
                    verb, f"{verb} {released.release} with {use.name}", settings, [(role, use)], inputs,
                    released.release,
                )  # fmt: skip

    def _stage(
        self, verb: str, name: str, settings: Mapping[str, Any], components: Sequence[tuple[str, Use]],
        inputs: Mapping[str, str] | None = None, release: str = "", seed: int | None = None,
    ) -> Stage:  # fmt: skip
        files = [found for role, use in components for found in _file_digests(role, use, self.registry)]
        if files:
            settings = {**settings, "files": files}
        versions = {
            f"{role}:{use.name}": self.registry.get(role, use.name).source for role, use in components
        }
        if not components:
            versions = {"core": f"privagams {__version__}"}
        return Stage(
            verb,
            name,
            settings,
            versions,
            self.pipeline.seed if seed is None else seed,
            dict(inputs or {}),
            release,
        )


def embedders_of(role: str, use: Use, registry: Registry) -> list[Use]:
    """The embedders that a component's settings refer to, with their defaults filled in."""
    assert role in ROLES
    target = registry.get(role, use.name).component.settings
    found = []
    for spec in attrs.fields(target) if target is not None else ():
        if spec.metadata.get("role") == "embedders":
            value = use.settings[spec.name]
            found.append(filled(Use(value["use"], {k: v for k, v in value.items() if k != "use"}), registry))
    return found


def filled(use: Use, registry: Registry) -> Use:
    """The same reference with the defaults of its settings class filled in, so that equal ones have equal keys."""
    from privagams.settings import structure, to_plain

    target = registry.get("embedders", use.name).component.settings
    return use if target is None else Use(use.name, to_plain(structure(dict(use.settings), target)))


def _file_digests(role: str, use: Use, registry: Registry) -> list[str]:
    """Content digests of the files that a component's settings name, so that other weights are another key."""
    target = registry.get(role, use.name).component.settings
    named = [
        Path(str(use.settings[spec.name]))
        for spec in (attrs.fields(target) if target is not None else ())
        if spec.metadata.get("path") and use.settings.get(spec.name)
    ]
    return [file_digest(path) if path.is_file() else "missing" for path in named]


def _plain(use: Use) -> dict[str, Any]:
    return {"use": use.name, **use.settings}
