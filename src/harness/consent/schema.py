"""The JSON Schema of every record of a manifest, made from the dataclasses that read them."""

import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from harness.consent.records import hints

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TIME = {"type": "string", "format": "date-time", "pattern": "Z$"}


def json_schema(records: Mapping[str, type[Any]]) -> dict[str, Any]:
    """One schema document with a definition for each record.

    Args:
        records: name of the definition to the dataclass.
    """
    definitions = {name: _object(kind) for name, kind in records.items()}
    return {"$schema": DIALECT, "title": "Records of a manifest", "$defs": definitions}


def _object(kind: Any) -> dict[str, Any]:
    properties = {key: _property(hint) for key, (_, hint) in hints(kind).items()}
    return {"type": "object", "description": typing.cast("str", kind.__doc__).split("\n\n")[0],
            "properties": properties, "required": [*properties],
            "additionalProperties": False}  # fmt: skip


def _property(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return {"type": "string", "pattern": f"^{arguments[1]}$"}
    if origin is Literal:
        return {"enum": [*arguments]}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_property(option) for option in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _property(arguments[0]), "uniqueItems": True}
    return _object(hint) if is_dataclass(hint) else _plain(hint)


def _plain(hint: Any) -> dict[str, Any]:
    if issubclass(hint, StrEnum):
        return {"enum": [str(member) for member in hint]}
    plain: dict[Any, dict[str, Any]] = {
        str: {"type": "string", "minLength": 1},
        int: {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**53},
        bool: {"type": "boolean"},
        datetime: _TIME,
        type(None): {"type": "null"},
    }
    return plain[hint]
