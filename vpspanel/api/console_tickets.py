"""Console tickets: a page with one console, for somebody who has no account here."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.api.bodies import Body, Strict, body_of
from vpspanel.api.describing import answers
from vpspanel.api.servers import existing
from vpspanel.api.shapes.consoles import ConsoleTicketShape, console_ticket_shape
from vpspanel.api.view import PostView
from vpspanel.consoles.embed_views import NAMES
from vpspanel.consoles.grants import LONGEST, SHORTEST, USUAL, create_grant


class NewTicket(Body):
    """Which console, and for how many seconds."""

    type = serializers.ChoiceField(tuple(NAMES))
    may_type = Strict(required=False, default=False)
    expires_in = serializers.IntegerField(
        required=False, default=USUAL, min_value=SHORTEST, max_value=LONGEST
    )


class ConsoleTickets(PostView):
    """The console tickets of a server."""

    @answers("Make a console ticket", status=201, body=NewTicket, console_ticket=ConsoleTicketShape)
    def create(self, request: Request, **ids: int) -> Response:
        """A page with the serial console or the screen, to be opened once within a minute."""
        existing(self.actor, ids["pk"])
        asked = body_of(request, NewTicket)
        granted = create_grant(
            self.actor,
            ids["pk"],
            NAMES[asked["type"]],
            may_type=asked["may_type"],
            seconds=asked["expires_in"],
        )
        shape = console_ticket_shape(granted, asked["type"], request.build_absolute_uri)
        return Response({"console_ticket": shape}, 201)
