"""Which operations of the API a client really used, held against docs/clients.json."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vpspanel.api.schema import BASE
from vpspanel.api.support import RECORD, Shown, offered, shown_by_clients

RENEW = "CLIENTS_RENEW"
HOW_TO_RENEW = (
    f"If that is as it should be: {RENEW}=1 .venv/bin/python -m pytest tests/clients -m fake; "
    ".venv/bin/python manage.py api_support > docs/support.md"
)


@dataclass
class Asked:
    """What one test's clients ask of the panel, from its beginning on."""

    test: str
    notes: Path
    begun: int

    def expect(self, client: str) -> None:
        """Fails unless the record has the operations that this client has used, and no others."""
        used = operations(self.notes.read_text()[self.begun :].splitlines())
        if os.environ.get(RENEW):
            _renew(client, self.test, used)
            return
        recorded = set(shown_by_clients().get(client, {}).get(self.test, ()))
        problems = [
            *(f"not in the record: {one}" for one in sorted(used - recorded)),
            *(f"in the record, and not used any more: {one}" for one in sorted(recorded - used)),
        ]
        said = "\n".join((f"docs/clients.json is wrong about {client}.", *problems, HOW_TO_RENEW))
        assert not problems, said


def operations(notes: Iterable[str]) -> set[str]:
    """The operations of the document that were answered with success."""
    patterns = [(one, _pattern(one)) for one in sorted(offered(), key=lambda one: one.count("{"))]
    found = set()
    for note in notes:
        status, asked = note.split(" ", 1)
        if int(status) < 400:
            found.update([one for one, pattern in patterns if pattern.fullmatch(asked)][:1])
    return found


def _pattern(operation: str) -> re.Pattern[str]:
    """Of method and path. What has no braces goes first, so a word is never taken for an id."""
    method, path = operation.split()
    parts = re.split(r"\{\w+\}", f"{BASE.rstrip('/')}{path}")
    return re.compile(f"{method} " + "[^/]+".join(map(re.escape, parts)))


def _renew(client: str, test: str, used: set[str]) -> None:
    """Write it down; several processes may do that at once."""
    with RECORD.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        record: Shown = json.load(file)
        record.setdefault(client, {})[test] = sorted(used)
        file.seek(0)
        file.truncate()
        file.write(json.dumps(record, indent=1, sort_keys=True) + "\n")
