"""Type hints as JSON schemas: what a TypedDict says to mypy, said to programs."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean", NoneType: "null"}

Schema = dict[str, Any]


class Shapes:
    """Schemas of types. Each TypedDict becomes a component, which others point at."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}
        self._types: dict[str, Any] = {}

    def schema(self, hint: Any) -> Schema:
        """What values of this type look like. Raises TypeError for a type that JSON cannot say."""
        if hint in PLAIN or hint is None:
            return {"type": PLAIN[NoneType if hint is None else hint]}
        if hint is Any or hint is object:
            return {}
        if is_typeddict(hint):
            return {"$ref": f"#/components/schemas/{self._component(hint)}"}
        origin, args = get_origin(hint), get_args(hint)
        if origin is Literal:
            return {"type": "string", "enum": list(args)}
        if origin in (Union, UnionType):
            return _either([self.schema(one) for one in args])
        if origin is list:
            return {"type": "array", "items": self.schema(args[0])}
        if origin is tuple and Ellipsis not in args:
            each = [self.schema(one) for one in args]
            return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}
        if origin is dict and args[0] is str:
            return {"type": "object", "additionalProperties": self.schema(args[1])}
        raise TypeError(f"no schema for {hint!r}")

    def keys(self, fields: dict[str, Any]) -> Schema:
        """An object that has all of these keys."""
        properties = {name: self.schema(hint) for name, hint in fields.items()}
        return {"type": "object", "properties": properties, "required": list(properties)}

    def _component(self, shape: Any) -> str:
        name: str = shape.__name__.removesuffix("Shape")
        if self._types.setdefault(name, shape) is not shape:
            raise TypeError(f"two shapes are called {name}")
        if name not in self.components:
            self.components[name] = {}  # a shape may hold itself
            description = " ".join((shape.__doc__ or "").split())
            fields = self.keys(get_type_hints(shape))
            fields["required"] = sorted(shape.__required_keys__)
            self.components[name] = {**fields, "description": description}
        return name


def _either(found: list[Schema]) -> Schema:
    """One of several; of plain types, a list of their names."""
    if all(set(one) == {"type"} for one in found):
        return {"type": [one["type"] for one in found]}
    return {"anyOf": found}
