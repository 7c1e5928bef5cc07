"""How a failed stage is told: a sentence for what a user can mend, a traceback for a bug."""

import traceback

from privagams.errors import ExitCode, PrivagamsError


def in_words(error: BaseException) -> tuple[str, int]:
    """Text and exit code of an error. Notes (PEP 678) that name the plugin at fault are kept."""
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    if isinstance(error, PrivagamsError):
        return f"{error}{notes}", int(error.exit_code)
    if isinstance(error, MemoryError):
        return f"not enough memory; close other programs or run with --jobs 1{notes}", int(
            ExitCode.STAGE_FAILED
        )
    return "".join(traceback.format_exception(error)).rstrip(), int(ExitCode.STAGE_FAILED)


def headline(text: str) -> str:
    """The one line of such a text that says what happened: a sentence's first, a traceback's last."""
    lines = [line for line in text.splitlines() if line and not line.startswith("raised by ")]
    if not lines:
        return text
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]
