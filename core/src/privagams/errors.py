"""Errors a user can meet, each with its exit code. Texts read: where: what was expected and found; what to do."""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What `privagams` tells the shell."""

    OK = 0
    STAGE_FAILED = 1
    CONFIGURATION = 2
    PLUGIN = 3
    REFUSED = 4
    PARTIAL = 5
    INTERRUPTED = 130


class PrivagamsError(Exception):
    """An error with a message for the user; the command line prints it without a traceback."""

    exit_code = ExitCode.STAGE_FAILED


class ConfigError(PrivagamsError):
    """One or more faults in pipeline.toml, the table or the command, all listed at once."""

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class PluginError(PrivagamsError):
    """A plugin could not be loaded, clashes with another, or broke its role's contract."""

    exit_code = ExitCode.PLUGIN


class StageError(PrivagamsError):
    """A stage could not finish, for a reason the user can act on."""


class SlideError(PrivagamsError):
    """An image file could not be read. The message never holds the file's name: the caller adds it."""


class AccessError(PrivagamsError):
    """An attack asked for more than the access it declared."""

    exit_code = ExitCode.PLUGIN


class NotApplicable(PrivagamsError):
    """An attack cannot be run on this release; the text ends "…: it was not run because TEXT" in the report."""


class BudgetError(PrivagamsError):
    """The privacy budget does not allow it, or the gate refused a release."""

    exit_code = ExitCode.REFUSED


class LedgerError(PrivagamsError):
    """The ledger was edited, put back or is unreadable; nothing may be spent until a person has looked."""

    exit_code = ExitCode.REFUSED
