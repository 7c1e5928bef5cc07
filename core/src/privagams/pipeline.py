"""The pipeline file as data: one frozen class per table of pipeline.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen, validators

from privagams.component import Use
from privagams.ledger.search_event import DISTRIBUTIONS, MOST_TRIALS, Distribution
from privagams.reading.tile_choice import TileSettings

API = 1
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


def _named(doc: str, **more: Any) -> Any:
    return field(validator=validators.matches_re(NAME), metadata={"doc": doc}, **more)


@frozen
class ColumnNames:
    """Which column of the table holds what."""

    file: str = field(default="file", metadata={"doc": "path of the image, relative to the table"})
    patient: str = field(default="patient_id", metadata={"doc": "who is protected"})
    slide: str = field(default="slide_id", metadata={"doc": "which slide an image is of"})
    label: str = "label"
    mpp: str = field(default="mpp", metadata={"doc": "µm per px, where the file does not say"})
    block: str = "block"
    section: str = "section"
    scanner: str = "scanner"
    site: str = "site"
    date: str = "date"
    sex: str = "sex"
    age: str = field(default="age", metadata={"doc": "years, or a group such as 40-60"})


@frozen
class SourceSettings:
    """[source]: which images, through which reader, in the name of which data set."""

    reader: Use
    table: str = field(metadata={"doc": "CSV file with one row per image, relative to pipeline.toml"})
    dataset: str = _named("names the ledger")
    files: str | None = field(default=None, metadata={"doc": "glob that narrows the table's files"})
    columns: ColumnNames = ColumnNames()
    labels: Mapping[str, str] = field(factory=dict, metadata={"doc": "renames labels of the table"})
    memory_gib: float = field(
        default=4.0, validator=validators.gt(0), metadata={"doc": "address space of a reading process, GiB"}
    )
    seconds: float = field(
        default=120.0, validator=validators.gt(0), metadata={"doc": "longest time for one read, s"}
    )


@frozen
class SplitSettings:
    """The table `[split]`. Patients that are neither members nor reference are non-members."""

    members: float = field(
        default=0.6,
        validator=[validators.gt(0), validators.lt(1)],
        metadata={"doc": "share of patients whose images are trained on or released"},
    )
    reference: float = field(
        default=0.0,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "share of patients treated as public; a claim of ε = inf goes with it"},
    )
    auxiliary: float = field(
        default=0.5,
        validator=[validators.ge(0), validators.lt(1)],
        metadata={"doc": "share of a patient's slides (else images) that the adversary holds; 0 for none"},
    )
    same_image: bool = field(
        default=False,
        validator=validators.instance_of(bool),
        metadata={"doc": "cut a patient's only image in two, one half auxiliary; marked, never headlined"},
    )

    def __attrs_post_init__(self) -> None:
        if self.members + self.reference >= 1:
            raise ValueError(
                f"members and reference: expected a sum below 1, so that non-members are left, "
                f"found {self.members:g} + {self.reference:g}; lower one of them"
            )


@frozen
class PublicSettings:
    """[public]: what is said openly about the data, and so needs no budget."""

    patients: int = field(
        validator=validators.ge(1), metadata={"doc": "number of patients, or a lower bound"}
    )
    classes: Mapping[str, float] = field(
        factory=dict, metadata={"doc": "labels of drawn images, with shares"}
    )

    def __attrs_post_init__(self) -> None:
        if self.classes and abs(sum(self.classes.values()) - 1) > 1e-6:
            raise ValueError(
                f"the shares of classes add up to {sum(self.classes.values()):g}; they must add up to 1"
            )
        if any(share <= 0 for share in self.classes.values()):
            raise ValueError("every class needs a share above 0")


@frozen
class BudgetSettings:
    """[budget]: of this data set, over all releases ever."""

    epsilon: float = field(validator=validators.gt(0))
    delta: float = field(validator=[validators.gt(0), validators.lt(1)])


@frozen
class ReleaseSearchSettings:
    """[releases.search]: train a secret number of times with different settings, and keep the best."""

    score: Use = field(
        metadata={
            "role": "metrics",
            "doc": "what tells the best: its first figure on drawn images and reference patients' images",
        }
    )
    over: Mapping[str, Any] = field(
        metadata={"doc": "settings of the generator, each with a list of values; all combinations are tried"}
    )
    trials: float = field(
        default=10.0,
        validator=[validators.ge(1), validators.le(MOST_TRIALS)],
        metadata={"doc": "trainings on average; how many there were stays secret"},
    )
    distribution: Distribution = field(
        default="geometric",
        validator=validators.in_(DISTRIBUTIONS),
        metadata={
            "doc": "of the number of trainings: geometric (at least 1), or poisson, which may be nought"
        },
    )
    images: int = field(
        default=500, validator=validators.ge(2), metadata={"doc": "how many are drawn for each score"}
    )


def combinations(over: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All candidates of a search: one value of each setting, in an order that no order of the table changes."""
    names = sorted(over)
    return [dict(zip(names, values, strict=True)) for values in product(*(over[name] for name in names))]


@frozen
class ReleaseSettings:
    """[[releases]]: what would leave the building."""

    name: str = _named("names the release, its folder and its report card")
    of: Literal["drawn", "members"] = field(
        default="drawn", metadata={"doc": "images drawn by a generator, or copies of members' images"}
    )
    images: int | None = field(
        default=None, validator=validators.optional(validators.ge(1)), metadata={"doc": "how many are drawn"}
    )
    generator: Use | None = field(default=None, metadata={"role": "generators"})
    mechanism: Use | None = field(default=None, metadata={"role": "mechanisms"})
    training: Use | None = field(
        default=None,
        metadata={
            "role": "mechanisms",
            "doc": "protects a generator that learns from members for randomised copies",
        },
    )
    search: ReleaseSearchSettings | None = field(
        default=None, metadata={"doc": "choose the generator's settings by trainings that the claim covers"}
    )
    images_per_patient: int | None = field(
        default=None,
        validator=validators.optional(validators.ge(1)),
        metadata={"doc": "of randomised copies: exactly so many of each patient, said openly; 1 by default"},
    )
    yardstick: bool = field(default=False, metadata={"doc": "shows what no protection costs; never leaves"})
    weights: bool = field(default=False, metadata={"doc": "the model itself would leave too"})
    seed: int | None = field(default=None, metadata={"doc": "of this release; the pipeline's by default"})

    @property
    def randomised(self) -> bool:
        """Whether it consists of copies of real images, each randomised on its own."""
        return self.of == "members" and self.mechanism is not None


def delta_of(release: ReleaseSettings) -> float:
    """The δ at which a release's claim is stated: of its training or its mechanism, the larger; 0 where pure."""
    uses = [use for use in (release.mechanism, release.training) if use is not None]
    return max((float(use.settings.get("delta") or 0.0) for use in uses), default=0.0)


LEAST_CANARIES = 64
"""The noise of an audit is told from its canaries: with 8 of them, chance looked like a fault in one run of six."""


def _none_or_enough(_: Any, __: Any, canaries: int) -> None:
    if canaries != 0 and canaries < LEAST_CANARIES:
        raise ValueError(
            f"expected 0 for no audit, or at least {LEAST_CANARIES}, found {canaries}; with fewer, chance looks like a "
            "fault"
        )


@frozen
class AuditSettings:
    """[audit]: what may be spent on finding out what a release betrays."""

    shadow_budget: float = field(
        default=1.0,
        validator=validators.ge(0),
        metadata={
            "doc": "longest time for one release's shadow models, hours; else they are skipped. After a search the "
            "first is trained to tell how long they take, unless this is 0"
        },
    )
    attack_minutes: float = field(
        default=60.0,
        validator=validators.gt(0),
        metadata={"doc": "longest time for one attack on one release, min; then it is stopped and reported"},
    )
    canaries: int = field(
        default=0,
        validator=_none_or_enough,
        metadata={"doc": "canaries planted in one audit training per mechanism; 0 for no audit training"},
    )


@frozen
class PluginSettings:
    """[plugins]: which distributions may take part."""

    allow: list[str] | None = field(
        default=None, metadata={"doc": '"distribution", "distribution==version" or with " sha256:HEX"'}
    )


@frozen
class ReportSettings:
    """[report]: what the public page may say."""

    public_figures: bool = field(
        default=False, metadata={"doc": "show figures computed from members, outside the claim"}
    )
    licence: str = field(default="not stated", metadata={"doc": "of what is released"})


@frozen
class Pipeline:
    """One pipeline.toml, checked."""

    name: str
    source: SourceSettings
    tiles: TileSettings
    split: SplitSettings
    public: PublicSettings
    releases: list[ReleaseSettings]
    attacks: list[Use]
    metrics: list[Use]
    seed: int = 0
    budget: BudgetSettings | None = None
    audit: AuditSettings = AuditSettings()
    plugins: PluginSettings = PluginSettings()
    report: ReportSettings = ReportSettings()
    folder: Path = Path()
    """Where pipeline.toml lies; paths in it are relative to this."""
    file: str = "pipeline.toml"
    """The path by which the user named it."""
    overrides: tuple[str, ...] = ()
    """What --set changed."""
    resolved: Mapping[str, Any] = field(factory=dict)
    """All settings with defaults filled in, as plain values."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.public.classes)

    @property
    def public_members(self) -> int:
        """How many members to reckon with: the stated number of patients times the stated share, never a count."""
        return max(1, round(self.public.patients * self.split.members))
