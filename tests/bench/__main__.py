"""`python -m tests.bench [PART…]`: measure, print one table, write var/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import machine, postgres
from tests.bench.figures import Figure, table

ROOT = Path(__file__).resolve().parents[2]
PART_SECONDS = 240
PARTS = (
    *("provisioning", "engine", "placement", "fleet", "monitor"),
    *("pages", "api", "live", "consoles"),
)


@dataclass
class Run:
    """What was measured so far, and what could not be."""

    figures: list[Figure] = field(default_factory=list)
    not_measured: dict[str, str] = field(default_factory=dict)
    failed: bool = False


def main() -> int:
    """0, or 1 if a part could not be measured though it should have been."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench.json")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    started, before = time.time(), machine.describe()
    run = Run()
    for part in options.parts or PARTS:
        _measure(part, run)
    print(f"\n{machine.sentence(before)}\n")
    if run.figures:
        print(table(run.figures))
    for part, why in run.not_measured.items():
        print(f"\n{part}: not measured: {why}")
    took = time.time() - started
    print(
        f"\n{took:.0f} s. Loads: {before['load']:.1f} at the start, {os.getloadavg()[0]:.1f} now."
    )
    _write(options.json, run, before, took)
    return int(run.failed)


def _write(path: Path, run: Run, described: Mapping[str, Any], took: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(took),
        "machine": described,
        "figures": [figure.as_dict() for figure in run.figures],
        "not_measured": run.not_measured,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"Written to {path}")


def _measure(part: str, run: Run) -> None:
    if part == "engine":
        _child("engine", run, {}, "SQLite")
        if why := postgres.missing():
            run.not_measured["engine on PostgreSQL"] = why
            return
        with postgres.new_database() as url:
            _child("engine", run, {"DATABASE_URL": url}, "PostgreSQL")
    elif part in ("placement", "fleet", "monitor", "api"):
        if why := postgres.missing():
            run.not_measured[part] = why
            return
        with postgres.new_database() as url:
            _child(part, run, {"DATABASE_URL": url}, "PostgreSQL")
    elif part == "provisioning":
        if why := machine.missing_for_guests():
            run.not_measured[part] = why
            return
        # The small system is built once and kept with the panel's own images.
        images = os.environ.get("VPSPANEL_IMAGES", str(ROOT / "var" / "images"))
        _child(part, run, {"VPSPANEL_DRIVER": "libvirt", "VPSPANEL_IMAGES": images})
    else:
        _child(part, run, {})


def _child(name: str, run: Run, environment: Mapping[str, str], *arguments: str) -> None:
    """Run a part with files of its own; what it wrote goes into `run`."""
    label = " ".join((name, *arguments))
    print(f"measuring: {label} …", file=sys.stderr, flush=True)
    # /tmp: the paths of UNIX sockets are short there, and QEMU's own user may come in.
    directory = Path(tempfile.mkdtemp(prefix="vpsbench-", dir="/tmp"))
    out = directory / "figures.json"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.part", name, str(out), *arguments],
            cwd=ROOT,
            env=_environment(directory, environment),
            timeout=PART_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise subprocess.SubprocessError(f"it ended with code {done.returncode}")
        for values in json.loads(out.read_text()):
            values.pop("met")
            run.figures.append(Figure(**values))
    except subprocess.SubprocessError as error:
        run.failed = True
        run.not_measured[label] = str(error)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environment(directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    """The settings of tests, in a fresh directory, on SQLite unless `more` says otherwise."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment.pop("DATABASE_URL", None)
    environment["VPSPANEL_TEST_VAR"] = str(directory / "var")
    environment["LOG_LEVEL"] = "WARNING"
    return {**environment, **more}


if __name__ == "__main__":
    sys.exit(main())
