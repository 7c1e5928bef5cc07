"""What all stages of one run share: the pipeline, the run folder, and the data set's secrets."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen

from privagams import home
from privagams.pipeline import Pipeline
from privagams.store import Store


@frozen
class DatasetHome:
    """A data set's folder under PRIVAGAMS_HOME: ledger, key of the pseudonyms, salt of the split."""

    folder: Path
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)


def open_home(dataset: str) -> DatasetHome:
    """Open the data set's folder; key and salt are made on first use."""
    folder = home.dataset_folder(dataset)
    return DatasetHome(folder, home.key(folder), home.salt(folder))


@frozen
class Context:
    """Small and picklable: it goes to every child process."""

    pipeline: Pipeline
    run_folder: Path
    home: DatasetHome
    device: str = "cpu"
    """Where models are trained and draw: a name that torch knows. Decides no result but rounding."""

    @property
    def store(self) -> Store:
        return Store(self.run_folder / "artifacts")
