"""`privagams new`: a plugin package that works from the start, made from the example under another name."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from privagams.errors import ConfigError

EXAMPLE = "mylab-nearest"
FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "src/mylab_nearest/__init__.py": "init.py.txt",
    "src/mylab_nearest/attack.py": "attack.py.txt",
    "tests/test_conformance.py": "test_conformance.py.txt",
}
"""Files of the example, and the templates that hold them."""


def make_plugin(name: str, folder: Path) -> Path:
    """Write a package that offers attack `name` into a new folder of that name; returns that folder."""
    _check_name(name)
    made = folder / name
    try:
        made.mkdir(parents=True)
        for path, template in FILES.items():
            text = files("privagams").joinpath("template", template).read_text(encoding="utf-8")
            target = made / _renamed(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_renamed(text, name), encoding="utf-8")
    except FileExistsError:
        raise ConfigError(f"{made}: exists already; choose another name or --folder") from None
    except OSError as error:
        raise ConfigError(f"{made}: cannot be written: {error.strerror}; choose another --folder") from error
    return made


def _renamed(text: str, name: str) -> str:
    return text.replace(EXAMPLE, name).replace(EXAMPLE.replace("-", "_"), name.replace("-", "_"))


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", name):
        raise ConfigError(
            f"{name!r}: expected lower-case words joined by hyphens, your lab's name first; "
            f"such as {EXAMPLE!r}"
        )
    if name.startswith("privagams"):
        raise ConfigError(
            f"{name!r}: names that begin with privagams are this project's own; begin with your lab's"
        )
