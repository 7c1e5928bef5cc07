"""The plan: a pipeline as a graph of stages with keys, made without running or importing anything heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from privagams import __version__
from privagams.component import Use
from privagams.pipeline import Pipeline, ReleaseSearchSettings, ReleaseSettings, combinations
from privagams.plugins import ROLES, Registry
from privagams.settings import structure, to_plain
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
        return self.verb == "fit" or (self.verb == "release" and self.settings.get("mechanism") is not None)

    @property
    def searches(self) -> bool:
        """Whether it trains a secret number of times: how long it takes must then be told nowhere."""
        return self.verb == "fit" and self.settings.get("search") is not None

    @property
    def has_pixels(self) -> bool:
        """Whether it makes images of its own; raw copies are a view of the tiles."""
        return (
            self.verb != "release" or self.settings["of"] == "drawn" or self.settings["mechanism"] is not None
        )


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
        shadows = {r.release: list(self._shadows(r, data)) for r in released if r.settings["of"] == "drawn"}
        for made in shadows.values():
            yield from made
        embeds: dict[tuple[str, str], Stage] = {}
        for embedder, for_shadows in self._embedders():
            sources = [tile, *(r for r in released if r.has_pixels)]
            sources += [s for made in shadows.values() for s in made] if for_shadows else []
            for source in sources:
                embeds[digest(_plain(embedder)), source.artifact] = stage = self._embed(source, embedder)
                yield stage
        for stage in released:
            yield from self._judged(stage, tile, data, embeds, shadows.get(stage.release, []))
        if p.attacks:
            yield from self._calibration(data)
        yield from self._audits(data)

    def _release(self, release: ReleaseSettings, data: Mapping[str, str]) -> Iterator[Stage]:
        seed = self.pipeline.seed if release.seed is None else release.seed
        settings: dict[str, Any] = {"of": release.of, "mechanism": None}
        if release.randomised:
            yield from self._randomised(release, data, seed)
            return
        if release.of == "members":
            yield self._stage("release", f"copy {release.name}", settings, [], data, release.name, seed)
            return
        components = self._learning(release.generator, release.mechanism)
        made = self._fit(release, release.mechanism, data, seed)
        yield made
        settings |= {
            "images": release.images, "classes": list(self.pipeline.classes),
            "shares": dict(self.pipeline.public.classes),
        }  # fmt: skip
        inputs = {"fit": made.artifact, "records": data["records"]}
        yield self._stage(
            "release", f"draw {release.name}", settings | {"generator": made.settings["generator"]}, components,
            inputs, release.name, seed,
        )  # fmt: skip

    def _randomised(self, release: ReleaseSettings, data: Mapping[str, str], seed: int) -> Iterator[Stage]:
        """Copies randomised one by one; the release's name is in the key, so each is its own entry in the ledger."""
        assert release.mechanism is not None
        settings = {
            "of": "members", "mechanism": _plain(release.mechanism), "generator": None, "release": release.name,
            "classes": list(self.pipeline.classes), "images_per_patient": release.images_per_patient or 1,
            "charged": not release.yardstick,
        }  # fmt: skip
        components, inputs = [("mechanisms", release.mechanism)], dict(data)
        if release.generator is not None:
            made = self._fit(release, release.training, data, seed)
            yield made
            settings["generator"] = made.settings["generator"]
            components, inputs["fit"] = [("generators", release.generator), *components], made.artifact
        yield self._stage(
            "release", f"randomise {release.name}", settings, components, inputs, release.name, seed
        )

    def _fit(
        self, release: ReleaseSettings, mechanism: Use | None, data: Mapping[str, str], seed: int
    ) -> Stage:
        assert release.generator is not None  # configuration has made sure
        settings: dict[str, Any] = {
            "generator": _plain(release.generator), "mechanism": None, "classes": list(self.pipeline.classes),
            "patients": self.pipeline.public_members,
        }  # fmt: skip
        if mechanism is not None:
            # Two releases never share a private fit's name: each is its own entry in the ledger.
            settings |= {"mechanism": _plain(mechanism), "release": release.name}
        components = self._learning(release.generator, mechanism)
        if release.search is not None:
            shares = dict(self.pipeline.public.classes)
            settings["search"] = {**to_plain(release.search), "shares": shares}
            components += self._searching(release.generator, release.search)
        return self._stage("fit", f"fit {release.name}", settings, components, data, release.name, seed)

    def _learning(self, generator: Use | None, mechanism: Use | None) -> list[tuple[str, Use]]:
        found = [("generators", generator), ("mechanisms", mechanism)]
        return [(role, use) for role, use in found if use is not None]

    def _searching(self, generator: Use, search: ReleaseSearchSettings) -> list[tuple[str, Use]]:
        """What takes part in a search besides: the metric, its embedders, and each candidate for the files it names."""
        tried = [Use(generator.name, {**generator.settings, **some}) for some in combinations(search.over)]
        return [
            ("metrics", search.score),
            *(("embedders", use) for use in embedders_of("metrics", search.score, self.registry)),
            *(("generators", use) for use in tried if _file_digests("generators", use, self.registry)),
        ]

    def _with_search(self, release: ReleaseSettings, data: Mapping[str, str]) -> Mapping[str, str]:
        """Inputs of a stage that trains once more: where a search chose the settings, what it chose."""
        if release.search is None:
            return data
        seed = self.pipeline.seed if release.seed is None else release.seed
        return {**data, "fit": self._fit(release, release.mechanism, data, seed).artifact}

    def _shadows(self, released: Stage, data: Mapping[str, str]) -> Iterator[Stage]:
        """As many shadows of a release as the attack that needs most; all attacks share them."""
        release = next(r for r in self.pipeline.releases if r.name == released.release)
        assert release.generator is not None
        components = [("generators", release.generator)]
        mechanism = None
        if release.mechanism is not None:
            components.append(("mechanisms", release.mechanism))
            mechanism = _plain(release.mechanism)
        data = self._with_search(release, data)
        kept = {name: released.settings[name] for name in ("generator", "images", "classes", "shares")}
        for number in range(
            max((shadows_of(use, self.registry) for use in self.pipeline.attacks), default=0)
        ):
            settings = {
                **kept, "mechanism": mechanism, "patients": self.pipeline.public_members, "shadow": number,
            }  # fmt: skip
            yield self._stage(
                "shadow", f"shadow {number + 1} of {release.name}", settings, components,
                {**data, "release": released.artifact}, release.name, released.seed,
            )  # fmt: skip

    def _embedders(self) -> list[tuple[Use, bool]]:
        """Each embedder that an attack or a metric refers to, and whether an attack with shadows does."""
        found: dict[str, tuple[Use, bool]] = {}
        for role, uses in (("attacks", self.pipeline.attacks), ("metrics", self.pipeline.metrics)):
            for use in uses:
                shadowed = role == "attacks" and shadows_of(use, self.registry) > 0
                for inner in embedders_of(role, use, self.registry):
                    name = digest(_plain(inner))
                    found[name] = (inner, shadowed or found.get(name, (inner, False))[1])
        return list(found.values())

    def _embed(self, source: Stage, embedder: Use) -> Stage:
        of = {"tile": "images", "shadow": source.name}.get(source.verb, source.release)
        return self._stage(
            "embed", f"embed {of} with {embedder.name}", {"embedder": _plain(embedder)},
            [("embedders", embedder)], inputs={"records": source.artifact}, release=source.release,
        )  # fmt: skip

    def _judged(
        self,
        released: Stage,
        tile: Stage,
        data: Mapping[str, str],
        embeds: Mapping[tuple[str, str], Stage],
        shadows: Sequence[Stage],
    ) -> Iterator[Stage]:
        for verb, role, uses in (
            ("attack", "attacks", self.pipeline.attacks),
            ("measure", "metrics", self.pipeline.metrics),
        ):
            for use, title in zip(uses, titles(uses, self.registry), strict=True):
                inputs = {**data, "release": released.artifact}
                needed = shadows[: shadows_of(use, self.registry)] if verb == "attack" else []
                inputs |= {f"shadow:{number}": stage.artifact for number, stage in enumerate(needed)}
                # Raw copies are a view of the tiles, and so are their features.
                sources = [tile, released, *needed] if released.has_pixels else [tile]
                for inner in embedders_of(role, use, self.registry):
                    name = digest(_plain(inner))
                    for source in sources:
                        inputs[f"embed:{name}:{source.artifact}"] = embeds[name, source.artifact].artifact
                settings = {"use": _plain(use), "classes": list(self.pipeline.classes)}
                yield self._stage(
                    verb, f"{verb} {released.release} with {title}", settings, [(role, use)], inputs,
                    released.release,
                )  # fmt: skip

    def _calibration(self, data: Mapping[str, str]) -> Iterator[Stage]:
        """What tells whether attacks and judge can be believed: known answers and blind baselines."""
        components = [("attacks", use) for use in self.pipeline.attacks]
        used = [use for r in self.pipeline.releases for use in (r.mechanism, r.training) if use is not None]
        components += [("mechanisms", use) for use in used]
        yield self._stage("selftest", "self-test", {"core": __version__}, components)
        for holds, trained in (("training images", True), ("other images", False), ("all images", False)):
            yield self._stage(
                "blind", f"blind baseline on {holds}",
                {"holds": holds, "trained": trained, "classes": list(self.pipeline.classes)}, [], data,
            )  # fmt: skip

    def _audits(self, data: Mapping[str, str]) -> Iterator[Stage]:
        """A trial of each mechanism on invented patients, attacks or no attacks."""
        for release in self.pipeline.releases if self.pipeline.audit.canaries else ():
            if release.randomised:
                yield self._local_audit(release, data)
            protector = release.training if release.randomised else release.mechanism
            if protector is not None and release.generator is not None:
                yield self._training_audit(release, protector, data)

    def _training_audit(self, release: ReleaseSettings, mechanism: Use, data: Mapping[str, str]) -> Stage:
        assert release.generator is not None
        data = self._with_search(release, data)
        settings = {
            "generator": _plain(release.generator), "mechanism": _plain(mechanism),
            "classes": list(self.pipeline.classes), "patients": self.pipeline.public_members,
            "canaries": self.pipeline.audit.canaries, "local": False,
        }  # fmt: skip
        what = "training" if release.randomised else "mechanism"
        return self._stage(
            "audit", f"audit the {what} of {release.name}", settings,
            [("generators", release.generator), ("mechanisms", mechanism)], data, release.name,
        )  # fmt: skip

    def _local_audit(self, release: ReleaseSettings, data: Mapping[str, str]) -> Stage:
        assert release.mechanism is not None
        settings = {
            "mechanism": _plain(release.mechanism), "classes": list(self.pipeline.classes),
            "images_per_patient": release.images_per_patient or 1, "canaries": self.pipeline.audit.canaries,
            "local": True,
        }  # fmt: skip
        return self._stage(
            "audit", f"audit the mechanism of {release.name}", settings,
            [("mechanisms", release.mechanism)], data, release.name,
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


def titles(uses: Sequence[Use], registry: Registry) -> list[str]:
    """A name for each attack or metric: the component's, and where one is used more than once, what is set."""
    made = []
    for use in uses:
        others = [other for other in uses if other.name == use.name]
        told = [
            f"{key} = {value}"
            for key, value in use.settings.items()
            if any(other.settings.get(key) != value for other in others)
            and not _is_default(use, key, registry)
        ]
        made.append(f"{use.name} ({', '.join(told)})" if told else use.name)
    return [
        f"{name} #{made[: i + 1].count(name)}" if made.count(name) > 1 else name
        for i, name in enumerate(made)
    ]


def _is_default(use: Use, key: str, registry: Registry) -> bool:
    roles = ("attacks", "metrics")
    for offer in (o for o in registry.offers if o.role in roles and o.component.name == use.name):
        target = offer.component.settings
        for spec in attrs.fields(target) if target is not None else ():
            if spec.name == key:
                return bool(spec.default == use.settings[key])
    return False


def shadows_of(use: Use, registry: Registry) -> int:
    """How many shadow models an attack's settings ask for: their field `shadows`, 0 where there is none."""
    target = registry.get("attacks", use.name).component.settings
    for spec in attrs.fields(target) if target is not None else ():
        if spec.name == "shadows":
            return int(use.settings.get("shadows", spec.default))
    return 0


def filled(use: Use, registry: Registry) -> Use:
    """The same reference with the defaults of its settings class filled in, so that equal ones have equal keys."""
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
