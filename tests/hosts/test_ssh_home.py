"""The panel's own key and confirmed host keys, and what libvirt is told of them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.virt import ssh
from hosts.virt import uri as uris
from hosts.virt.errors import HostUnreachable, WrongHost
from hosts.virt.ssh import Home, place_of
from hosts.virt.translate import unreachable
from hosts.virt.tunnel import Address, _options
from hosts.virt.uri import openable


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    before = ssh.home()
    assert before is not None
    ssh.use(tmp_path / "a home" / "ssh")
    made = ssh.home()
    assert made is not None
    yield made
    ssh.use(before.directory)


def test_the_key_is_made_once_and_is_the_panels_alone(home: Home) -> None:
    threads = [threading.Thread(target=home.prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    key = home.key.read_bytes()
    assert home.public_key().startswith("ssh-ed25519 ")
    home.prepare()
    assert home.key.read_bytes() == key
    assert home.key.stat().st_mode & 0o777 == 0o600
    assert home.directory.stat().st_mode & 0o777 == 0o700
    files = {file.name for file in home.directory.iterdir()}
    assert files == {"id_ed25519", "known_hosts", "ssh"}


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("qemu:///system", "qemu:///system"),
        ("test:///default", "test:///default"),
        ("qemu+ssh://h/system?keyfile=/k", "qemu+ssh://h/system?keyfile=/k&no_tty=1"),
        ("qemu+ssh://h/system?command=/x&no_tty=0", "qemu+ssh://h/system?command=/x&no_tty=0"),
        ("qemu+libssh2://h/system", "qemu+libssh2://h/system?no_tty=1"),
    ],
)
def test_an_address_that_says_how_goes_its_own_way(home: Home, uri: str, opened: str) -> None:
    assert openable(uri) == opened
    assert not home.key.exists()


def test_other_addresses_use_the_panels_key_and_never_ask(home: Home) -> None:
    opened = openable("qemu+ssh://root@h/system")
    command = str(home.command).replace(" ", "%20")
    assert opened == f"qemu+ssh://root@h/system?command={command}&no_tty=1"


def test_the_command_takes_nothing_from_the_user_who_runs_it(home: Home) -> None:
    home.prepare()
    shown = subprocess.run(
        [home.command, "-G", "somewhere"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    settings = dict(line.split(" ", 1) for line in shown if " " in line)
    assert settings["stricthostkeychecking"] == "true"
    assert settings["userknownhostsfile"].strip('"') == str(home.known_hosts)
    assert settings["globalknownhostsfile"] == "none"
    assert settings["identityfile"] == str(home.key)
    assert settings["identityagent"] == "none"


def test_screens_use_the_same_key(home: Home) -> None:
    uri = "qemu+ssh://root@h/system"
    options = _options(Address("h", None, "root", None, None), uri)
    assert options["client_keys"] == [str(home.key)]
    assert options["known_hosts"] == str(home.known_hosts)
    assert options["config"] is None


def test_host_keys_are_replaced_as_a_whole(home: Home) -> None:
    home.trust(["b ssh-ed25519 B", "a ssh-ed25519 A"])
    assert home.known_hosts.read_text() == "a ssh-ed25519 A\nb ssh-ed25519 B\n"
    home.trust([])
    assert home.known_hosts.read_text() == ""


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("qemu+ssh://root@10.0.0.7/system", "10.0.0.7"),
        ("qemu+ssh://root@10.0.0.7:22/system", "10.0.0.7"),
        ("qemu+ssh://kvm1.example:2222/system", "[kvm1.example]:2222"),
        ("qemu+ssh://[2001:db8::1]/system", "2001:db8::1"),
    ],
)
def test_places_are_named_as_known_hosts_names_them(uri: str, place: str) -> None:
    assert place_of(uri) == place


def test_hosts_over_tls_get_the_certificates_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(uris._certificates, "directory", tmp_path)
    assert openable("qemu+tls://h/system") == f"qemu+tls://h/system?pkipath={tmp_path}"
    own = "qemu+tls://h/system?pkipath=/own"
    assert openable(own) == own


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Cannot recv data: Host key verification failed.: Connection reset by peer", WrongHost),
        ("authentication failed: Failed to verify peer's certificate", WrongHost),
        ("Certificate [session] owner does not match the hostname kvm1", WrongHost),
        ("Cannot recv data: Permission denied (publickey).", HostUnreachable),
    ],
)
def test_somebody_else_is_told_from_nobody(said: str, kind: type[HostUnreachable]) -> None:
    assert type(unreachable("qemu+ssh://h/system", said)) is kind
