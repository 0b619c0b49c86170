import uuid

from django.db import migrations, models


def name_holders(apps, schema_editor):
    PrimaryIP = apps.get_model("servers", "PrimaryIP")
    for ip in PrimaryIP.objects.only("pk").iterator():
        PrimaryIP.objects.filter(pk=ip.pk).update(uuid=uuid.uuid4())


class Migration(migrations.Migration):

    dependencies = [
        ('servers', '0010_adopted_servers'),
    ]

    operations = [
        migrations.AddField(
            model_name='primaryip',
            name='uuid',
            field=models.UUIDField(null=True),
        ),
        migrations.RunPython(name_holders, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='primaryip',
            name='uuid',
            field=models.UUIDField(default=uuid.uuid4, editable=False, help_text='Who holds it without a server', unique=True),
        ),
        migrations.AddField(
            model_name='primaryip',
            name='leaving',
            field=models.CharField(blank=True, choices=[('', 'no'), ('kept', 'it is kept'), ('for_good', 'it is given back')], default='', max_length=8),
        ),
        migrations.AlterField(
            model_name='primaryip',
            name='auto_delete',
            field=models.BooleanField(default=True, help_text='It goes with its server'),
        ),
        migrations.AddConstraint(
            model_name='primaryip',
            constraint=models.UniqueConstraint(fields=('project', 'name'), name='primary_ip_name'),
        ),
    ]
