"""A reader of `text/event-stream` as browsers read it (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from tests.acceptance.service import Client

LAST = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Event:
    """A dispatched event, or a comment (with `name` "comment" and the text as data)."""

    id: str
    name: str
    data: Any


@dataclass
class Parser:
    """Feeds on text; an event that is not complete yet stays in it."""

    last_id: str = ""
    _pending: bytes = b""
    _fields: dict[str, list[str]] = field(default_factory=dict)

    def feed(self, data: bytes) -> list[Event]:
        *lines, self._pending = (self._pending + data).replace(b"\r\n", b"\n").split(b"\n")
        found = [self._line(line.decode()) for line in lines]
        return [event for event in found if event]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            return Event(self.last_id, "comment", line[1:])
        name, _, value = line.partition(":")
        self._fields.setdefault(name, []).append(value.removeprefix(" "))
        return None

    def _dispatch(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self.last_id = fields.get("id", [self.last_id])[-1]
        if "data" not in fields:
            return None
        name = fields.get("event", ["message"])[-1]
        return Event(self.last_id, name, json.loads("\n".join(fields["data"])))


async def events_of(response: aiohttp.ClientResponse, *, comments: bool = False) -> AsyncIterator[Event]:
    """All events of an open stream."""
    assert response.status == 200, response.status
    assert response.headers["Content-Type"].split(";")[0] == "text/event-stream"
    parser = Parser()
    async for chunk in response.content.iter_any():
        for event in parser.feed(chunk):
            if comments or event.name != "comment":
                yield event


async def whole_log(http: Client, job_id: str, *, after: str | None = None) -> list[Event]:
    """Everything that the stream of an ended job (or one about to end) still has to say."""
    headers = {"Last-Event-ID": after} if after else {}
    async with http.session.get(f"/tasks/{job_id}/events", headers=headers) as response:
        return [event async for event in events_of(response)]
