"""The rules of the house hold; and each rule catches what it is there for."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

from tests import house_rules as rules

ROOT: Path = settings.BASE_DIR
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "Makefile", "README.md", "deploy", "docs", "hosts",
    "manage.py", "pyproject.toml", "requirements-dev.txt", "requirements.txt", "static",
    "templates", "tests", "vpspanel",
}  # fmt: skip
TEXT = {".py", ".html", ".md", ".toml", ".txt", ".sh", ".js", ".css", ".json", ".yaml", ".yml", ""}


@cache
def _modules() -> dict[str, tuple[ast.Module, int]]:
    """Every module of the product: its tree and its number of lines."""
    found = {}
    for top in ("hosts", "vpspanel"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if "migrations" in path.parts:
                continue
            text = path.read_text()
            name = rules.module_name(path.relative_to(ROOT).as_posix())
            found[name] = (ast.parse(text), text.count("\n"))
    return found


def _tracked_files() -> Iterator[Path]:
    """What is in the repository; in a copy without git, what is not made by a run."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        yield from (ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file())
        return
    for path in ROOT.rglob("*"):
        if path.is_file() and not {".venv", "var", "node_modules", "__pycache__"} & set(path.parts):
            yield path


Rule = Callable[[ast.Module, str], list[str]]
RULES: list[Rule] = [
    rules.upward_imports,
    rules.foreign_libvirt,
    rules.django_in_virt,
    rules.services_using_steps,
    rules.imports_in_functions,
    rules.calls_of_locals,
    rules.star_imports,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Rule) -> None:
    broken = {name: found for name, (tree, _) in _modules().items() if (found := rule(tree, name))}
    assert broken == {}


def test_files_and_functions_are_short() -> None:
    broken = [
        line
        for name, (tree, size) in _modules().items()
        for line in rules.too_long(tree, name, size)
    ]
    assert broken == []


CAUGHT: list[tuple[Rule, str, str]] = [
    (rules.upward_imports, "hosts.services", "from vpspanel.servers import models"),
    (rules.upward_imports, "hosts.virt.xml", "import hosts.models"),
    (rules.upward_imports, "vpspanel.events.services", "from vpspanel import accounts"),
    (rules.upward_imports, "vpspanel.actions.runner", "from hosts.virt import driver"),
    (rules.upward_imports, "vpspanel.actions.runner", "from ..servers import steps"),
    (rules.upward_imports, "vpspanel.billing.services", "import vpspanel.servers.models"),
    (rules.upward_imports, "vpspanel.servers.services", "from vpspanel.pages.forms import Order"),
    (rules.upward_imports, "vpspanel.errors", "from vpspanel.accounts.models import User"),
    (rules.upward_imports, "vpspanel.servers.models", "from vpspanel.settings import VAR_DIR"),
    (rules.upward_imports, "hosts.services", "if DEBUG:\n    from vpspanel import errors"),
    (rules.foreign_libvirt, "hosts.monitor", "import libvirt"),
    (rules.foreign_libvirt, "vpspanel.consoles.pump", "from libvirt import virConnect"),
    (rules.foreign_libvirt, "hosts.services", "def f():\n    import libvirt_qemu as q"),
    (rules.django_in_virt, "hosts.virt.driver", "from django.conf import settings"),
    (rules.services_using_steps, "vpspanel.servers.services", "from vpspanel.servers import steps"),
    (rules.services_using_steps, "vpspanel.servers.services", "from .steps_power import start"),
    (rules.imports_in_functions, "hosts.services", "def f():\n    from hosts import models"),
    (rules.imports_in_functions, "hosts.x", "class A:\n    async def f(self):\n        import os"),
    (rules.calls_of_locals, "vpspanel.pages.views", "render(request, 'x.html', locals())"),
    (rules.star_imports, "hosts.services", "from hosts.models import *"),
]


@pytest.mark.parametrize(("rule", "module", "source"), CAUGHT)
def test_the_rule_catches(rule: Rule, module: str, source: str) -> None:
    assert rule(ast.parse(source), module) != []


ALLOWED: list[tuple[str, str]] = [
    ("vpspanel.servers.steps", "from hosts.virt.driver import Driver"),
    ("vpspanel.pages.views", "from vpspanel.servers import services"),
    ("vpspanel.urls", "from vpspanel.pages import urls"),
    ("vpspanel.accounts.services", "from vpspanel.events.services import record"),
    ("vpspanel.accounts.services", "from vpspanel.errors import Refused"),
    ("vpspanel.events.actor", "if TYPE_CHECKING:\n    from vpspanel.accounts.models import User"),
    ("hosts.virt.libvirt", "from hosts.virt.errors import VirtError\nimport libvirt"),
]


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_points_down_is_allowed(module: str, source: str) -> None:
    tree = ast.parse(source)
    assert [found for rule in RULES for found in rule(tree, module)] == []


def test_long_files_and_functions_are_caught() -> None:
    source = "def f():\n" + "    x = 1\n" * 41
    assert len(rules.too_long(ast.parse(source), "m", 401)) == 2
    assert rules.too_long(ast.parse("def f():\n    return 1\n"), "m", 400) == []


# --- templates ------------------------------------------------------------------


def test_templates_carry_no_inline_code() -> None:
    broken = {
        path.relative_to(ROOT).as_posix(): found
        for path in sorted((ROOT / "templates").rglob("*.html"))
        if (found := rules.inline_code(path.read_text()))
    }
    assert broken == {}


@pytest.mark.parametrize(
    "html",
    [
        '<a onclick="go()">',
        "<body\n  onLoad=go()>",
        '<button {% if x %}disabled{% endif %} onclick="{{ y }}">',
        "<script>go()</script>",
        '<script type="module">go()</script>',
        "<style>a {}</style>",
        '<div style="width: {{ p }}%">',
        '<a href=" javascript:go()">',
        '<form hx-on:submit="go()">',
        '<p hx-on--after-request="go()">',
    ],
)
def test_inline_code_is_caught(html: str) -> None:
    assert rules.inline_code(html) != []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="{% static "js/app.js" %}" defer></script>',
        "{# onclick= in words #}<p>on = off</p>",
        '{% comment %}<a onclick="x">{% endcomment %}',
        '<script type="application/json" id="x">{}</script>',
        '<div data-on="1" class="on">style="x"</div>',
    ],
)
def test_plain_html_is_not_caught(html: str) -> None:
    assert rules.inline_code(html) == []


# --- the repository --------------------------------------------------------------


def test_no_secret_is_in_the_repository() -> None:
    broken = {}
    for path in _tracked_files():
        assert path.name not in {".env", "secret_key", "seal_key"}
        assert path.suffix not in {".sqlite3", ".pem", ".key"}
        if path.suffix not in TEXT or "vendor" in path.parts:
            continue
        if found := rules.secrets_in(path.read_text(errors="replace")):
            broken[path.relative_to(ROOT).as_posix()] = found
    assert broken == {}


def test_secrets_are_caught() -> None:
    body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n" * 4
    kind = "OPENSSH PRIVATE KEY"
    assert rules.secrets_in(f"-----BEGIN {kind}-----\n{body}-----END {kind}-----")
    assert rules.secrets_in("SECRET_" + 'KEY = "' + "abcdefgh" * 6 + '"')
    assert rules.secrets_in("SEAL_" + 'KEYS = ["' + "abcdefgh" * 6 + '"]')
    assert rules.secrets_in('SECRET_KEY = env("SECRET_KEY")') == []


def test_nothing_new_at_the_top_level() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in _tracked_files()}
    assert found - TOP_LEVEL == set()


def test_vendored_files_are_what_the_build_wrote() -> None:
    folder = ROOT / "static" / "vendor"
    listed = json.loads((folder / "VENDOR.json").read_text())["files"]
    assert {entry["file"] for entry in listed} | {"VENDOR.json"} == {
        path.name for path in folder.iterdir()
    }
    for entry in listed:
        found = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
        assert (entry["file"], found) == (entry["file"], entry["sha256"])
        assert all(part["version"] and part["licence"] for part in entry["made_from"])


def test_vendored_versions_are_those_that_the_lock_file_pins() -> None:
    packages = json.loads((ROOT / "deploy/vendor/package-lock.json").read_text())["packages"]
    listed = json.loads((ROOT / "static/vendor/VENDOR.json").read_text())["files"]
    for part in (part for entry in listed for part in entry["made_from"]):
        assert packages[f"node_modules/{part['name']}"]["version"] == part["version"]


def test_requirements_are_locked_by_hash_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        wanted = [line for line in text.splitlines() if "==" in line]
        assert len(wanted) > 30
        assert all(line.endswith("\\") for line in wanted), "a requirement without a hash"
        assert "://" not in text
        assert "--index" not in text


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    names = {re.split(r"[\[=]", line)[0] for line in direct}
    assert len(names) > 30
    assert {
        name for name in names if name not in reasons and not name.startswith("types-")
    } == set()
    packages = json.loads((ROOT / "deploy/vendor/package.json").read_text())
    for name in {**packages["dependencies"], **packages["devDependencies"]}:
        family = name.split("/addon-")[0]  # the terminal's addons have one reason
        assert family in reasons
