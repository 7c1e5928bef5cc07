"""`privagams schema`: a JSON Schema (draft 7) of pipeline.toml for editors, made from the settings classes."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from privagams.component import Use
from privagams.pipeline import (
    API,
    AuditSettings,
    BudgetSettings,
    PluginSettings,
    PublicSettings,
    ReleaseSettings,
    ReportSettings,
    SourceSettings,
    SplitSettings,
)
from privagams.plugins import Registry, discover
from privagams.reading.tile_choice import TileSettings

_TYPES: dict[type, dict[str, str]] = {
    int: {"type": "integer"}, float: {"type": "number"}, str: {"type": "string"}, bool: {"type": "boolean"}
}  # fmt: skip


def schema_text() -> str:
    """The schema as JSON text, with every installed component's settings."""
    registry = discover()
    tables = {
        "tiles": TileSettings, "split": SplitSettings, "public": PublicSettings, "budget": BudgetSettings,
        "audit": AuditSettings, "plugins": PluginSettings, "report": ReportSettings,
    }  # fmt: skip
    properties: dict[str, Any] = {
        "api": {"const": API},
        "name": {"type": "string"},
        "seed": {"type": "integer", "minimum": 0},
        "source": _source(registry),
        **{name: _class(target, registry) for name, target in tables.items()},
        "releases": {"type": "array", "minItems": 1, "items": _class(ReleaseSettings, registry)},
        "attacks": {"type": "array", "items": _component("attacks", registry)},
        "metrics": {"type": "array", "items": _component("metrics", registry)},
    }
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "PRIVAGAMS pipeline", "type": "object",
        "properties": properties, "required": ["api", "name", "source", "tiles", "public", "releases"],
        "additionalProperties": False,
    }  # fmt: skip
    return json.dumps(schema, indent=1, ensure_ascii=False)


def _source(registry: Registry) -> dict[str, Any]:
    schema = _class(SourceSettings, registry)
    schema["properties"].pop("reader")
    schema["properties"]["use"] = {"enum": registry.names("readers")}
    schema["required"] = ["use", *(name for name in schema["required"] if name != "reader")]
    # A reader's own settings stand beside these.
    schema["additionalProperties"] = True
    return schema


def _class(target: type, registry: Registry) -> dict[str, Any]:
    hints = get_type_hints(target)
    properties, required = {}, []
    for spec in attrs.fields(target):
        properties[spec.name] = _type(hints[spec.name], spec.metadata, registry)
        if spec.metadata.get("doc"):
            properties[spec.name]["description"] = spec.metadata["doc"]
        if spec.default is attrs.NOTHING:
            required.append(spec.name)
        elif isinstance(spec.default, (bool, int, float, str)):
            properties[spec.name]["default"] = spec.default
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _type(hint: Any, metadata: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    if hint in _TYPES:
        return dict(_TYPES[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        options = [_type(a, metadata, registry) for a in arguments if a is not type(None)]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin in (tuple, list):
        return {"type": "array", "items": _type(arguments[0], metadata, registry)}
    if hint is Use:
        return _component(metadata["role"], registry) if "role" in metadata else {}
    if isinstance(hint, type) and attrs.has(hint):
        return _class(hint, registry)
    return {"type": "object"}


def _component(role: str, registry: Registry) -> dict[str, Any]:
    options: list[dict[str, Any]] = [{"enum": registry.names(role)}]
    for offer in registry.offers:
        if offer.role == role:
            schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
            if offer.component.settings is not None:
                schema = _class(offer.component.settings, registry)
            schema["properties"] = {"use": {"const": offer.component.name}, **schema["properties"]}  # type: ignore[dict-item]
            schema["required"] = ["use", *schema["required"]]  # type: ignore[misc]
            schema["description"] = offer.component.summary
            options.append(schema)
    return {"anyOf": options}
