"""The rules of the house, as functions from source text to a list of what breaks them.

They read syntax trees, so no spelling of an import gets past them.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from html.parser import HTMLParser

# From top to bottom. A package may import itself and what stands below it.
SHOP = (
    "vpspanel.pages",
    "vpspanel.api",
    "vpspanel.consoles",
    "vpspanel.networks",
    "vpspanel.servers",
    "vpspanel.billing",
    "vpspanel.actions",
    "vpspanel.webhooks",
    "vpspanel.accounts",
    "vpspanel.events",
)
# Single modules that know no app: everybody in the shop may use them.
GROUND = {
    "vpspanel.errors",
    "vpspanel.labels",
    "vpspanel.sealing",
    "vpspanel.environment",
    "vpspanel.logs",
    "vpspanel.kept",
}
# Those who may talk to the machine room; billing, actions and below know no host.
MAY_USE_HOSTS = set(SHOP[: SHOP.index("vpspanel.servers") + 1])
LIBVIRT = {"libvirt", "libvirt_qemu", "libvirt_lxc", "libvirtmod", "libvirtaio"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 40  # lines

Tree = ast.Module


def module_name(path: str) -> str:
    """`hosts/virt/xml.py` -> `hosts.virt.xml`."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def imports(tree: Tree, module: str) -> Iterator[str]:
    """Every module that is imported anywhere in the tree, by full name.

    `from a import b` gives `a` and `a.b`, for b may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, base]).strip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


class _AtRunTime(ast.NodeTransformer):
    """Drops `if TYPE_CHECKING:` blocks: what only the type checker reads ties nothing together."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """The node, unless it is such a block."""
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
        return None if name == "TYPE_CHECKING" else self.generic_visit(node)


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _app_of(module: str) -> str | None:
    return next((app for app in SHOP if _inside(module, app)), None)


def upward_imports(tree: Tree, module: str) -> list[str]:
    """Imports that point up or sideways, of those that are carried out."""
    at_run_time = _AtRunTime().visit(copy.deepcopy(tree))
    return [name for name in imports(at_run_time, module) if not _may_import(module, name)]


def _may_import(module: str, name: str) -> bool:
    if not (_inside(name, "vpspanel") or _inside(name, "hosts")):
        return True
    app = _app_of(module)
    if _inside(module, "hosts.virt"):
        return _inside(name, "hosts.virt") or name == "hosts"
    if _inside(module, "hosts"):
        return _inside(name, "hosts")
    if _inside(name, "hosts"):
        return app in MAY_USE_HOSTS or (app is None and module not in GROUND)
    if module in GROUND:
        return name == "vpspanel" or any(_inside(name, ground) for ground in GROUND)
    if app is None:
        return True  # settings, urls, asgi, serve …: they put everything together
    target = _app_of(name)
    if target is None:
        return name == "vpspanel" or any(_inside(name, ground) for ground in GROUND)
    return SHOP.index(target) >= SHOP.index(app)


def foreign_libvirt(tree: Tree, module: str) -> list[str]:
    """Imports of libvirt outside the folder that is there for it."""
    if _inside(module, "hosts.virt"):
        return []
    return [name for name in imports(tree, module) if name.split(".")[0] in LIBVIRT]


def django_in_virt(tree: Tree, module: str) -> list[str]:
    """Imports of Django in the folder that must work without it."""
    if not _inside(module, "hosts.virt"):
        return []
    return [name for name in imports(tree, module) if name.split(".")[0] == "django"]


def services_using_steps(tree: Tree, module: str) -> list[str]:
    """Service modules that import steps: a service inserts an action, the worker runs steps."""
    if not module.rsplit(".", 1)[-1].startswith("services"):
        return []
    return [
        name
        for name in imports(tree, module)
        if any(part.startswith("steps") for part in name.split("."))
    ]


def imports_in_functions(tree: Tree, module: str) -> list[str]:
    """Imports hidden in a function: they hide a circle."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [
                f"{module}:{inner.lineno} in {node.name}"
                for inner in ast.walk(node)
                if isinstance(inner, ast.Import | ast.ImportFrom)
            ]
    return found


def calls_of_locals(tree: Tree, module: str) -> list[str]:
    """`locals()`: nobody can tell what a template gets from it."""
    return [
        f"{module}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "locals"
    ]


def star_imports(tree: Tree, module: str) -> list[str]:
    """`from x import *`: nobody can tell where a name comes from."""
    return [
        f"{module}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]


def too_long(tree: Tree, module: str, lines: int) -> list[str]:
    """Files and functions that want to be split by subject."""
    found = [f"{module}: {lines} lines"] if lines > LONGEST_FILE else []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None and len(node.body) > 1:
                first = node.body[1]  # an explained contract is not length
            length = (node.end_lineno or node.lineno) - first.lineno + 2
            if length > LONGEST_FUNCTION:
                found.append(f"{module}:{node.lineno} {node.name}: {length} lines")
    return found


class _Inline(HTMLParser):
    """Collects what a strict Content-Security-Policy would silently drop."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        where = f"line {self.getpos()[0]}: <{tag}>"
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.found.append(f"{where} without src")
        if tag == "style" and "nonce" not in given:
            self.found.append(f"{where} in a page")
        for name, value in attrs:
            if name.startswith(("on", "hx-on")):
                self.found.append(f"{where} {name}=")
            if name == "style":
                self.found.append(f"{where} style=")
            if (value or "").strip().lower().startswith(("javascript:", "js:")):
                self.found.append(f"{where} {name}=javascript:")


def inline_code(template: str) -> list[str]:
    """Inline scripts, event handlers and styles in a template."""
    plain = re.sub(r"\{#.*?#\}", "", template)
    plain = re.sub(
        r"\{% comment.*?endcomment %\}", lambda m: "\n" * m[0].count("\n"), plain, flags=re.DOTALL
    )
    # What a tag prints is not known here; a letter keeps the HTML around it whole.
    plain = re.sub(r"\{\{.*?\}\}", "x", plain, flags=re.DOTALL)
    plain = re.sub(r"\{%.*?%\}", lambda m: " " + "\n" * m[0].count("\n"), plain, flags=re.DOTALL)
    parser = _Inline()
    parser.feed(plain)
    return parser.found


PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*(?:[A-Za-z0-9+/=]{30,}\s+){3,}")
KEY_SETTING = re.compile(
    r"""(?:SECRET_KEY|SEAL_KEYS?)["']?\s*[:=]\s*\[?\s*["'][A-Za-z0-9+/=_-]{24,}"""
)


def secrets_in(text: str) -> list[str]:
    """Private keys and set keys in a file."""
    return [
        match[0][:40] + "…"
        for pattern in (PRIVATE_KEY, KEY_SETTING)
        for match in pattern.finditer(text)
    ]
