"""The shell on the simulated serial console, without a console around it."""

from __future__ import annotations

import time

import pytest

from hosts.virt.fake_shell import LABEL, FakeShell


@pytest.fixture
def shell() -> FakeShell:
    made = FakeShell("web1", booted_at=time.time() - 10)
    made.tick()
    made.feed(b"root\r")
    return made


def test_it_boots_in_steps_and_says_that_it_is_simulated() -> None:
    shell = FakeShell("web1", booted_at=time.time())
    assert LABEL.encode() in shell.tick()
    assert shell.feed(b"root\r") == b""  # nobody reads yet
    late = FakeShell("web1", booted_at=time.time() - 10)
    assert late.tick().endswith(b"web1 login: ")
    assert late.tick() == b""


def test_login_and_prompt() -> None:
    shell = FakeShell("web1", booted_at=0)
    shell.tick()
    assert shell.feed(b"alice\r").endswith(b"alice@web1:~$ ")
    assert shell.feed(b"\x04").endswith(b"web1 login: ")
    assert shell.feed(b"\r").endswith(b"web1 login: ")


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (b"uname -a\r", b"Linux web1 "),
        (b"hostname\r", b"\r\nweb1\r\n"),
        (b"whoami\n", b"\r\nroot\r\n"),
        (b"echo 'a  b' c\r", b"\r\na  b c\r\n"),
        (b"help\r", b"This shell is simulated"),
        (b"nonsense\r", b"nonsense: not found"),
        (b'echo "open\r', b'"open'),
    ],
)
def test_commands(shell: FakeShell, typed: bytes, answer: bytes) -> None:
    shown = shell.feed(typed)
    assert shown.startswith(typed.rstrip(b"\r\n"))
    assert answer in shown
    assert shown.endswith(b"root@web1:~# ")


def test_line_editing(shell: FakeShell) -> None:
    assert shell.feed("echö".encode()) == "echö".encode()
    assert shell.feed(b"\x7f") == b"\b \b"  # one character, though two bytes
    assert b"\r\nx\r\n" in shell.feed(b"o x\r")
    assert shell.feed(b"abc\x15") == b"abc" + b"\b \b" * 3
    assert shell.feed(b"\x1b[A\x1bOB") == b""  # arrow keys
    assert shell.feed(b"abc\x03") == b"abc^C\r\nroot@web1:~# "
    assert len(shell.feed(b"x" * 5000)) <= 1024


def test_yes_goes_on_until_ctrl_c(shell: FakeShell) -> None:
    shell.feed(b"yes no\r")
    assert shell.repeating == b"no\r\n"
    assert shell.feed(b"help\r") == b""
    assert shell.feed(b"\x03").endswith(b"# ")
    assert shell.repeating == b""


@pytest.mark.parametrize("command", ["poweroff", "reboot"])
def test_power_commands_are_left_to_the_console(shell: FakeShell, command: str) -> None:
    shell.feed(command.encode() + b"\rhelp\r")
    assert shell.request == command
    shell.reboot(booted_at=time.time() - 10)
    assert shell.request == ""
    assert shell.tick().endswith(b"web1 login: ")
