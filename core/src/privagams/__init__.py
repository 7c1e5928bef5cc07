"""PRIVAGAMS: what a plugin needs to offer components. Importing it loads neither torch nor numpy."""

from importlib.metadata import version

import pluggy

from privagams.component import Component, Use, uses

__all__ = ["Component", "Use", "__version__", "hookimpl", "uses"]

__version__ = version("privagams")

hookimpl = pluggy.HookimplMarker("privagams")
