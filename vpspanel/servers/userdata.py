"""User data: what cloud-init would make of a text, found out before the server is built.

The text comes from a customer and is parsed here, in the web process: size,
depth and the number of nodes are bounded before anything is built from it,
because a few aliases can stand for billions of nodes.
"""

from __future__ import annotations

import email
import functools
import json
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonschema import Draft4Validator
from jsonschema.exceptions import best_match

from vpspanel.errors import Refused

MAX_BYTES = 32 * 1024
MAX_DEPTH = 40
MAX_NODES = 20_000

SCHEMA_FILE = Path(__file__).with_name("schema-cloud-config-v1.json")

# The first line decides, as in cloud-init's user-data formats.
_OPAQUE = ("#!", "#include", "#cloud-boothook", "#part-handler", "## template: jinja")


def validate_user_data(text: str) -> None:
    """Return if cloud-init accepts the text (or it is empty); raises `Refused` with the reason."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        _refuse(f"User data may have 32 KiB; this has {size / 1024:.1f} KiB.")
    if not text.strip():
        return
    if "\0" in text:
        _refuse("User data must be text; this has a NUL character in it.")
    _check_part(text.lstrip())


def _refuse(message: str) -> NoReturn:
    raise Refused("invalid_input", message[:400], field="user_data")


def _check_part(text: str) -> None:
    head = text.lower()
    if head.startswith("#cloud-config-archive"):
        _check_archive(_load(text))
    elif head.startswith("#cloud-config"):
        _check_config(_load(text))
    elif head.startswith(("content-type:", "mime-version:")):
        _check_mime(text)
    elif not head.startswith(_OPAQUE):
        _refuse(
            "cloud-init would not know what this is. The first line must be #cloud-config for "
            "YAML, or #! and an interpreter for a script."
        )


def _check_mime(text: str) -> None:
    message: Message = email.message_from_string(text)
    if not message.is_multipart():
        _refuse("This begins like a MIME message but has no parts.")
    for part in message.walk():
        if part.get_content_type() != "text/cloud-config":
            continue
        payload = part.get_payload(decode=True)
        if isinstance(payload, bytes):
            _check_config(_load(payload.decode("utf-8", "replace")))


def _check_archive(parts: Any) -> None:
    if not isinstance(parts, list) or not all(isinstance(part, dict | str) for part in parts):
        _refuse("A #cloud-config-archive is a YAML list of parts.")


def _check_config(config: Any) -> None:
    if config is None:
        return
    if not isinstance(config, dict):
        _refuse("A #cloud-config is a YAML mapping of keys to values, such as “packages: [nginx]”.")
    error = best_match(_validator().iter_errors(config))
    if error is None:
        return
    where = ".".join(str(part) for part in error.absolute_path)
    _refuse(f"This is not valid cloud-config: {where or 'top level'}: {error.message}")


def _load(text: str) -> Any:
    """The YAML document as plain values."""
    try:
        _bound_depth(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        if _size(node, {}) > MAX_NODES:
            _refuse("This YAML grows too large when its aliases are followed.")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        _refuse(f"This is not valid YAML: {_where(error)}")
    except (ValueError, OverflowError, TypeError) as error:
        # Scalars that look like a date or a number and are none: 2024-99-99.
        _refuse(f"This is not valid YAML: {error}")


def _bound_depth(text: str) -> None:
    """Refuse before recursion: the event parser does not recurse, the composer does."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            _refuse(f"This YAML is nested more than {MAX_DEPTH} levels deep.")


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes it stands for with every alias followed; a loop counts as too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_NODES + 1
    total = 1 + sum(_size(child, known) for child in _children(node))
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)


@functools.cache
def _validator() -> Draft4Validator:
    return Draft4Validator(_tolerant(json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))))


def _tolerant(schema: Any) -> Any:
    """The schema without its refusal of unknown keys.

    Images carry different versions of cloud-init and newer ones know more keys;
    cloud-init itself only warns about an unknown key. Without that refusal two
    alternatives may both fit, hence anyOf for oneOf.
    """
    if isinstance(schema, dict):
        return {
            "anyOf" if key == "oneOf" else key: _tolerant(value)
            for key, value in schema.items()
            if not (key == "additionalProperties" and value is False)
        }
    if isinstance(schema, list):
        return [_tolerant(item) for item in schema]
    return schema
