"""A tour of everything with hcloud's own Python client, whichever version is on the path.

It runs as a process of its own, `tour.py ENDPOINT TOKEN IMAGE PUBLIC-KEY [SSH…]`, and prints what
it saw as JSON. It knows nothing of the panel. `SSH…` is how a command line begins that reaches
guests with that key; without it they are simulated, and nobody looks inside.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from hcloud import APIException, Client
from hcloud.actions import ActionFailedException

ENDPOINT, TOKEN, IMAGE, PUBLIC_KEY, *SSH = sys.argv[1:]
USER_DATA = "#cloud-config\nruncmd:\n- echo hello > /root/tour\n"
# Two versions, two sets of types: none.
client: Any = Client(token=TOKEN, api_endpoint=ENDPOINT, poll_interval=0.3)
seen: dict[str, Any] = {"version": version("hcloud")}


def done(answer: Any) -> None:
    """Wait as a script would; older clients answer with the action itself."""
    getattr(answer, "action", answer).wait_until_finished()


def refused(call: Any, *args: Any, **kwargs: Any) -> str:
    """The code of the refusal."""
    try:
        call(*args, **kwargs)
    except APIException as error:
        return str(error.code)
    return "nothing was refused"


def status() -> str:
    """Of the server, asked anew."""
    return str(client.servers.get_by_id(server.id).status)


def inside(address: str, hostname: str, command: str) -> str:
    """What the command prints in the guest, once the system that is called so answers."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        line = [*SSH, f"root@{address}", f"hostname; {command}"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        name, _, said = done.stdout.partition("\n")
        if name == hostname:
            return said.strip()
        time.sleep(0.5)
    return f"{hostname} does not answer at {address}"


location = client.locations.get_all()[0]
# Older clients know data centres only.
OLD = version("hcloud").startswith("1.")
place_of_address = (
    {"datacenter": client.datacenters.get_all()[0]} if OLD else {"location": location}
)
plan = client.server_types.get_by_name("nano")
image = client.images.get_by_name_and_architecture(IMAGE, "x86")
assert plan is not None
assert image is not None
seen["plan"] = [plan.cores, plan.memory, plan.disk, plan.prices[0]["price_hourly"]["net"]]
seen["no such thing"] = [
    client.images.get_by_name_and_architecture("missing", "x86"),
    client.servers.get_by_name("missing"),
    client.ssh_keys.get_by_name("missing"),
]

seen["by id"] = [
    client.locations.get_by_id(location.id).name == location.name,
    client.server_types.get_by_id(plan.id).name,
]

key = client.ssh_keys.create(name="tour", public_key=PUBLIC_KEY)
assert client.ssh_keys.get_by_fingerprint(key.fingerprint).id == key.id
assert client.ssh_keys.get_by_id(key.id).fingerprint == key.fingerprint
key = key.update(name="tour-key", labels={"made": "by-tour"})
seen["key"] = [key.name, key.labels, [k.name for k in client.ssh_keys.get_all(name="tour-key")]]

order: dict[str, Any] = {
    "name": "tour",
    "server_type": plan,
    "image": image,
    "ssh_keys": [key],
    "location": location,
    "labels": {"env": "test"},
    "user_data": USER_DATA,
}
made = client.servers.create(**order)
server = made.server
seen["made"] = [server.status, made.root_password, made.next_actions]
seen["twice"] = refused(client.servers.create, **order)
made.action.wait_until_finished()
server = client.servers.get_by_name("tour")
assert server is not None
seen["server"] = [
    server.status,
    server.server_type.name,
    server.image.name,
    server.location.name if hasattr(server, "location") and server.location else "",
    server.labels,
    server.public_net.ipv6.ip.endswith("/64"),
    server.public_net.primary_ipv4.id == server.public_net.ipv4.id
    if hasattr(server.public_net.ipv4, "id")
    else True,
]
seen["address"] = address = server.public_net.ipv4.ip
if SSH:
    told = "until [ -e /root/tour ]; do sleep 1; done; cat /root/tour"
    seen["inside"] = [inside(address, "tour", told)]
seen["addresses"] = sorted(ip.type for ip in client.primary_ips.get_all())
seen["selected"] = [s.name for s in client.servers.get_all(label_selector="env in (test)")]
seen["not selected"] = [s.name for s in client.servers.get_all(label_selector="env!=test")]

power = []
for verb in ("power_off", "power_on", "reset", "power_off", "power_off", "power_on"):
    done(getattr(server, verb)())
    power.append(status())
seen["power"] = power

done(server.change_protection(delete=True, rebuild=True))
seen["protected"] = [refused(server.delete), refused(server.rebuild, image)]
done(server.change_protection(delete=False, rebuild=False))

done(server.rebuild(image))
if SSH:
    seen["inside"].append(inside(address, "tour", "echo kept > /root/marker; sync; nproc"))
    done(server.enable_rescue(type="linux64", ssh_keys=[key.id]))
    done(server.reset())
    seen["inside"].append(inside(address, "rescue", "mount /dev/vdb1 /mnt; cat /mnt/root/marker"))
    done(server.reset())
    seen["inside"].append(inside(address, "tour", "cat /root/marker"))
server = server.update(name="tour-two", labels={})
seen["rebuilt"] = [server.name, server.status, server.image.name, server.labels]
seen["commands"] = sorted({action.command for action in server.get_actions()})

reset = server.reset_password()
seen["password"] = len(reset.root_password)
try:
    reset.action.wait_until_finished()
except ActionFailedException as error:
    seen["password action"] = str(error)

group = client.placement_groups.create(name="together", type="spread").placement_group
group = group.update(name="apart", labels={"made": "by-tour"})
assert client.placement_groups.get_by_id(group.id).labels == {"made": "by-tour"}
done(server.add_to_placement_group(group))
seen["group"] = [client.placement_groups.get_by_name("apart").servers == [server.id]]
done(server.remove_from_placement_group())
client.placement_groups.delete(group)
console = server.request_console()
seen["console"] = console.wss_url.partition("?")[0].rpartition(":")[2].partition("/")[2]
metrics = server.get_metrics(
    type=["cpu", "network"],
    start=datetime.now(UTC) - timedelta(hours=1),
    end=datetime.now(UTC),
)
seen["metrics"] = sorted(getattr(metrics, "metrics", metrics).time_series)

done(server.enable_rescue(type="linux64", ssh_keys=[key.id]))
rescue = [client.servers.get_by_id(server.id).rescue_enabled]
done(server.disable_rescue())
seen["rescue"] = [*rescue, client.servers.get_by_id(server.id).rescue_enabled]

larger = client.server_types.get_by_name("micro")
seen["type while it runs"] = refused(server.change_type, larger, upgrade_disk=False)
done(server.power_off())
done(server.change_type(larger, upgrade_disk=False))
types = [client.servers.get_by_id(server.id).server_type.name]
done(server.change_type(plan, upgrade_disk=False))
seen["types"] = [*types, client.servers.get_by_id(server.id).server_type.name]

ip = client.primary_ips.create(
    type="ipv4",
    name="tour",
    assignee_type="server",
    auto_delete=False,
    labels={"made": "by-tour"},
    **place_of_address,
).primary_ip
ip = ip.update(name="tour-ip", auto_delete=True)
done(ip.change_protection(delete=True))
protected = refused(ip.delete)
done(ip.change_protection(delete=False))
own = client.primary_ips.get_by_id(server.public_net.primary_ipv4.id)
full = refused(ip.assign, server.id, "server")
own.delete()
for _ in range(60):
    if not client.servers.get_by_id(server.id).locked:
        break
    time.sleep(0.5)
done(ip.assign(server.id, "server"))
there = client.servers.get_by_id(server.id).public_net.ipv4.ip == ip.ip
done(ip.unassign())
bare = client.servers.get_by_id(server.id).public_net.ipv4
done(ip.assign(server.id, "server"))
seen["own address"] = [ip.labels, protected, full, there, bare]

snapshot = server.create_image(description="tour", labels={"made": "by-tour"})
snapshot.action.wait_until_finished()
image = client.images.get_by_id(snapshot.image.id)
seen["snapshot"] = [image.type, image.status, image.description, image.labels]
image = image.update(description="kept", labels={})
done(image.change_protection(delete=True))
seen["kept"] = [image.description, image.labels, refused(image.delete)]
done(image.change_protection(delete=False))
seen["actions"] = [
    sorted({action.command for action in client.images.get_actions(image)}),
    client.images.actions.get_all(sort="id:desc")[0].command,
    client.primary_ips.actions.get_all(sort="id:desc")[0].command,
    client.servers.actions.get_all(sort="id:asc")[0].command,
]
copy = client.servers.create(name="copy", server_type=plan, image=image, ssh_keys=[key])
copy.action.wait_until_finished()
seen["copy"] = client.servers.get_by_id(copy.server.id).status
if SSH:
    seen["inside"].append(inside(copy.server.public_net.ipv4.ip, "copy", "cat /root/marker"))
done(copy.server.delete())
image.delete()

seen["absent"] = [
    len(getattr(client, name).get_all())
    for name in ("volumes", "networks", "firewalls", "floating_ips", "load_balancers", "isos")
]
seen["unsupported"] = [
    refused(client.firewalls.create, name="x"),
    refused(server.enable_backup),
    refused(client.volumes.create, size=10, name="x", location=location),
]

done(server.delete())
for _ in range(20):
    gone = client.servers.get_by_name("tour-two") is None
    if gone:
        break
    time.sleep(0.5)
seen["gone"] = [gone, refused(client.servers.get_by_id, server.id)]
key.delete()
seen["keys"] = len(client.ssh_keys.get_all())
print(json.dumps(seen))
