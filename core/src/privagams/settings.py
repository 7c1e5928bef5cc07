"""Structuring: plain TOML values to frozen attrs classes, strictly, with every fault and its TOML path."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs

from privagams.component import Use

T = TypeVar("T")
_WORDS = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


class Faults(Exception):
    """What is wrong with a value: pairs of a relative path and a text."""

    def __init__(self, found: list[tuple[str, str]]) -> None:
        self.found = found
        super().__init__("\n".join(f"{path}: {text}" for path, text in found))


def structure(value: Any, target: type[T]) -> T:
    """Turn `value` into `target`; raises `Faults` with all faults at once.

    Nothing is converted silently: "8", true and 2.9 are not whole numbers. A whole number is a number.
    """
    return _converter().structure(value, target)


def structure_one(value: Any, target: type, name: str) -> Any:
    """Turn `value` into what the field `name` of `target` holds, within its bounds; raises `Faults`.

    What the class asks of several fields together is not checked.
    """
    made = _converter().structure(value, get_type_hints(target)[name])
    _check_bounds(attrs.fields_dict(target)[name], made)
    return made


def describe(target: type) -> list[tuple[str, str, str, str]]:
    """Name, type, default and doc of each field of a settings class, as text."""
    hints = get_type_hints(target)
    rows = []
    for field in attrs.fields(target):
        default = "required" if field.default is attrs.NOTHING else _shown(field.default)
        rows.append((field.name, type_words(hints[field.name]), default, str(field.metadata.get("doc", ""))))
    return rows


def type_words(target: Any) -> str:
    """Say in words what a field takes."""
    if target in _WORDS:
        return _WORDS[target]
    origin, arguments = get_origin(target), get_args(target)
    if origin is Literal:
        return " or ".join(repr(a) for a in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(a) for a in arguments if a is not type(None))
    if origin in (tuple, list):
        return f"a list of {type_words(arguments[0])}"
    if target is Use:
        return "a component's name or table"
    return "a table"


def to_plain(value: Any) -> Any:
    """Turn settings back into plain values, for keys, cards and the resolved file."""
    if isinstance(value, Use):
        return {"use": value.name, **to_plain(value.settings)}
    if attrs.has(type(value)):
        return {f.name: to_plain(getattr(value, f.name)) for f in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _shown(default: Any) -> str:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return ""
    return default.name if isinstance(default, Use) else repr(default)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    for primitive in _WORDS:
        converter.register_structure_hook(primitive, _strict(primitive))
    converter.register_structure_hook(Use, lambda value, _: _use(value))
    converter.register_structure_hook_func(lambda t: _origin(t) is Literal, _literal)
    converter.register_structure_hook_func(
        lambda t: _origin(t) in (Union, types.UnionType), lambda v, t: _union(converter, v, t)
    )
    converter.register_structure_hook_func(
        lambda t: _origin(t) in (tuple, list), lambda v, t: _sequence(converter, v, t)
    )
    converter.register_structure_hook_func(_is_mapping, lambda v, t: _mapping(converter, v, t))
    converter.register_structure_hook_func(
        lambda t: isinstance(t, type) and attrs.has(t) and t is not Use, lambda v, t: _table(converter, v, t)
    )
    return converter


def _strict(primitive: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if primitive is float and type(value) is int:
            return float(value)
        if type(value) is not primitive:
            raise Faults([("", f"expected {_WORDS[primitive]}, found {_literal_text(value)}")])
        return value

    return hook


def _use(value: Any) -> Use:
    if isinstance(value, str):
        return Use(value)
    if isinstance(value, Mapping) and isinstance(value.get("use"), str):
        return Use(value["use"], {k: v for k, v in value.items() if k != "use"})
    raise Faults([("", f'expected "NAME" or {{ use = "NAME", … }}, found {_literal_text(value)}')])


def _literal(value: Any, target: Any) -> Any:
    choices = get_args(target)
    if value not in choices or isinstance(value, bool):
        hint = suggest(value, [str(c) for c in choices]) if isinstance(value, str) else ""
        raise Faults([("", f"expected {type_words(target)}, found {_literal_text(value)}{hint}")])
    return value


def _union(converter: cattrs.Converter, value: Any, target: Any) -> Any:
    if value is None and type(None) in get_args(target):  # TOML has no such value; settings filled in have
        return None
    for option in get_args(target):
        if option is type(None):
            continue
        try:
            return converter.structure(value, option)
        except Faults as faults:
            if any(path for path, _ in faults.found):  # a fault inside a table is worth more than "none fits"
                raise
    raise Faults([("", f"expected {type_words(target)}, found {_literal_text(value)}")])


def _sequence(converter: cattrs.Converter, value: Any, target: Any) -> Any:
    if not isinstance(value, list):
        raise Faults([("", f"expected {type_words(target)}, found {_literal_text(value)}")])
    inner = get_args(target)[0]
    parts = [(f"[{index}]", partial(converter.structure, item, inner)) for index, item in enumerate(value)]
    return _origin(target)(_collect(parts))


def _origin(target: Any) -> Any:
    return get_origin(target)


def _is_mapping(target: Any) -> bool:
    origin = get_origin(target)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _mapping(converter: cattrs.Converter, value: Any, target: Any) -> Any:
    if not isinstance(value, Mapping):
        raise Faults([("", f"expected a table, found {_literal_text(value)}")])
    inner = get_args(target)[1]
    if inner is Any:
        return dict(value)
    items = _collect([(f".{key}", partial(converter.structure, item, inner)) for key, item in value.items()])
    return dict(zip(value, items, strict=True))


def _table(converter: cattrs.Converter, value: Any, target: type) -> Any:
    if not isinstance(value, Mapping):
        raise Faults([("", f"expected a table, found {_literal_text(value)}")])
    hints, fields = get_type_hints(target), {f.name: f for f in attrs.fields(target)}
    faults = [
        (f".{name}", f"unknown setting {name!r}{suggest(name, list(fields))}")
        for name in value
        if name not in fields
    ]
    made: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in value:
            if field.default is attrs.NOTHING:
                faults.append((f".{name}", f"required setting missing: {_doc(field, hints[name])}"))
            continue
        try:
            made[name] = converter.structure(value[name], hints[name])
            _check_bounds(field, made[name])
        except Faults as found:
            faults.extend((f".{name}{path}", text) for path, text in found.found)
    if faults:
        raise Faults(faults)
    try:
        return target(**made)
    except (ValueError, TypeError) as error:
        raise Faults([("", str(error))]) from error


def _check_bounds(field: Any, value: Any) -> None:
    if field.validator is None:
        return
    try:
        field.validator(None, field, value)
    except (ValueError, TypeError) as error:
        # attrs' bounds say "'epsilon' must be > 0: -1"; the path already names the setting.
        text = str(error.args[0] if error.args else error).removeprefix(f"'{field.name}' ")
        raise Faults([("", text)]) from error


def _collect(parts: Sequence[tuple[str, Callable[[], Any]]]) -> list[Any]:
    made: list[Any] = []
    faults: list[tuple[str, str]] = []
    for path, make in parts:
        try:
            made.append(make())
        except Faults as found:
            faults.extend((path + inner, text) for inner, text in found.found)
    if faults:
        raise Faults(faults)
    return made


def _doc(field: Any, hint: Any) -> str:
    doc = field.metadata.get("doc", "")
    return f"{type_words(hint)}{f' ({doc})' if doc else ''}"


def _literal_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    return "a table" if isinstance(value, Mapping) else repr(value)
