"""What travels with an approved release: MODEL_CARD.md for a model, DATA_CARD.md for images."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from privagams.report import odds, wording
from privagams.report.data import Release, Report
from privagams.report.pages import size
from privagams.report.public import for_public


def model_card(
    report: Report, release: Release, licence: str = "not stated", include_figures_from_members: bool = False
) -> str:
    """MODEL_CARD.md of a released model: claim, use, attacks, licence, provenance."""
    return _card("model", report, release, licence, include_figures_from_members)


def data_card(
    report: Report, release: Release, licence: str = "not stated", include_figures_from_members: bool = False
) -> str:
    """DATA_CARD.md of released images: claim, use, attacks, licence, provenance."""
    return _card("data", report, release, licence, include_figures_from_members)


def _card(kind: str, report: Report, release: Release, licence: str, figures: bool) -> str:
    # Cards leave the building, so they are made from what the public may see and from nothing else.
    shown = for_public(report, figures)
    found = next(entry for entry in shown.releases if entry.name == release.name)
    warnings = [odds.delta_warning(claim, report.public_patients) for claim in found.claims]
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            kind=kind,
            report=shown,
            release=found,
            licence=licence,
            figures=figures,
            warnings=[warning for warning in warnings if warning],
            not_protected=(*wording.NOT_PROTECTED, *shown.not_protected),
            mark=wording.MARK,
            mark_means=wording.MARK_MEANS,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("privagams.report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=wording.figure, epsilon=wording.epsilon, power=wording.power_of_ten, plain=plain_markdown
    )
    environment.globals.update(
        claim_sentence=odds.claim_sentence,
        strength=odds.strength,
        strength_sentence=odds.strength_sentence,
        exact_sentence=odds.exact_sentence,
        reading_words=wording.reading_words,
        plural=wording.plural,
        size=size,
    )
    return environment


def plain_markdown(text: Any) -> str:
    """Text that Markdown shows as it is: no markup, no links, no broken table rows."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", " ".join(str(text).split()))
