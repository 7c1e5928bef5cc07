"""What of a search is refused before anything is read or spent: by TOML path, with the next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from privagams.errors import ConfigError, PluginError, StageError
from privagams.helping import rank
from privagams.pipeline import Pipeline, ReleaseSearchSettings, ReleaseSettings, combinations
from privagams.plugins import Registry
from privagams.roles import Better, PairedMetric, Space
from privagams.search_rules import in_words
from privagams.stage_inputs import build

if TYPE_CHECKING:
    from privagams.run import Prepared
    from privagams.training.noise_plan import Stretch


def search_faults(pipeline: Pipeline, registry: Registry, release: ReleaseSettings, path: str) -> list[str]:
    """Build the metric and every candidate; what is wrong with them. Loads torch."""
    search = release.search
    if search is None:
        return []
    found = [(".score", _of_metric(search, registry))]
    found += [(where, text) for where, text in _of_candidates(pipeline, registry, release, search)]
    return [f"{path}.search{where}: {text}" for where, text in found if text]


def refuse_search_by_several(prepared: Prepared) -> None:
    """Refuse a search where torchrun started several processes: each training would call the others to help it."""
    left = [stage for stage in prepared.plan.missing(prepared.store) if stage.searches]
    if left and rank() is not None:
        raise ConfigError(
            f"{left[0].name}: expected one process for a release with [releases.search], found several that torchrun "
            "started: whoever helps would count the trainings, whose number must stay secret. Run it without torchrun; "
            "once it is done, others of this file can be trained by several"
        )


def _of_metric(search: ReleaseSearchSettings, registry: Registry) -> str:
    name = search.score.name
    try:
        metric = build(registry, "metrics", search.score)
    except (ConfigError, PluginError, StageError) as error:
        return str(error)
    if isinstance(metric, PairedMetric):
        return f"{name!r} compares copies with their originals, and drawn images have none; choose another metric"
    if getattr(metric, "better", None) not in get_args(Better):
        return f"{name!r} does not say whether higher or lower is better, so it cannot tell the best; choose another"
    return ""


def _of_candidates(
    pipeline: Pipeline, registry: Registry, release: ReleaseSettings, search: ReleaseSearchSettings
) -> list[tuple[str, str]]:
    """Candidates that cannot be built, or that would ask members for other sums than the first one."""
    assert release.generator is not None
    space = Space(pipeline.tiles.size, pipeline.tiles.channels, pipeline.classes)
    table = {"use": release.generator.name, **release.generator.settings}
    tried = combinations(search.over)
    asked: list[Sequence[Stretch]] = []
    for some in tried:
        try:
            asked.append(_asked(build(registry, "generators", {**table, **some}).model(space, pipeline.seed)))
        except (ConfigError, PluginError, StageError) as error:
            return [(".over", f"with {in_words(some)}: {error}")]
    if not asked[0]:
        return [
            (".over", "its candidates ask nothing of members, so there is nothing to pay for; leave it out")
        ]
    for some, stretches in zip(tried, asked, strict=True):
        if stretches != asked[0]:
            differ = [name for name in some if some[name] != tried[0][name]]
            where = f".over.{differ[0]}" if len(differ) == 1 else ".over"
            return [
                (
                    where,
                    f"expected candidates that ask members for the same noisy sums, as one price is for all, found "
                    f"{_in_words(asked[0])} with {in_words(tried[0])} and {_in_words(stretches)} with "
                    f"{in_words(some)}; leave out settings such as the number of steps",
                )
            ]
    return []


def _asked(model: Any) -> Sequence[Stretch]:
    from privagams.training.noise_plan import learning_of, noisy_stretches

    return noisy_stretches(learning_of(model))


def _in_words(stretches: Sequence[Stretch]) -> str:
    return " + ".join(str(stretch.planned) for stretch in stretches) or "none"
