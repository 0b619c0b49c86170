"""The whole story on real QEMU: order, watch, type, stop, start, rebuild, delete; SSH by key.

The times are printed. The limits leave room for a machine that does much else.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from tests.e2e.whole_panel import WholePanel, whole_panel
from tests.hosts.images.guest import AFTER_THE_PROMPT
from tests.kvm import KvmHost, kvm_host

__all__ = ["kvm_host"]

pytestmark = [pytest.mark.kvm, pytest.mark.browser]

ROWS = "#terminal .xterm-rows"


@pytest.fixture(scope="session")
def image_cache() -> Path:
    """Built images are kept for the next run."""
    return Path(os.environ.get("VPSPANEL_IMAGES", settings.BASE_DIR / "var" / "images"))


@pytest.fixture(scope="module")
def panel(
    kvm_host: KvmHost, image_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WholePanel]:
    """A panel whose only host is the private one, with both images."""
    with whole_panel(
        tmp_path_factory.mktemp("panel"),
        uri=kvm_host.uri,
        pool=kvm_host.new_pool(),
        images=image_cache,
        images_wanted=("debian-12",),
    ) as panel:
        yield panel
        report = json.loads(panel.manage("audit", "--json"))
        assert report["findings"] == []


@pytest.fixture
def customer(page: Page, panel: WholePanel) -> Page:
    """The demo customer, signed in."""
    email, password = panel.login()
    page.goto(panel.origin)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Servers", exact=True)).to_be_visible()
    return page


def order(
    page: Page, panel: WholePanel, name: str, *, image: str, plan: str, key: str = ""
) -> float:
    """Fill in the form and click; seconds from the click to the server page."""
    page.goto(f"{panel.origin}/servers/order/")
    page.locator(f"input[data-plan='{plan}']").check(force=True)
    page.locator(f"input[data-image^='{image}']").check(force=True)
    page.get_by_label("Host name").fill(name)
    if key:
        page.get_by_label("New public key").fill(key)
    began = time.monotonic()
    page.locator("#order-submit").click()
    expect(page.locator("h1", has_text=name)).to_be_visible()
    return time.monotonic() - began


def wait_for_status(page: Page, word: str, seconds: float = 30) -> None:
    """The page says so by itself, without being loaded again."""
    expect(page.locator("#status")).to_have_text(word, timeout=seconds * 1000)


def press(page: Page, verb: str, confirm: str = "") -> None:
    """A button of the server page, and the button of its dialog."""
    if verb in ("power_off", "reset"):
        page.locator("#hard summary").click()
    page.locator(f"#{verb}").click()
    if confirm:
        page.get_by_role("button", name=confirm).click()


def rebuild(page: Page, image: str) -> None:
    """Through the dialog."""
    press(page, "rebuild")
    choice = page.locator("dialog select[name=image]")
    choice.select_option(value=choice.locator("option", has_text=image).get_attribute("value"))
    page.locator("dialog input[name=understood]").check()
    page.get_by_role("button", name="Erase and rebuild").click()
    expect(page.locator("#status")).to_have_text("Rebuilding")


def delete(page: Page, name: str) -> None:
    """Through the dialog, which wants the name."""
    press(page, "delete")
    page.locator("dialog input[name=name]").fill(name)
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("body")).to_contain_text("was deleted", timeout=30_000)


def ssh(kvm_host: KvmHost, key: Path, address: str, command: str, seconds: float = 90) -> str:
    """What `command` prints in the guest, over SSH from its host; tried until it answers."""
    until = time.monotonic() + seconds
    options = [
        *("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"),
        *("ConnectTimeout=5", "LogLevel=ERROR"),
    ]
    line = ["ssh", "-i", str(key), *(f"-o{option}" for option in options), f"root@{address}"]
    while time.monotonic() < until:
        with contextlib.suppress(subprocess.CalledProcessError):
            return kvm_host.exec(*line, command)
        time.sleep(1)
    raise AssertionError(f"{address} does not answer to SSH within {seconds} s")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh key pair; the public half lies beside it."""
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def addresses(page: Page) -> list[str]:
    """What the server page shows: IPv4 and IPv6."""
    return [
        page.locator("dt", has_text=family).locator("+ dd > code").inner_text()
        for family in ("IPv4", "IPv6")
    ]


def open_console(page: Page) -> Page:
    """The console's page, connected, with an Enter pressed so that a waiting prompt shows again."""
    with page.context.expect_page() as opened:
        page.locator("#console").click()
    console = opened.value
    expect(console.locator("#connection")).to_have_text("Connected")
    console.keyboard.press("Enter")
    return console


def log_in(console: Page, password: str, prompt: str = "#") -> None:
    """As root, at a login prompt; then the shell's.

    On a busy machine login may drop even what was typed well after its prompt: it is typed again.
    """
    console.keyboard.type("root\n")
    expect(console.locator(ROWS)).to_contain_text("Password:", timeout=60_000)
    console.wait_for_timeout(AFTER_THE_PROMPT * 1000)
    with contextlib.suppress(AssertionError):
        console.keyboard.type(f"{password}\n")
        expect(console.locator(ROWS)).to_contain_text(prompt, timeout=25_000)
        return
    console.keyboard.type(f"{password}\n")
    expect(console.locator(ROWS)).to_contain_text(prompt, timeout=60_000)


def reveal(page: Page) -> str:
    """The root password, which the page shows once."""
    page.locator("#reveal").click()
    password = page.locator("#root-password").inner_text()
    page.get_by_role("link", name="I have it").click()
    return password


def new_password(page: Page) -> str:
    """Asked for on the page, until the guest agent has set it at once."""
    for asked in (1, 2, 3):
        press(page, "reset_password", "Set a new password")
        done = page.get_by_text("The root password was reset")
        expect(done).to_have_count(asked, timeout=60_000)
        if page.get_by_text("The new root password is set").count():
            return reveal(page)
    raise AssertionError("the guest agent does not answer")


def test_from_an_order_to_a_root_prompt_and_back(customer: Page, panel: WholePanel) -> None:
    page = customer
    to_page = order(page, panel, "story", image="Tiny", plan="Nano")
    began = time.monotonic()
    wait_for_status(page, "Running")
    to_running = time.monotonic() - began
    password = reveal(page)

    console = open_console(page)
    expect(console.locator(ROWS)).to_contain_text("story login:", timeout=90_000)
    to_login = time.monotonic() - began
    log_in(console, password)
    console.keyboard.type("uname -a\n")
    expect(console.locator(ROWS)).to_contain_text("Linux story", timeout=60_000)
    console.close()
    print(
        f"click to page {to_page:.2f} s, to running {to_running:.2f} s, to login {to_login:.2f} s"
    )

    press(page, "power_off", "Power off")
    wait_for_status(page, "Off")
    press(page, "power_on")
    wait_for_status(page, "Running")
    before = addresses(page)
    rebuild(page, "Tiny")
    wait_for_status(page, "Running", 60)
    assert addresses(page) == before
    delete(page, "story")


def test_debian_with_a_key_then_rebuilt_with_another_image(
    customer: Page, panel: WholePanel, kvm_host: KvmHost, key: Path
) -> None:
    page = customer
    to_page = order(
        page, panel, "keyed", image="Debian", plan="Micro", key=key.with_suffix(".pub").read_text()
    )
    began = time.monotonic()
    wait_for_status(page, "Running", 90)
    to_running = time.monotonic() - began
    console = open_console(page)
    expect(console.locator(ROWS)).to_contain_text("keyed login:", timeout=240_000)
    to_login = time.monotonic() - began
    ipv4, ipv6 = addresses(page)
    release = ssh(kvm_host, key, ipv4, "cat /etc/os-release && hostname", seconds=240)
    print(
        f"Debian 12: click to page {to_page:.2f} s, to running {to_running:.1f} s, "
        f"to login {to_login:.0f} s, SSH {time.monotonic() - began:.0f} s"
    )
    assert "bookworm" in release
    assert release.endswith("keyed\n")

    ssh(kvm_host, key, ipv4, "systemctl is-active qemu-guest-agent", seconds=120)
    password = new_password(page)
    console.keyboard.press("Enter")  # cloud-init's last words may have pushed the prompt away
    log_in(console, password, "root@keyed:~#")
    console.close()
    press(page, "shutdown")
    wait_for_status(page, "Off", 90)

    rebuild(page, "Tiny")
    wait_for_status(page, "Running", 60)
    assert addresses(page) == [ipv4, ipv6]
    for address in (ipv4, ipv6):
        assert "Linux keyed" in ssh(kvm_host, key, address, "uname -a")
    delete(page, "keyed")
