"""What of a report may be shown to the world, and what never."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from privagams.report.data import (
    DRAWING_KINDS,
    AttackResult,
    Examples,
    MetricResult,
    Provenance,
    Release,
    Report,
    Status,
)


def for_public(report: Report, include_figures_from_members: bool = False) -> Report:
    """The report without anything that needed a member.

    Guarantee: public pages are made from what this returns, so they cannot show what is not in it. Figures
    computed from members stay only when asked for; examples only of an approved release whose claims all
    promise something; what a search chose only of an approved release; the worst-off, failures, hashes,
    timings and reasons never. The tests in `test_public.py` and
    test_what_a_search_chose_is_public_only_once_the_release_is_approved and
    test_an_audit_of_chosen_settings_is_public_only_once_the_release_is_approved fail without it.
    """
    keep = include_figures_from_members
    return evolve(
        report,
        counts=tuple(count for count in report.counts if not count.private),
        releases=tuple(_release(release, keep) for release in report.releases),
        failures=None,
        not_run=(),
        warnings=(),
        gate=None,
        provenance=_provenance(report.provenance),
    )


def _release(release: Release, keep: bool) -> Release:
    return evolve(
        release,
        # A refusal by the gate is one bit about members: the world only learns what was let go.
        status=_status(release),
        images=release.images if release.kind in DRAWING_KINDS or release.status == "approved" else None,
        attacks=tuple(_attack(_of_choice(release, result), keep) for result in release.attacks),
        metrics=tuple(_metric(result, keep) for result in release.metrics),
        examples=_examples(release),
        worst_off=(),
        adversary="",
        best_of="",
        needed=None,
        latents=None,
        course=None,
        notes=(),
        approval=None,
        **_unchosen(release),
    )


def _unchosen(release: Release) -> dict[str, Any]:
    """What replaces all that tells which candidate won a search, until the release is let go."""
    searched, generator = release.searched, release.generator
    if searched is None or release.status == "approved":
        return {}
    if generator is not None:
        asked = {name: value for name, value in generator.settings.items() if name not in searched.over}
        generator = evolve(generator, settings=asked)
    return {
        "generator": generator,
        "searched": evolve(searched, chosen=None),
        "public_notes": searched.notes_without_choice,
    }


def _of_choice(release: Release, result: AttackResult) -> AttackResult:
    """An audit trains with the settings that a search chose: its figures are as private as the choice."""
    hidden = release.searched is not None and release.status != "approved"
    return evolve(result, private=True) if hidden else result


def _status(release: Release) -> Status:
    return release.status if release.status in ("approved", "yardstick") else "not released"


def _examples(release: Release) -> Examples | None:
    shown = release.status == "approved" and release.protected and not release.yardstick
    return release.examples if shown else None


def _attack(result: AttackResult, keep: bool) -> AttackResult:
    if keep:
        return evolve(result, notes=(), not_tested=())
    if not result.private:
        # How many tests the gate's family has depends on members, and with it the verdict and its reach.
        return evolve(result, notes=(), not_tested=(), largest_bound=None, gate="")
    return evolve(
        result,
        measurements=(),
        sentence="",
        caps={},
        largest_bound=None,
        gate="",
        curves=(),
        notes=(),
        not_tested=(),
        relation="",
    )


def _metric(result: MetricResult, keep: bool) -> MetricResult:
    if keep or not result.private:
        return result
    return evolve(result, measurements=(), sentence="")


def _provenance(provenance: Provenance) -> Provenance:
    # Hashes of private inputs would let an outsider confirm a guess of them; wall times and stages
    # tell of how much data there was.
    return evolve(provenance, hashes={}, stages=(), platform="")
