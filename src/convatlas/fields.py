"""Values as the fields of a dataclass have them, when they come from a file, a command line or a caller."""

import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from convatlas.errors import InputError


def of_text(value: Any) -> Any:
    """What a word of the command line stands for where it has no type yet: `None`, or a list such as `[3,4,6,3]`."""
    if isinstance(value, str) and (value == "None" or value.startswith("[")):
        import yaml

        with suppress(yaml.YAMLError):
            return None if value == "None" else yaml.safe_load(value)
    return value


def conform(name: str, value: Any, type_: Any) -> Any:
    """The value as its field has it: YAML reads `1e-4` as text, `32` as a number and a tuple as a list.

    Raises InputError for a value of another type.
    """
    fits, result = _conform(value, type_)
    if not fits:
        raise InputError(f"{name} is {_named(type_)}, and not {value!r}")
    return result


def _conform(value: Any, type_: Any) -> tuple[bool, Any]:
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin is Annotated:
        return _conform(value, args[0])
    if origin in (typing.Union, types.UnionType):
        found = [result for fits, result in (_conform(value, arg) for arg in args) if fits]
        exact = [result for result in found if type(result) is type(value)]
        return bool(found), (exact or found or [None])[0]
    if origin is Literal:
        found = [arg for arg in args if (type(arg) is type(value) and arg == value) or arg == str(value)]
        return bool(found), (found or [None])[0]
    if origin is tuple:
        items = _items(value, args)
        return items is not None and all(fits for fits, _ in items), tuple(result for _, result in items or ())
    if origin is dict:
        fits = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        return fits, dict(value) if fits else None
    if type_ is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return True, float(value)
        except (ValueError, OverflowError):
            return False, None
    if hasattr(type_, "_fields"):  # a NamedTuple, of which a file has the values alone
        items = _items(value, tuple(typing.get_type_hints(type_).values()))
        fits = items is not None and all(fits for fits, _ in items)
        return fits, type_(*(result for _, result in items or ())) if fits else None
    return type(value) is (type(None) if type_ is None else type_), value


def _items(value: Any, types_: tuple[Any, ...]) -> list[tuple[bool, Any]] | None:
    """Each item beside its type, where `value` is a list of at least one, and as long as the types say."""
    if not isinstance(value, list | tuple) or not value:
        return None
    if types_[-1] is Ellipsis:
        types_ = types_[:1] * len(value)
    if len(value) != len(types_):
        return None
    return [_conform(item, type_) for item, type_ in zip(value, types_, strict=True)]


def _named(type_: Any) -> str:
    """A type in a reader's words."""
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin is Annotated:
        return _named(args[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_named(arg) for arg in args)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        several = "a list" if args[-1] is Ellipsis else f"a list of {len(args)}"
        return f"{several}, of which each is {_named(args[0])}"
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "left out"}
    return "a mapping from names" if origin is dict else words.get(type_, f"of the kind {type_.__name__}")
