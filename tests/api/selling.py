"""A reseller, its program, and a customer: for the tests of what resellers may."""

from __future__ import annotations

import pytest

from tests.api.asking import (
    Api,
    make_customer,
    make_reseller,
    reseller_program,
)
from tests.world import World
from vpspanel.accounts.models import Account, Project

ORDER = {"name": "web", "server_type": "nano", "image": "tiny"}
WHY = {"reason": "An invoice is overdue."}


@pytest.fixture
def shop(world: World) -> Account:
    """A reseller."""
    return make_reseller("Shop")


@pytest.fixture
def seller(shop: Account) -> Api:
    """Its program."""
    return reseller_program(shop)


@pytest.fixture
def rival(world: World) -> Api:
    """The program of another one."""
    return reseller_program(make_reseller("Rival"))


@pytest.fixture
def customer(shop: Account) -> Project:
    """A customer's project."""
    return make_customer(shop, "customer")


def acting(api: Api, project: Project) -> Api:
    """The same program in one project."""
    return Api(api.secret, project=project.pk)
