from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "vpspanel.events"
    label = "events"
