"""Local mechanisms as configuration builds them, bound to made-up coordinates."""

import numpy as np
import pytest

from privagams.plugins import discover
from privagams.roles import Coordinates
from privagams.settings import structure


@pytest.fixture(scope="session")
def offered():
    return {o.component.name: o.component for o in discover().offers if o.component.randomises}


@pytest.fixture(scope="session")
def bound(offered):
    """Make a randomiser: `bound(name, size, settings, classes, images)`; of Coordinates, the last are strongest."""

    def bind(name, size, settings, classes=0, images=1):
        component = offered[name]
        mechanism = component.build(structure(settings, component.settings))
        return mechanism.randomiser(
            Coordinates(size, lambda k: np.arange(size - 1, size - 1 - k, -1)), classes, images
        )

    return bind
