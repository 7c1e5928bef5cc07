"""The form of report.json and public.json, which third parties read. New keys may come; none may go."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from privagams.evidence import Measurement
from privagams.report.data import (
    AttackResult,
    Chosen,
    Claim,
    Latents,
    MetricResult,
    Release,
    Report,
    Searched,
    WorstOff,
)
from privagams.report.odds import claim_sentence

API = 1


def as_json(report: Report) -> str:
    """The report as JSON text: infinity is "inf", an undefined figure null; equal reports give equal text."""
    return json.dumps(as_object(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def as_object(report: Report) -> dict[str, Any]:
    """The report as plain objects, ready for JSON."""
    plain: dict[str, Any] = _plain(
        {
            "api": API,
            "pipeline": report.pipeline,
            "dataset": report.dataset,
            "created": report.created,
            "total": _claim(report.total),
            "alone": _claim(report.alone),
            "budget": _budget(report),
            "public_patients": report.public_patients,
            "counts": [{"words": c.words, "value": c.value, "private": c.private} for c in report.counts],
            "releases": [_release(release) for release in report.releases],
            "gate": None if report.gate is None else _fields(report.gate, "tests", "level", "sentence"),
            "not_run": [_fields(entry, "attack", "release", "reason") for entry in report.not_run],
            "not_protected": list(report.not_protected),
            "outside_the_claim": _outside_the_claim(report),
            "warnings": list(report.warnings),
            "failures": None
            if report.failures is None
            else _fields(report.failures, "read", "no_tissue", "failed"),
            "plugins": [
                _fields(plugin, "distribution", "version", "components") for plugin in report.plugins
            ],
            "selftest": None
            if report.selftest is None
            else _fields(report.selftest, "passed", "total", "seconds"),
            "provenance": _provenance(report),
        }
    )
    return plain


def _outside_the_claim(report: Report) -> list[str]:
    """Which results rest on members' data, which no claim covers: "release: attack or metric"."""
    found = []
    for release in report.releases:
        attacks = [a.attack for a in release.attacks if a.private and a.measurements]
        metrics = [m.metric for m in release.metrics if m.private and m.measurements]
        found += [f"{release.name}: {name}" for name in (*attacks, *metrics)]
    return found


def _release(release: Release) -> dict[str, Any]:
    return {
        "name": release.name,
        "kind": release.kind,
        "images": release.images,
        "yardstick": release.yardstick,
        "status": release.status,
        "approval": None if release.approval is None else _fields(release.approval, "who", "when"),
        "generator": _chosen(release.generator),
        "mechanism": _chosen(release.mechanism),
        "training": _chosen(release.training),
        "search": None if release.searched is None else _searched(release.searched),
        "images_per_patient": release.images_per_patient,
        "claims": [_claim(claim) for claim in release.claims],
        "alone": _claim(release.alone),
        "total": _claim(release.total),
        "attacks": [_attack(result) for result in release.attacks],
        "metrics": [_metric(result) for result in release.metrics],
        "worst_off": [_worst_off(entry) for entry in release.worst_off],
        "adversary": release.adversary,
        "best_of": release.best_of,
        "needed": None if release.needed is None else _fields(release.needed, "patients", "sentence"),
        "latents": None if release.latents is None else _latents(release.latents),
        "course": []
        if release.course is None
        else [_fields(p, "phase", "step", "loss") for p in release.course.points],
        "notes": [*release.public_notes, *release.notes],
    }


def _latents(latents: Latents) -> dict[str, Any]:
    levels = [_fields(level, "coordinates", "mean", "sd", "beyond_3") for level in latents.levels]
    return {**_fields(latents, "images", "histogram", "edges"), "levels": levels}


def _claim(claim: Claim | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    stated = _fields(claim, "epsilon", "delta", "unit", "adjacency", "accountant", "protects")
    for optional in ("replace_one_epsilon", "per_element_epsilon"):
        if getattr(claim, optional) is not None:
            stated[optional] = getattr(claim, optional)
    return {**stated, "sentence": claim_sentence(claim)}


def _chosen(chosen: Chosen | None) -> dict[str, Any] | None:
    return None if chosen is None else {"name": chosen.name, "settings": dict(chosen.settings)}


def _searched(searched: Searched) -> dict[str, Any]:
    return _fields(
        searched,
        "score",
        "images",
        "trials",
        "distribution",
        "over",
        "candidates",
        "chosen",
        "epsilon_of_one",
    )


def _attack(result: AttackResult) -> dict[str, Any]:
    return {
        **_fields(result, "attack", "game", "access", "relation"),
        "measurements": [_measurement(figure, result.caps) for figure in result.measurements],
        **_fields(result, "sentence", "largest_bound", "gate", "notes", "not_tested"),
        "computed_from_members": result.private,
        "curves": [_fields(curve, "kind", "points") for curve in result.curves],
    }


def _metric(result: MetricResult) -> dict[str, Any]:
    return {
        **_fields(result, "metric", "better"),
        "measurements": [_measurement(figure, {}) for figure in result.measurements],
        "sentence": result.sentence,
        "computed_from_members": result.private,
    }


def _measurement(measurement: Measurement, caps: Mapping[str, float]) -> dict[str, Any]:
    stated = _fields(measurement, "name", "value", "low", "high", "n", "unit", "chance", "note")
    if measurement.name in caps:
        stated["claim_allows"] = caps[measurement.name]
    return stated


def _worst_off(entry: WorstOff) -> dict[str, Any]:
    return {
        **_fields(entry, "attack", "what", "sentence"),
        "average": _measurement(entry.average, {}),
        "patients": [_fields(one, "pseudonym", "value", "n", "low", "high") for one in entry.patients],
    }


def _budget(report: Report) -> dict[str, Any] | None:
    if report.budget is None:
        return None
    budget = report.budget
    return {
        **_fields(budget, "epsilon", "delta"),
        "before": {"epsilon": budget.before_epsilon, "delta": budget.before_delta},
        "after": {"epsilon": budget.after_epsilon, "delta": budget.after_delta},
    }


def _provenance(report: Report) -> dict[str, Any]:
    made = report.provenance
    return {
        **_fields(made, "seed", "python", "platform"),
        "versions": dict(made.versions),
        "hashes": dict(made.hashes),
        "stages": [_fields(stage, "stage", "seconds", "cached") for stage in made.stages],
    }


def _fields(thing: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def _plain(value: Any) -> Any:
    """Turn tuples into lists, infinity into "inf", nan into null, NumPy numbers into Python's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
