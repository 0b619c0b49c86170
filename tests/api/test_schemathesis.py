"""Schemathesis tries what the document describes: operations alone, and many that hang together.

It makes requests from the document, good ones and bad ones, and holds every
answer to it: no 5xx, only statuses, fields and headers that are described, bad
data refused and good data taken, nothing without a token, nothing back that was
deleted. A scenario begins with the same things each time, or nothing could be
repeated: it is undone at its end, and its host is a new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.schemas import OpenApiSchema

from hosts.models import Host, StoragePool
from tests.accounts.test_keys import ED25519
from tests.api.asking import Api, make_customer, make_reseller, program, reseller_program
from tests.webhooks.receiver import make_webhook
from tests.world import World, make_host, make_plan, work
from vpspanel.api import actions
from vpspanel.api.auth import PROJECT_HEADER

pytestmark = pytest.mark.slow

LONGER = int(os.environ.get("VPSPANEL_SCHEMATHESIS", "1"))
ALONE = 4 * LONGER  # requests of each operation by itself, good ones and as many bad ones
SCENARIOS, STEPS = 15 * LONGER, 20
OF_RESELLERS = ("accounts", "projects", "tokens", "usage", "limits", "stock", "webhooks")
AnyCase = Case[Any]
MADE_UP = 1000  # ids from here on are Schemathesis' own: no scenario makes so many things
# What a thing's own state forbids is refused with these, however well-formed the request.
REFUSED = ["2xx", "401", "403", "404", "409", "412", "422", "423"]
CONFIG = {
    "generation": {"allow-x00": False},  # see test_fuzz.py
    "checks": {"max_response_time": 20},
    "operations": [
        {
            "exclude-method": "GET",
            "checks": {"positive_data_acceptance": {"expected-statuses": REFUSED}},
        },
        # Two parameters that do not go together: `after` with `before`, an end before its start.
        {
            "include-path-regex": "/(events|metrics|usage)$",
            "checks": {"positive_data_acceptance": {"expected-statuses": REFUSED}},
        },
        # What was done to a server can be read when it is gone, as the answer to DELETE needs it.
        {
            "include-path": "/api/v1/servers/{id}/actions",
            "checks": {"use_after_free": {"enabled": False}},
        },
        {
            "include-path": "/api/v1/servers/{id}/actions/{action_id}",
            "checks": {"use_after_free": {"enabled": False}},
        },
    ],
}
# Words that mean something here, for bodies that would be refused for theirs.
MEANT: dict[str, dict[str, Any]] = {
    "servers": {
        "server_type": "nano",
        "image": "tiny",
        "location": "test1",
        "ssh_keys": ["laptop"],
    },
    "ssh_keys": {"public_key": ED25519},
    "webhooks": {"url": "https://example.com/hook", "kinds": ["server.*"]},
    "rebuild": {"image": "other", "user_data": None},
    "change_type": {"server_type": "micro"},
    "enable_rescue": {"ssh_keys": ["laptop"]},
    "add_to_placement_group": {"placement_group": "apart"},
}
THINGS = (
    *("servers", "ssh_keys", "webhooks", "placement_groups", "primary_ips"),
    *("locations", "datacenters", "server_types"),
)


class Application:
    """The panel in a test's transaction: Django would close the connection after each request."""

    def __init__(self) -> None:
        self._panel = get_wsgi_application()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        """The answer, whole."""
        signals = (request_started, request_finished)
        for signal in signals:
            signal.disconnect(close_old_connections)
        try:
            answer = self._panel(environ, start_response)
            body = b"".join(answer)
            answer.close()
        finally:
            for signal in signals:
                signal.connect(close_old_connections)
        return [body]


@dataclass
class Shown:
    """The token of whoever asks."""

    secret: str


@pytest.fixture
def shown(api: Api) -> Shown:
    """That of a project, until a test shows another one."""
    return Shown(api.secret)


@pytest.fixture
def document(
    world: World, shown: Shown, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> OpenApiSchema:
    """What the panel says of itself, with a program's token for each request."""
    settings.API_REQUESTS_PER_HOUR = 10**9
    monkeypatch.setattr(actions, "LONGEST_WAIT", 0.1)
    make_plan(world, "micro", vcpus=1, memory_mib=256, disk_gib=1)
    StoragePool.objects.all().delete()
    Host.objects.all().delete()
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", Application(), config=config)

    @schema.auth()
    class Token:
        """That of the program."""

        def get(self, case: AnyCase, context: Any) -> str:
            """It."""
            return shown.secret

        def set(self, case: AnyCase, data: str, context: Any) -> None:
            """Show it."""
            case.headers["Authorization"] = f"Bearer {data}"

    return schema


class Scenario:
    """A host, a server, and one of each other thing that a project may have; undone at its end."""

    def __init__(self, world: World, api: Api):
        self._savepoint = transaction.savepoint()
        self._orders = 0
        make_host(world.location)
        api.post("/ssh_keys", {"name": "laptop", "public_key": ED25519.replace("laptop", "here")})
        api.post("/placement_groups", {"name": "apart"})
        server = world.stopped("web")
        api.post(f"/servers/{server.pk}/actions/create_image", {"description": "before"})
        world.running("busy")
        make_webhook(world)
        self._there = {name: [one["id"] for one in api.get(f"/{name}")[name]] for name in THINGS}
        snapshots = api.get("/images?type=snapshot")["images"]
        self._there["images"] = [image["id"] for image in snapshots]
        self._meant = dict(MEANT)

    def of_reseller(self) -> str:
        """A reseller comes, with two customers; the secret of its token."""
        reseller = make_reseller("Shop")
        projects = [make_customer(reseller, name) for name in ("one", "two")]
        tokens = [program(project, name="own") for project in projects]
        assert all(one.secret for one in tokens)
        self._there = {
            "accounts": [project.account_id for project in projects],
            "projects": [project.pk for project in projects],
            "tokens": [token.pk for project in projects for token in project.api_tokens.all()],
        }
        self._meant = {
            "accounts": {"server_limit": 5},
            "projects": {"account": projects[0].account_id},
            "tokens": {
                "project": projects[0].pk,
                "scopes": [],
                "servers": [],
                "networks": [],
                "expires": None,
            },
            "webhooks": MEANT["webhooks"],
        }
        return reseller_program(reseller).secret

    def prepare(self, case: AnyCase) -> None:
        """Let what was made up mean something here: half of the ids, and most references."""
        if case.meta is None or case.meta.generation.mode.is_negative:
            return
        case.headers.pop(PROJECT_HEADER, None)
        resource, verb = case.path.split("/")[3], case.path.rpartition("/")[2]
        made_up = case.path_parameters.get("id", 0)
        if made_up >= MADE_UP and made_up % 2 and (there := self._there.get(resource)):
            case.path_parameters["id"] = there[made_up // 2 % len(there)]
        if isinstance(case.body, dict) and case.method == "POST":
            self._orders += 1
            for name, value in self._meant.get(verb, {}).items():
                if name in case.body or self._orders % 2:
                    case.body[name] = value
            if verb == "servers":
                case.body["name"] = f"order-{self._orders}"
                for name in ("volumes", "networks", "firewalls", "public_net", "placement_group"):
                    case.body.pop(name, None)

    def undo(self) -> None:
        """Leave nothing."""
        transaction.savepoint_rollback(self._savepoint)


def quick(examples: int, **more: Any) -> Any:
    """The same each time unless it is to be longer, and quick to say what fails."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=LONGER == 1,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_each_operation_alone(world: World, api: Api, document: OpenApiSchema) -> None:
    asked, succeeded = try_each(Scenario(world, api), document)
    assert len(asked) == document.statistic.operations.total
    assert len(succeeded) > len(asked) / 3  # else nothing was tried that means something


def test_each_operation_of_resellers_alone(
    world: World, api: Api, document: OpenApiSchema, shown: Shown
) -> None:
    scenario = Scenario(world, api)
    shown.secret = scenario.of_reseller()
    asked, succeeded = try_each(scenario, document, only=OF_RESELLERS)
    assert len(asked) > 15
    assert len(succeeded) > len(asked) / 2


def try_each(
    scenario: Scenario, document: OpenApiSchema, only: Sequence[str] = ()
) -> tuple[set[str], set[str]]:
    """The operations that were tried, and those that succeeded at least once."""
    asked, succeeded = set[str](), set[str]()
    operations = [found.ok() for found in document.get_all_operations() if isinstance(found, Ok)]
    for operation in operations:
        if only and operation.path.split("/")[3] not in only:
            continue
        for mode in GenerationMode:

            @quick(ALONE)
            @given(operation.as_strategy(generation_mode=mode))
            def ask(case: AnyCase) -> None:
                here = transaction.savepoint()
                scenario.prepare(case)
                answer = case.call_and_validate()
                asked.add(case.operation.label)
                if answer.status_code < 300:
                    succeeded.add(case.operation.label)
                transaction.savepoint_rollback(here)

            ask()
    return asked, succeeded


def test_many_that_hang_together(world: World, api: Api, document: OpenApiSchema) -> None:
    succeeded = set[str]()

    class Customer(document.as_state_machine()):  # type: ignore[misc]
        """Goes on with what the answers named, and with what it makes up."""

        def setup(self) -> None:
            """Begin anew."""
            self.scenario = Scenario(world, api)

        def teardown(self) -> None:
            """Leave nothing."""
            self.scenario.undo()

        def before_call(self, case: AnyCase) -> None:
            """Make it mean something."""
            self.scenario.prepare(case)

        def after_call(self, response: Response, case: AnyCase) -> None:
            """Do what was asked for."""
            super().after_call(response, case)
            if response.status_code < 300:
                succeeded.add(case.operation.label)
            if case.method != "GET":
                work()

    Customer.run(settings=quick(SCENARIOS, stateful_step_count=STEPS))
    assert len(succeeded) >= 20
