"""One driver per address and process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from hosts.virt.driver import Driver
from hosts.virt.fake import FakeDriver
from hosts.virt.registry import close_all, driver_for


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def test_the_same_address_has_the_same_driver_in_every_thread() -> None:
    uri = f"fake:///{uuid4().hex}"
    made: list[Driver] = []
    threads = [threading.Thread(target=lambda: made.append(driver_for(uri))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 20
    assert len({id(driver) for driver in made}) == 1
    assert isinstance(made[0], FakeDriver)
    assert made[0].uri == uri


def test_close_all_lets_go_of_every_driver() -> None:
    uri = f"fake:///{uuid4().hex}"
    before = driver_for(uri)
    events: list[object] = []
    before.watch(events.append)
    close_all()
    assert [t.name for t in threading.enumerate() if t.name == f"watch-{uri[8:]}"] == []
    assert driver_for(uri) is not before


@pytest.mark.libvirt
@pytest.mark.parametrize("uri", ["test:///default", "qemu:///system", "qemu+ssh://root@h/system"])
def test_libvirt_addresses_get_the_libvirt_driver(uri: str) -> None:
    assert type(driver_for(uri)).__name__ == "LibvirtDriver"


@pytest.mark.parametrize("uri", ["", "xen:///", "vbox:///session", "/etc/passwd", "http://host/"])
def test_other_addresses_are_refused_with_advice(uri: str) -> None:
    with pytest.raises(ValueError, match="qemu:///system"):
        driver_for(uri)
