"""What this package offers to PRIVAGAMS; nothing heavy is imported here."""

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen, validators

from privagams import Component, hookimpl


@frozen
class Settings:
    """What a user may set in pipeline.toml."""

    cells: int = field(
        default=8,
        validator=[validators.ge(1), validators.le(8)],
        metadata={"doc": "images are averaged down to cells × cells colours"},
    )


def build(settings: Settings) -> Any:
    from mylab_nearest.attack import Nearest

    return Nearest(settings.cells)


@hookimpl
def privagams_attacks() -> Iterable[Component[Any]]:
    yield Component("mylab-nearest", "Links by the distance between coarse colours.", build, Settings)
