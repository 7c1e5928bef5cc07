"""Attacks on releases of medical images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from privagams import hookimpl
from privagams.component import Component
from privagams_attacks.settings import NearestPatientSettings

if TYPE_CHECKING:
    from privagams.roles import Attack


@hookimpl
def privagams_attacks() -> Iterable[Component[Attack]]:
    """Yield the attacks of this package."""
    yield Component(
        name="nearest-patient",
        summary="Links released images to the patient whose known images lie nearest in feature space.",
        build=build_nearest_patient,
        settings=NearestPatientSettings,
    )


def build_nearest_patient(settings: Any) -> Attack:
    """Build the attack; numpy is imported only here."""
    from privagams_attacks.nearest_patient import NearestPatient

    return NearestPatient(settings)
