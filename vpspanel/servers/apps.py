from django.apps import AppConfig


class ServersConfig(AppConfig):
    name = "vpspanel.servers"
    label = "servers"
