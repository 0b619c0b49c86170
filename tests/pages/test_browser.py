"""The pages in a real browser: live, in dialogs, without scripts, for everybody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.consoles.panel import Browser as Session
from tests.consoles.panel import Panel, running
from tests.pages.test_doors import KEY
from tests.servers.test_isos import make_iso
from tests.world import World, make_plan, make_world, work
from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.services import add_ssh_key
from vpspanel.accounts.token_services import create_token
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.isos import attach_iso
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.snapshots import create_image

pytestmark = [pytest.mark.browser]

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def panel(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """One for all tests: they differ in their people and servers."""
    with running(tmp_path_factory.mktemp("pages")) as started:
        yield started


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


@pytest.fixture
def visit(panel: Panel, browser: Browser) -> Iterator[Open]:
    """Opens a page as somebody; whatever the browser complains about fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(address: str, who: Actor, **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        assert who.user is not None
        key = Session(panel, who.user).session_key
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": panel.origin}]
        )
        page = context.new_page()
        page.on(
            "console",
            lambda said: complaints.append(said.text) if _bad(said.type, said.text) else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{panel.origin}{address}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _bad(kind: str, text: str) -> bool:
    # Chromium calls the answers to a form with a mistake and to a wrong address failed resources.
    # It drops what it fetches when a network card comes or goes: those of other tests' hosts do.
    harmless = ("422", "404", "WebSocket", "ERR_NETWORK_CHANGED")
    return kind in ("error", "warning") and not any(word in text for word in harmless)


def test_an_order_is_watched_while_it_is_built(world: World, visit: Open) -> None:
    page = visit("/servers/order/", world.alice)
    page.get_by_label("Host name").fill("web-1")
    expect(page.locator("[data-summary=month]")).to_have_text("€3.00")
    expect(page.locator("[data-summary=name]")).to_have_text("web-1")
    page.locator("#order-submit").click()
    expect(page.locator("#status")).to_have_text("Being created")
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    page.evaluate("window.sameDocument = true")
    work()
    expect(page.locator("#status")).to_have_text("Running")
    assert page.evaluate("window.sameDocument") is True


def test_what_happens_elsewhere_shows_by_itself(world: World, visit: Open) -> None:
    server = world.running()
    page = visit(f"/servers/{server.pk}/", world.bob)
    listed = visit("/servers/", world.alice)
    for opened in (page, listed):
        expect(opened.locator("#live-mark")).to_have_attribute("data-state", "live")
    Server.objects.filter(pk=server.pk).update(power_seen=PowerSeen.OFF)
    record_event("server.power", "It was powered off", resource=("server", server.pk))
    expect(page.locator("#status")).to_have_text("Off")
    expect(page.get_by_text("It was powered off")).to_be_visible()
    expect(listed.locator(".status")).to_have_text("Off")


def test_the_focus_and_an_open_menu_survive_a_change(world: World, visit: Open) -> None:
    server = world.running()
    page = visit(f"/servers/{server.pk}/", world.alice)
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    page.locator("#hard summary").click()
    page.locator("#rename").focus()
    record_event("server.note", "Something new", resource=("server", server.pk))
    expect(page.get_by_text("Something new")).to_be_visible()
    expect(page.locator("#rename")).to_be_focused()
    expect(page.locator("#hard")).to_have_attribute("open", "")


def test_without_the_socket_it_polls(world: World, visit: Open) -> None:
    server = world.running()
    page = visit("/servers/", world.alice)
    page.route_web_socket("**/ws/events/**", lambda socket: socket.close())
    page.goto(page.url.replace("/servers/", f"/servers/{server.pk}/"))
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "polling")
    Server.objects.filter(pk=server.pk).update(power_seen=PowerSeen.OFF)
    expect(page.locator("#status")).to_have_text("Off", timeout=8000)


def test_who_signed_out_in_another_tab_is_sent_to_sign_in(world: World, visit: Open) -> None:
    server = world.running()
    page = visit(f"/servers/{server.pk}/", world.alice)
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    page.context.clear_cookies()
    record_event("server.note", "Something new", resource=("server", server.pk))
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=8000)


def test_deleting_in_a_dialog(world: World, visit: Open) -> None:
    server = world.running()
    page = visit(f"/servers/{server.pk}/", world.alice)
    page.locator("#delete").click()
    dialog = page.locator("dialog")
    expect(dialog.get_by_role("heading", name="Delete web?")).to_be_visible()
    expect(page.get_by_label("Type its name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#delete")).to_be_focused()
    page.locator("#delete").click()
    page.get_by_label("Type its name").fill("wbe")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(dialog.get_by_text("This is not the name")).to_be_visible()
    page.get_by_label("Type its name").fill("web")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#status")).to_have_text("Being deleted")
    expect(page.get_by_text("web is being deleted.")).to_be_visible()
    work()
    expect(page.get_by_text("This server was deleted")).to_be_visible()


def test_the_password_is_shown_once_and_copied(world: World, visit: Open, panel: Panel) -> None:
    server = world.running()
    page = visit(
        f"/servers/{server.pk}/", world.alice, permissions=["clipboard-read", "clipboard-write"]
    )
    page.locator("#reveal").click()
    password = page.locator("#root-password").inner_text()
    page.locator("#copy-password").click()
    assert page.evaluate("navigator.clipboard.readText()") == password
    page.get_by_role("link", name="I have it").click()
    expect(page.locator("#root-password")).to_have_count(0)  # a closed dialog is emptied after that
    assert password not in page.content()
    page.reload()
    expect(page.locator("#reveal")).to_have_count(0)


def test_addresses_are_copied_as_they_are(world: World, visit: Open) -> None:
    server = world.running()
    page = visit("/servers/", world.alice, permissions=["clipboard-read", "clipboard-write"])
    address = server.primary_ips.get(address__family=4).address.address
    page.get_by_role("button", name=f"Copy {address}").click()
    assert page.evaluate("navigator.clipboard.readText()") == address


def test_the_filter_answers_while_typing(world: World, visit: Open) -> None:
    world.running("alpha")
    world.running("beta")
    page = visit("/servers/", world.alice)
    page.keyboard.press("/")
    page.keyboard.type("bet")
    expect(page.locator(".server-name")).to_have_text(["beta"])
    expect(page.locator("#search")).to_be_focused()
    expect(page).to_have_url(re.compile(r"\?q=bet$"))
    expect(page.locator("#live-mark")).to_have_attribute("data-state", "live")
    Server.objects.filter(name="beta").update(power_seen=PowerSeen.OFF)
    record_event("server.power", "Off", resource=("server", Server.objects.get(name="beta").pk))
    expect(page.locator(".status")).to_have_text(["Off"])


def test_two_clicks_order_one_server(world: World, visit: Open) -> None:
    page = visit("/servers/order/", world.alice)
    page.locator("#order-submit").dblclick()
    expect(page.locator("#status")).to_be_visible()
    assert Server.objects.count() == 1


def test_the_whole_life_without_scripts(world: World, visit: Open) -> None:
    page = visit("/servers/order/", world.alice, java_script_enabled=False)
    page.get_by_label("Host name").fill("plain")
    page.get_by_role("button", name="Order and build").click()
    expect(page.locator("#status")).to_have_text("Being created")
    work()
    page.reload()
    expect(page.locator("#status")).to_have_text("Running")
    page.locator("#hard summary").click()
    page.get_by_role("link", name="Power off").click()
    page.get_by_role("button", name="Power off").click()
    work()
    page.reload()
    expect(page.locator("#status")).to_have_text("Off")
    page.get_by_role("button", name="Start").click()
    work()
    page.reload()
    page.get_by_role("button", name="Show it").click()
    expect(page.locator("#root-password")).to_have_text(re.compile(r"\S{16,}"))
    page.get_by_role("link", name="I have it").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_label("Type its name").fill("plain")
    page.get_by_role("button", name="Delete for good").click()
    work()
    page.reload()
    expect(page.get_by_text("This server was deleted")).to_be_visible()
    assert Server.objects.get().lifecycle == Lifecycle.DELETED


def test_the_appearance_is_remembered(world: World, visit: Open) -> None:
    page = visit("/servers/", world.alice, color_scheme="dark")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.get_by_title("Account and appearance").click()
    page.get_by_role("button", name="Light").click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_use_the_pages(
    world: World, visit: Open, panel: Panel, scheme: str, width: int
) -> None:
    """No finding of axe, and nothing wider than the screen."""
    server = world.running()
    stopped, image_pk = snapshotted(world)
    building = world.order("building").server
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    page = visit("/", world.alice, color_scheme=scheme, viewport={"width": width, "height": 800})
    addresses = ["/servers/", "/servers/order/", "/keys/", "/keys/add/", "/accounts/email/"]
    addresses += [f"/servers/{server.pk}/{part}" for part in ("", "rebuild/", "delete/", "rename/")]
    addresses += [f"/servers/{building.pk}/", "/accounts/password/change/"]
    addresses += [f"/keys/{key.pk}/delete/", "/nothing/", "/snapshots/", "/tokens/add/"]
    token = create_token(world.alice, project=world.project, name="ci", may_write=True).token
    addresses += ["/tokens/", f"/tokens/{token.pk}/change/"]
    addresses += [f"/snapshots/{image_pk}/{part}/" for part in ("delete", "change_protection")]
    addresses += [
        f"/servers/{stopped.pk}/{part}"
        for part in (
            *("", "change_type/", "create_image/", "enable_rescue/", "disable_rescue/"),
            *("attach_iso/", "detach_iso/"),
        )
    ]
    for address in addresses:
        page.goto(f"{panel.origin}{address}")
        expect(page.locator("main")).to_be_visible()
        found = [
            (violation["id"], [node["html"][:150] for node in violation["nodes"]])
            for violation in Axe().run(page).response["violations"]
        ]
        assert found == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def snapshotted(world: World) -> tuple[Server, int]:
    """A server that is off, with a snapshot and a rescue to come."""
    make_plan(world, "huge", vcpus=65, memory_mib=512, disk_gib=3)
    server = world.stopped("stopped")
    snapshot = create_image(world.alice, server.pk, description="before the upgrade")
    work()
    attach_iso(world.alice, server.pk, make_iso())
    work()
    enable_rescue(world.alice, server.pk)
    work()
    return server, snapshot.image.pk


def test_a_rescue_in_dialogs(world: World, visit: Open) -> None:
    server = world.running()
    page = visit(f"/servers/{server.pk}/", world.alice)
    page.locator("#enable_rescue").click()
    page.get_by_role("button", name="Enable rescue system").click()
    expect(page.get_by_text("The rescue system of web is being prepared.")).to_be_visible()
    work()
    expect(page.get_by_text("The next start boots the rescue system")).to_be_visible(timeout=8000)
    page.locator("#reveal_rescue").click()
    expect(page.locator("#root-password")).to_have_text(re.compile(r"\S{16,}"))
    page.get_by_role("link", name="I have it").click()
    page.locator("#hard summary").click()
    page.locator("#reset").click()
    page.locator("dialog").get_by_role("button", name="Reset").click()
    expect(page.get_by_text("web is being reset.")).to_be_visible()
    work()
    runs = page.get_by_role("heading", name="It runs the rescue system")
    expect(runs).to_be_visible(timeout=8000)


def test_another_plan_in_a_dialog(world: World, visit: Open) -> None:
    make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=3)
    server = world.stopped()
    page = visit(f"/servers/{server.pk}/", world.alice)
    page.locator("#change_type").click()
    page.get_by_label("Large").check(force=True)
    page.get_by_role("button", name="Change plan").click()
    expect(page.locator("#status")).to_have_text("Changing its plan")
    work()
    expect(page.locator("#status")).to_have_text("Off", timeout=8000)
    expect(page.locator("dt", has_text="Memory").locator("+ dd")).to_have_text("256 MiB")


def test_a_token_changes_in_a_dialog(world: World, visit: Open) -> None:
    world.running("web")
    token = create_token(world.alice, project=world.project, name="ci", may_write=True).token
    page = visit("/tokens/", world.alice)
    page.locator(f"#change-token-{token.pk}").click()
    dialog = page.locator("dialog")
    dialog.get_by_label("May change everything").uncheck()
    dialog.get_by_label("servers:power").check()
    dialog.get_by_label("Only these servers").fill("wbe")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("There is no server “wbe”")).to_be_visible()
    dialog.get_by_label("Only these servers").fill("web")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("API token ci was changed.")).to_be_visible()
    expect(page.get_by_text("only web")).to_be_visible()
    assert ApiToken.objects.get().scopes == ["servers:power"]


def test_the_door_for_visitors(panel: Panel, page: Page) -> None:
    for path in ("login/", "signup/", "password/reset/"):
        page.goto(f"{panel.origin}/accounts/{path}")
        assert Axe().run(page).response["violations"] == [], path
