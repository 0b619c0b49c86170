"""Whatever is sent, the API answers in its own words: no 5xx, no HTML."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.asking import Api, make_customer, make_reseller, program, reseller_program
from tests.world import World
from vpspanel.api.accounts import ChangedAccount, NewAccount, Reason
from vpspanel.api.bodies import Body
from vpspanel.api.images import ChangedImage, ImageProtection
from vpspanel.api.ordering import NewServer
from vpspanel.api.projects import ChangedProject, NewProject
from vpspanel.api.server_actions import NewImage, NewSnapshot, NewType, Protection, RescueKeys
from vpspanel.api.servers import ChangedServer
from vpspanel.api.ssh_keys import ChangedKey, NewKey
from vpspanel.api.tokens import ChangedToken, NewToken

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["tiny", "nano", "test1", "web", "snapshot", "1", "", "\0", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
# path -> (method, body); "S" stands for a server of the project, "I" for an image.
WRITES: dict[str, tuple[str, type[Body]]] = {
    "/servers": ("POST", NewServer),
    "/servers/S": ("PUT", ChangedServer),
    "/servers/S/actions/rebuild": ("POST", NewImage),
    "/servers/S/actions/change_type": ("POST", NewType),
    "/servers/S/actions/enable_rescue": ("POST", RescueKeys),
    "/servers/S/actions/create_image": ("POST", NewSnapshot),
    "/servers/S/actions/change_protection": ("POST", Protection),
    "/images/I": ("PUT", ChangedImage),
    "/images/I/actions/change_protection": ("POST", ImageProtection),
    "/ssh_keys": ("POST", NewKey),
    "/ssh_keys/1": ("PUT", ChangedKey),
}
LISTS = ["/servers", "/images", "/ssh_keys", "/actions", "/servers/actions", "/locations", "/isos"]
PARAMETERS = [
    *("id", "page", "per_page", "sort", "name", "status", "label_selector", "type", "wait"),
    *("architecture", "fingerprint", "bound_to", "include_deprecated"),
]
# The same for programs of resellers; "A" stands for a customer, "P" for a project, "T" for a token.
RESELLERS: dict[str, tuple[str, type[Body]]] = {
    "/accounts": ("POST", NewAccount),
    "/accounts/A": ("PUT", ChangedAccount),
    "/accounts/A/actions/suspend": ("POST", Reason),
    "/projects": ("POST", NewProject),
    "/projects/P": ("PUT", ChangedProject),
    "/tokens": ("POST", NewToken),
    "/tokens/T": ("PUT", ChangedToken),
}
quick = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def answered(api: Api, method: str, path: str, body: Any = None) -> int:
    """The status of an answer that is in the API's own words."""
    answer = api.ask(method, path, body)
    assert answer.status_code < 500, (method, path, body, answer.content)
    if answer.status_code != 204:
        shown = json.loads(answer.content)
        if answer.status_code >= 400:
            assert set(shown["error"]) == {"code", "message", "details"}
    return answer.status_code


@pytest.mark.parametrize("path", WRITES)
def test_bodies(world: World, api: Api, path: str) -> None:
    server = world.order("web").server
    method, kind = WRITES[path]
    at = path.replace("S", str(server.pk)).replace("I", str(world.images[0].pk))
    fields = list(kind().fields)
    bodies = st.dictionaries(st.sampled_from(fields), JSON, max_size=len(fields)) | JSON

    @quick
    @given(bodies)
    def send(body: Any) -> None:
        answered(api, method, at, json.dumps(body))

    send()


@pytest.mark.parametrize("path", RESELLERS)
def test_bodies_of_resellers(world: World, path: str) -> None:
    shop = make_reseller()
    seller, project = reseller_program(shop), make_customer(shop, "customer")
    program(project)
    method, kind = RESELLERS[path]
    pks = {"A": project.account_id, "P": project.pk, "T": project.api_tokens.get().pk}
    at = "/".join(str(pks.get(part, part)) for part in path.split("/"))
    fields = list(kind().fields)
    bodies = st.dictionaries(st.sampled_from(fields), JSON, max_size=len(fields)) | JSON

    @quick
    @given(bodies)
    def send(body: Any) -> None:
        answered(seller, method, at, json.dumps(body))

    send()


@pytest.mark.both_databases
def test_parameters(world: World, api: Api) -> None:
    world.order("web", labels={"env": "prod"})
    odd = ["1", "-1", "name:desc", "running", "env", "!env", "env in (a,b)", "a=\0", "9" * 40]
    values = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(odd)

    @quick
    @given(
        st.sampled_from(LISTS),
        st.lists(st.tuples(st.sampled_from(PARAMETERS), values), max_size=3),
    )
    def ask(path: str, pairs: list[tuple[str, str]]) -> None:
        query = "&".join(f"{name}={quote(value)}" for name, value in pairs if name != "wait")
        answered(api, "GET", f"{path}?{query}")

    ask()


@pytest.mark.parametrize("header", ["Authorization", "Idempotency-Key", "Content-Type", "Accept"])
def test_headers(world: World, api: Api, header: str) -> None:
    @quick
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=80))
    def send(value: str) -> None:
        answer = api.ask("POST", "/servers", {}, **{header: value})
        assert 400 <= answer.status_code < 500, answer.content
        assert json.loads(answer.content)["error"]["code"]

    send()
