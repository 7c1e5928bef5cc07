"""How long a release's shadow models will take, reckoned from what is known before they are trained."""

from __future__ import annotations

from collections.abc import Mapping

from privagams.plan import Plan


def seconds_of_one(plan: Plan, release: str, took: Mapping[str, float]) -> float | None:
    """About how long one shadow takes: as long as the release took. None where nothing tells yet.

    `took`: seconds by a stage's name. How long a search took is told nowhere; there the first shadow tells.
    """
    fits = plan.of("fit", release)
    if any(stage.searches for stage in fits):
        known = [took[stage.name] for stage in plan.of("shadow", release) if stage.name in took]
        return max(known, default=None)
    made = [stage.name for stage in (*fits, *plan.of("release", release))]
    return sum(took.get(name, 0.0) for name in made) or None
