"""Examples for the document, made from its own schemas: what would not fit is not taken."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
NUMBER, MOMENT = 42, "2026-01-31T12:00:00+00:00"
_PLAIN: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_BY_TYPE: dict[str, Any] = {
    "integer": NUMBER,
    "number": 1.5,
    "string": "text",
    "boolean": False,
    "null": None,
}
# What a field of this name usually holds, the likeliest first.
_KNOWN: dict[str, tuple[Any, ...]] = {
    "active": (True,),
    "architecture": ("x86",),
    "city": ("Falkenstein",),
    "code": ("invalid_input",),
    "command": ("start_server",),
    "country": ("DE",),
    "created": (MOMENT,),
    "currency": ("EUR",),
    "delete": (True,),
    "description": ("before the upgrade",),
    "dns_ptr": ("web.example.com",),
    "end": (MOMENT,),
    "error": (None,),
    "finished": (MOMENT, None),
    "expires_in": (3600,),
    "fingerprint": ("65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd",),
    "image": ("debian-13",),
    "ip": ("203.0.113.7",),
    "kind": ("server.renamed",),
    "kinds": (["server.*"],),
    "labels": ({"env": "prod"},),
    "last_page": (1,),
    "location": ("fsn1",),
    "message": ("The server was renamed.",),
    "name": ("web",),
    "network_zone": ("eu-central",),
    "next_page": (None,),
    "os_flavor": ("debian",),
    "os_version": ("13",),
    "page": (1,),
    "per_page": (25,),
    "placement_group": ("apart",),
    "previous_page": (None,),
    "progress": (100,),
    "public_key": (f"ssh-ed25519 {_KEY} you@laptop",),
    "rebuild": (True,),
    "root_password": (None,),
    "secret": ("whsec_…",),
    "server_type": ("small",),
    "ssh_keys": (["laptop"],),
    "start": (MOMENT,),
    "started": (MOMENT,),
    "status": ("success", "running", "available", "off", "delivered"),
    "total_entries": (1,),
    "type": ("linux64", "snapshot", "spread", "system", "server", "ipv4"),
    "upgrade_disk": (True,),
    "url": ("https://billing.example.com/hook",),
    "wss_url": ("wss://panel.example.com/ws/console/direct/?…",),
}
# Fields of bodies that an example is clearer without.
_LEFT_OUT = {
    *("automount", "datacenter", "dry_run", "firewalls", "networks", "public_net"),
    *("placement_group", "start_after_create", "user_data", "volumes"),
}


class Examples:
    """Makes them; `components` are the document's schemas by name."""

    def __init__(self, components: dict[str, Schema]):
        self._components = components

    def answer(self, schema: Schema) -> Any:
        """An answer with all of its fields."""
        return self._of("", schema, ())

    def body(self, schema: Schema) -> Any:
        """A body with what it needs, and what is often said."""
        schema = self._resolved(schema)
        needed = schema.get("required", ())
        fields = {
            name: inner
            for name, inner in schema.get("properties", {}).items()
            if name in needed or name not in _LEFT_OUT
        }
        return {name: self._of(name, inner, ()) for name, inner in fields.items()}

    def _resolved(self, schema: Schema) -> Schema:
        name = schema.get("$ref", "").rpartition("/")[2]
        return self._components[name] if name else schema

    def _of(self, name: str, schema: Schema, within: tuple[str, ...]) -> Any:
        for value in _KNOWN.get(name, ()):
            if takes(schema, value):
                return value
        if reference := schema.get("$ref"):
            inner = self._resolved(schema)
            return self._of("", inner, (*within, reference)) if reference not in within else {}
        for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            return self._of(name, choice, within)
        if "enum" in schema:
            return schema["enum"][0]
        if "prefixItems" in schema:
            return [self._of("", one, within) for one in schema["prefixItems"]]
        kinds = schema.get("type", "null")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "array":
            return [self._of("", schema["items"], within)] if schema["items"] else []
        if kind == "object":
            fields = schema.get("properties", {})
            return {field: self._of(field, inner, within) for field, inner in fields.items()}
        return _BY_TYPE[kind]


def takes(schema: Schema, value: Any) -> bool:
    """Whether a value is of the type that a schema asks for; never for a reference."""
    if "$ref" in schema:
        return False
    if "enum" in schema:
        return value in schema["enum"]
    choices = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    if choices:
        return any(takes(choice, value) for choice in choices)
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool):
        return "boolean" in kinds
    if isinstance(value, list):
        return "array" in kinds and all(takes(schema["items"], one) for one in value)
    return any(isinstance(value, _PLAIN[kind]) for kind in kinds)
