"""What a report says of a search: out of what the settings were chosen, by what, and what the claim covers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from privagams.report.data import Searched
from privagams.report.wording import epsilon

NUMBERS: Mapping[str, str] = {
    "geometric": "a geometric number of them, {trials:g} on average",
    "poisson": "a Poisson number of them, {trials:g} on average",
}


def search_sentences(searched: Searched) -> tuple[str, ...]:
    """Standing sentences; they hold nothing that a search must keep secret."""
    tried = "; ".join(
        f"{name} out of {', '.join(_shown(value) for value in values)}"
        for name, values in searched.over.items()
    )
    chosen = ", ".join(f"{name} = {_shown(value)}" for name, value in (searched.chosen or {}).items())
    which = f": {chosen}" if chosen else ", which are told once it is approved"
    often = NUMBERS[searched.distribution].format(trials=searched.trials)
    return (
        f"A search chose its settings{which}. It trained again and again ({often}), each time with one of "
        f"{searched.candidates} candidates ({tried}) drawn by chance, and kept the training with the best "
        f"{searched.score} between {searched.images} drawn images and images of reference patients; no image of a "
        "member was compared.",
        "The claim is for this search as a whole, as its ledger entry is. It holds as long as nobody learns how many "
        "trainings there were: no report tells that number or how long the search took; neither must be passed on. "
        "The figure for replacing a patient was not computed: none is known for a search.",
        f"One of its trainings by itself costs ε = {epsilon(searched.epsilon_of_one)}. Where shadow models or an audit "
        "of the mechanism were asked for, they trained once, with the chosen settings and at the noise of one such "
        "training, and the audit was held against that ε.",
    )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
