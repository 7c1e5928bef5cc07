"""`privagams plugins`: what is installed, and what is wrong with it."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from privagams.errors import ExitCode
from privagams.plugins import HOMES, ROLES, Registry, discover
from privagams.settings import describe


def list_plugins(as_json: bool) -> int:
    """Print every component by role; for a role that nobody fills, say what to install."""
    registry = discover()
    if as_json:
        print(json.dumps(_as_data(registry), indent=1))
        return int(ExitCode.OK)
    console = Console()
    table = Table("role", "name", "what it is", "from", box=None, header_style="bold")
    for role in ROLES:
        offers = [offer for offer in registry.offers if offer.role == role]
        for offer in offers:
            table.add_row(role, offer.component.name, offer.component.summary, offer.source)
        if not offers:
            table.add_row(role, "none", f"install {HOMES[role]}, or another package that offers some", "")
    console.print(table)
    for text in _troubles(registry):
        console.print(text, style="red", markup=False)
    return int(ExitCode.PLUGIN if registry.clashes else ExitCode.OK)


def doctor() -> int:
    """Say what could not be loaded, what clashes, and whether each settings class can be described."""
    registry = discover()
    troubles = _troubles(registry)
    for offer in registry.offers:
        try:
            undocumented = [row[0] for row in describe(offer.component.settings or _NoSettings) if not row[3]]
        except Exception as error:  # a broken settings class is what this command is for
            troubles.append(f"{offer.component.name} ({offer.source}): its settings are not usable: {error}")
            continue
        if undocumented:
            print(f"hint: {offer.component.name} ({offer.source}): no doc for {', '.join(undocumented)}")
    for text in troubles:
        print(text)
    print(f"{len(registry.offers)} components of {len({o.distribution for o in registry.offers})} distributions; "
          f"{len(troubles)} faults")  # fmt: skip
    return int(ExitCode.PLUGIN if troubles else ExitCode.OK)


def _troubles(registry: Registry) -> list[str]:
    failed = [f"{f.distribution} {f.version} could not be loaded: {f.reason}" for f in registry.failures]
    return failed + list(registry.clashes)


def _as_data(registry: Registry) -> dict[str, object]:
    return {
        "components": [
            {
                "role": offer.role, "name": offer.component.name, "summary": offer.component.summary,
                "distribution": offer.distribution, "version": offer.version,
                "settings": [
                    dict(zip(("name", "type", "default", "doc"), row, strict=True))
                    for row in describe(offer.component.settings or _NoSettings)
                ],
            }
            for offer in registry.offers
        ],
        "failures": [
            {"distribution": f.distribution, "version": f.version, "reason": f.reason} for f in registry.failures
        ],
        "clashes": list(registry.clashes),
    }  # fmt: skip


def _no_settings() -> type:
    import attrs

    return attrs.make_class("NoSettings", {}, frozen=True)


_NoSettings = _no_settings()
