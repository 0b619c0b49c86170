"""What the settings refuse, make up and promise. Each case is a process of its own."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from vpspanel import environment
from vpspanel.environment import Mode

Run = Callable[..., "subprocess.CompletedProcess[str]"]
GOOD = {
    "VPSPANEL_ENV": "production",
    "ALLOWED_HOSTS": "panel.example.com",
    "SECRET_KEY": "x9-" + "abcdefghijklmnopqrstuvwxyz" * 2,
    "SEAL_KEYS": base64.urlsafe_b64encode(b"s" * 32).decode(),
    "EMAIL_URL": "smtp+tls://panel:secret@mail.example.com:587",
}
READ = (
    "import json; from django.conf import settings as s; "
    "print(json.dumps({n: str(getattr(s, n, None)) for n in "
    "('DEBUG', 'SECRET_KEY', 'SEAL_KEYS', 'ALLOWED_HOSTS', 'DATABASES', 'EMAIL_BACKEND', "
    "'SESSION_COOKIE_SECURE', 'SILENCED_SYSTEM_CHECKS')}))"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Python with the panel's settings and nothing else in the environment."""

    def call(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env={
                **keep,
                "DJANGO_SETTINGS_MODULE": "vpspanel.settings",
                "VPSPANEL_VAR": str(tmp_path / "var"),
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def _read(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    values: dict[str, str] = json.loads(done.stdout)
    return values


def test_check_deploy_is_clean_in_production_with_nothing_silenced(run: Run) -> None:
    done = run("manage.py", "check", "--deploy", "--fail-level", "INFO", **GOOD)
    assert (done.returncode, done.stdout) == (
        0,
        "System check identified no issues (0 silenced).\n",
    ), done.stderr
    assert _read(run("-c", READ, **GOOD))["SILENCED_SYSTEM_CHECKS"] == "[]"


REFUSED = {
    "debug": ({"DEBUG": "1"}, "DEBUG is on"),
    "no host": ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS must name"),
    "any host": ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS must name"),
    "short key": ({"SECRET_KEY": "abcdefgh"}, "SECRET_KEY is weak"),
    "dull key": ({"SECRET_KEY": "ab" * 40}, "SECRET_KEY is weak"),
    "sample key": ({"SECRET_KEY": "django-insecure-" + "abcdefgh" * 8}, "SECRET_KEY is weak"),
    "no key": ({"SECRET_KEY": ""}, "No key to sign sessions with"),
    "no sealing key": ({"SEAL_KEYS": ""}, "No key to seal stored secrets"),
    "short sealing key": ({"SEAL_KEYS": "YWJj"}, "must be 32 bytes"),
    "no mail server": ({"EMAIL_URL": ""}, "EMAIL_URL must name"),
    "mail in the log": ({"EMAIL_URL": "consolemail://"}, "EMAIL_URL must name"),
    "unknown mode": ({"VPSPANEL_ENV": "live"}, "VPSPANEL_ENV must be"),
    "unknown driver": ({"VPSPANEL_DRIVER": "xen"}, "VPSPANEL_DRIVER must be"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_production_does_not_start_with(run: Run, change: dict[str, str], said: str) -> None:
    done = run("manage.py", "check", **{**GOOD, **change})
    assert done.returncode != 0
    assert said in done.stderr


def test_one_start_tells_all_that_is_wrong(run: Run) -> None:
    bad = {"DEBUG": "1", "ALLOWED_HOSTS": "*", "SECRET_KEY": "weak"}
    done = run("manage.py", "check", **{**GOOD, **bad})
    for said in ("DEBUG is on", "ALLOWED_HOSTS must", "SECRET_KEY is weak"):
        assert said in done.stderr


def test_production_starts_with_keys_from_files(run: Run, tmp_path: Path) -> None:
    var = tmp_path / "var"
    var.mkdir()
    (var / "secret_key").write_text(GOOD["SECRET_KEY"] + "\n")
    (var / "seal_key").write_text(GOOD["SEAL_KEYS"] + "\n")
    values = _read(run("-c", READ, **{**GOOD, "SECRET_KEY": "", "SEAL_KEYS": ""}))
    assert values["SECRET_KEY"] == GOOD["SECRET_KEY"]
    assert values["SEAL_KEYS"] == str([GOOD["SEAL_KEYS"]])


def test_the_first_start_makes_keys_that_stay(run: Run, tmp_path: Path) -> None:
    first, second = _read(run("-c", READ)), _read(run("-c", READ))
    assert len(first["SECRET_KEY"]) >= environment.WEAK_KEY_LENGTH
    assert first["SECRET_KEY"] == second["SECRET_KEY"]
    assert first["SEAL_KEYS"] == second["SEAL_KEYS"]
    assert first["SECRET_KEY"] not in first["SEAL_KEYS"]
    var = tmp_path / "var"
    assert stat.S_IMODE(var.stat().st_mode) == 0o700
    for name in ("secret_key", "seal_key"):
        assert stat.S_IMODE((var / name).stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "var" / "key"
    code = f"from vpspanel.environment import *; print(read_or_create_key(Path({str(path)!r}), 32))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    keys = {process.communicate()[0].strip() for process in started}
    assert keys == {path.read_text()}
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_defaults_are_safe_on_a_laptop(run: Run, tmp_path: Path) -> None:
    values = _read(run("-c", READ))
    assert values["DEBUG"] == "False"
    assert "*" not in values["ALLOWED_HOSTS"]
    assert "'127.0.0.1'" in values["ALLOWED_HOSTS"]
    assert "console" in values["EMAIL_BACKEND"]
    assert str(tmp_path / "var" / "db.sqlite3") in values["DATABASES"]
    assert "IMMEDIATE" in values["DATABASES"]


def test_postgresql_gets_a_pool_and_no_lasting_connections(run: Run) -> None:
    values = _read(run("-c", READ, DATABASE_URL="postgres://u@db.example.com:5432/panel"))
    assert "'CONN_MAX_AGE': 0" in values["DATABASES"]
    assert "'pool'" in values["DATABASES"]
    assert "transaction_mode" not in values["DATABASES"]


def test_the_key_of_this_test_run_is_not_the_repository_s(tmp_path: Path) -> None:
    made = environment.signing_key(tmp_path, Mode.TEST)
    assert made == (tmp_path / "secret_key").read_text()
    assert str(settings.BASE_DIR) not in str(settings.VAR_DIR)


@pytest.mark.django_db
def test_sqlite_is_opened_for_several_writers() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)
        cursor.execute("PRAGMA synchronous")
        assert cursor.fetchone() == (1,)  # NORMAL
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (20_000,)  # ms


def test_logs_are_json_where_that_is_asked_for(run: Run) -> None:
    code = (
        "import django; django.setup(); import logging; "
        "logging.getLogger('a').warning('hello', extra={'server': 7})"
    )
    line = json.loads(run("-c", code, LOG_FORMAT="json").stderr)
    assert (line["event"], line["level"], line["server"]) == ("hello", "warning", 7)
    assert line["timestamp"].endswith("Z")


def test_no_log_shows_what_variables_hold(run: Run) -> None:
    """structlog prints them wherever a package for colourful tracebacks is installed."""
    code = (
        "from structlog import dev\n"
        "def leak(out, info): out.write(f'ZeroDivisionError {info[2].tb_frame.f_locals}')\n"
        "make = dev.ConsoleRenderer.__init__\n"
        "make.__defaults__ = tuple(\n"
        "    leak if value is dev.plain_traceback else value for value in make.__defaults__)\n"
        "dev.default_exception_formatter = dev.default_monochrome_exception_formatter = leak\n"
        "import django; django.setup(); import logging\n"
        "def sign_in(password):\n"
        "    try: 1 / 0\n"
        "    except ZeroDivisionError: logging.exception('no')\n"
        "sign_in('correct' + 'horse')"
    )
    for style in ("human", "json"):
        said = run("-c", code, LOG_FORMAT=style).stderr
        assert "ZeroDivisionError" in said
        assert "correcthorse" not in said


def test_the_panel_loads_without_libvirt(run: Run) -> None:
    code = (
        "import sys; sys.modules['libvirt'] = None; sys.modules['libvirt_qemu'] = None; "
        "import vpspanel.asgi; from django.core.management import call_command, get_commands; "
        "from importlib import import_module; "
        "[import_module(f'{app}.management.commands.{name}') for name, app in "
        "get_commands().items() if str(app).startswith(('vpspanel', 'hosts'))]"
    )
    done = run("-c", code, VPSPANEL_DRIVER="fake")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_production_serves_hashed_and_compressed_files(run: Run, tmp_path: Path) -> None:
    done = run("manage.py", "collectstatic", "--no-input", "-v0", **GOOD)
    assert done.returncode == 0, done.stderr
    collected = tmp_path / "var" / "static"
    names = json.loads((collected / "staticfiles.json").read_text())["paths"]
    hashed = collected / names["vendor/tabler.min.css"]
    assert hashed.name != "tabler.min.css"
    packed = hashed.with_name(hashed.name + ".br")
    assert packed.stat().st_size < hashed.stat().st_size / 4


def test_every_variable_is_explained() -> None:
    folder: Path = settings.BASE_DIR
    explained = (folder / "docs" / "settings.md").read_text()
    read = re.compile(
        r"""env\.\w+\(\s*"([A-Z_]+)"|environ\.get\("([A-Z_]+)"|environ\["([A-Z_]+)"\]"""
    )
    for name in ("vpspanel/settings.py", "vpspanel/environment.py", "vpspanel/web.py"):
        found = {"".join(groups) for groups in read.findall((folder / name).read_text())}
        assert {variable for variable in found if f"`{variable}`" not in explained} == set(), name
