"""Measures one part in a process of its own: `python -m tests.bench.part NAME OUT [ARG…]`.

Settings and database come from the environment, which `__main__` sets up.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import django
from django.core.management import call_command


def main(name: str, out: str, *arguments: str) -> None:
    """Migrate an empty database, measure, and write the figures to `out`."""
    django.setup()
    call_command("migrate", verbosity=0)
    # Only now: it imports models.
    figures = import_module(f"tests.bench.{name}").measure(*arguments)
    Path(out).write_text(json.dumps([figure.as_dict() for figure in figures]))


if __name__ == "__main__":
    main(*sys.argv[1:])
