import re

from django.db import migrations

BATCH = 1000


def fill(apps, schema_editor):
    """What is known of servers from before: orders, deletions, and the changes of plan between."""
    Server = apps.get_model("servers", "Server")
    ServerPeriod = apps.get_model("servers", "ServerPeriod")
    plans = dict(apps.get_model("servers", "ServerType").objects.values_list("name", "pk"))
    switches = _switches(apps)
    periods = []
    for server in Server.objects.filter(periods=None).order_by("pk").iterator():
        changes = switches.get(server.pk, [])
        first = server.server_type_id
        if changes:
            first = plans.get(_ordered_plan(apps, server.pk), first)
        ends = None
        if server.lifecycle == "deleted":
            never_built = bool(server.failed_reason)
            ends = server.created
            if not never_built and server.deleted_at is not None:
                ends = max(server.created, server.deleted_at)
        periods += _periods_of(ServerPeriod, server, first, changes, ends)
        if len(periods) >= BATCH:
            ServerPeriod.objects.bulk_create(periods)
            periods = []
    ServerPeriod.objects.bulk_create(periods)


def _switches(apps):
    """(when, plan) of each change that succeeded, in order, by server."""
    Action = apps.get_model("actions", "Action")
    found = {}
    changed = Action.objects.filter(
        command="change_type", resource_type="server", state="success", finished__isnull=False
    )
    for action in changed.order_by("finished", "pk"):
        change = (action.finished, action.args.get("server_type"))
        found.setdefault(action.resource_id, []).append(change)
    return found


def _ordered_plan(apps, server_id):
    """The name of the plan, as the event of the order tells it."""
    Event = apps.get_model("events", "Event")
    said = Event.objects.filter(
        kind="server.ordered", resource_type="server", resource_id=server_id
    ).first()
    match = re.search(r" was ordered: (\S+) with ", said.message) if said else None
    return match.group(1) if match else ""


def _periods_of(ServerPeriod, server, plan, changes, ends):
    periods, began = [], server.created
    for at, new in changes:
        if new is None or new == plan or at <= began or (ends is not None and at >= ends):
            continue
        periods.append(
            ServerPeriod(server_id=server.pk, server_type_id=plan, began=began, ended=at)
        )
        plan, began = new, at
    if ends is None:
        plan = server.server_type_id
    periods.append(ServerPeriod(server_id=server.pk, server_type_id=plan, began=began, ended=ends))
    return periods


class Migration(migrations.Migration):

    dependencies = [
        ("servers", "0012_server_periods"),
        ("actions", "0002_cancel_wanted"),
        ("events", "0002_project_events"),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
