from collections import Counter

from django.db import migrations


def count_up_the_tree(apps, schema_editor):
    """Who has customers is a reseller, and counts their servers as well."""
    Account = apps.get_model("accounts", "Account")
    rows = Account.objects.values_list("pk", "servers_used", "parent_id", "parent__parent_id")
    counted = Counter()
    for _, used, *above in rows:
        for pk in above:
            if pk is not None:
                counted[pk] += used
    for account in Account.objects.filter(customers__isnull=False).distinct():
        account.is_reseller = True
        account.servers_used += counted[account.pk]
        account.save(update_fields=["is_reseller", "servers_used"])


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0005_resellers"),
    ]

    operations = [
        migrations.RunPython(count_up_the_tree, migrations.RunPython.noop),
    ]
