"""The machine room for staff: Django finds these pages here."""

from hosts.admin import addresses, enrolments, images, machines

__all__ = ["addresses", "enrolments", "images", "machines"]
