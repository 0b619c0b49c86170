"""A program with a token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.test import Client

from tests.world import World
from vpspanel.accounts.models import Account, Project
from vpspanel.accounts.token_services import create_reseller_token, create_token
from vpspanel.events.actor import SYSTEM


@dataclass
class Api:
    """Asks the API in this process; without a secret as nobody."""

    secret: str = ""
    base: str = "/api/v1"
    project: int | None = None  # that a reseller's program acts in

    def ask(
        self, method: str, path: str, body: Any = None, *, ip: str = "127.0.0.1", **headers: str
    ) -> HttpResponse:
        """The answer."""
        given = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        given |= {"X-Project": str(self.project)} if self.project else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        kind = given.pop("Content-Type", "application/json")
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        answer: Any = Client(raise_request_exception=False).generic(
            method,
            self.base + path,
            "" if body is None else data,
            content_type="" if body is None else kind,
            headers=given,
            REMOTE_ADDR=ip,
        )
        assert isinstance(answer, HttpResponse)
        return answer

    def get(self, path: str, **headers: str) -> Any:
        """The body of a successful GET."""
        return self._good(self.ask("GET", path, **headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """The body of a successful POST."""
        return self._good(self.ask("POST", path, body, **headers))

    def put(self, path: str, body: Any) -> Any:
        """The body of a successful PUT."""
        return self._good(self.ask("PUT", path, body))

    def delete(self, path: str) -> Any:
        """The body of a successful DELETE."""
        return self._good(self.ask("DELETE", path))

    def refused(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        """Status and code of an error that has the form of one."""
        answer = self.ask(method, path, body, **headers)
        error = json.loads(answer.content)["error"]
        assert set(error) == {"code", "message", "details"}
        assert answer["Content-Type"] == "application/json"
        assert answer["X-Correlation-Id"]
        return answer.status_code, error["code"]

    @staticmethod
    def _good(answer: HttpResponse) -> Any:
        assert answer.status_code < 300, (answer.status_code, answer.content)
        return json.loads(answer.content) if answer.content else None


def program(project: Project, *, may_write: bool = True, name: str = "ci", **more: Any) -> Api:
    """One that has a token of the project."""
    made = create_token(SYSTEM, project=project, name=name, may_write=may_write, **more)
    return Api(made.secret)


def make_reseller(name: str = "Reseller", *, server_limit: int = 100) -> Account:
    """A reseller without customers."""
    return Account.objects.create(name=name, is_reseller=True, server_limit=server_limit)


def make_customer(reseller: Account, name: str, *, server_limit: int = 10) -> Project:
    """A customer of a reseller, with one project."""
    account = Account.objects.create(name=name, parent=reseller, server_limit=server_limit)
    return Project.objects.create(account=account, name=name)


def reseller_program(
    account: Account, *, may_write: bool = True, project: Project | None = None, **more: Any
) -> Api:
    """One that has a token of the reseller, and acts in `project`."""
    name = more.pop("name", f"shop {account.api_tokens.count()}")
    made = create_reseller_token(SYSTEM, account=account, name=name, may_write=may_write, **more)
    return Api(made.secret, project=project.pk if project else None)


def project_of_charlie(world: World) -> Project:
    """Another customer's."""
    assert world.charlie.user is not None
    return world.charlie.user.memberships.get().project
