"""Dataset items as XML and RSS 2.0.

Field names become element names; a list becomes repeated elements. An object's field `@` holds the attributes
of its element, and its field `#` the element's text where it has no child elements.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\u00b7\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u037d\u037f-\u1fff-]")
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters outside XML 1.0's production `Char`."""


def check_name(name: str, parameter: str) -> str:
    """An element name from a query parameter.

    Raises:
        ApiError: 400 `invalid-parameter`.
    """
    if not _NAME.fullmatch(name):
        raise ApiError(400, "invalid-parameter", f'Parameter "{parameter}" must be an XML element name.')
    return name


def element(name: str, value: Any) -> str:
    """One value as an element, a list as one element for each of its values."""
    if isinstance(value, list):
        return "".join(element(name, part) for part in value)
    tag = _element_name(name)
    attributes, content = _attributes(value), _content(value)
    return f"<{tag}{attributes}>{content}</{tag}>" if content else f"<{tag}{attributes}/>"


def _content(value: Any) -> str:
    if not isinstance(value, dict):
        return _text(value)
    children = {key: child for key, child in value.items() if key not in ("@", "#")}
    if not children:
        return _text(value.get("#"))
    return "".join(element(key, child) for key, child in children.items())


def _attributes(value: Any) -> str:
    attributes = value.get("@") if isinstance(value, dict) else None
    if not isinstance(attributes, dict):
        return ""
    return "".join(f" {_element_name(key)}={quoteattr(_plain(part))}" for key, part in attributes.items())


def _element_name(name: str) -> str:
    safe = _NOT_IN_NAMES.sub("_", name) or "_"
    return safe if safe[0].isalpha() or safe[0] == "_" else f"_{safe}"


def _text(value: Any) -> str:
    return escape(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _NOT_IN_XML.sub("", text)


class XmlWriter:
    """A root element with one element an item."""

    content_type: ClassVar[str] = "application/xml; charset=utf-8"
    two_passes: ClassVar[bool] = False

    def __init__(self, root: str = "items", row: str = "item") -> None:
        self._head, self._tail = f"{PROLOG}<{root}>\n", f"</{root}>\n"
        self._row = row

    def page(self, items: Iterable[Any]) -> bytes:
        """The next items, before the first of them the opening."""
        text = self._head + "".join(f"{element(self._row, item)}\n" for item in items)
        self._head = ""
        return text.encode()

    def end(self) -> Iterator[bytes]:
        """What closes the document."""
        yield (self._head + self._tail).encode()


class RssWriter(XmlWriter):
    """An RSS 2.0 channel with one item an item."""

    content_type: ClassVar[str] = "application/rss+xml; charset=utf-8"

    def __init__(
        self, dataset_id: str, link: str, title: str | None = None, description: str | None = None
    ) -> None:
        super().__init__()
        channel: Mapping[str, str] = {
            "title": title or f"Dataset {dataset_id}",
            "link": link,
            "description": description or f'Items in dataset with id "{dataset_id}".',
            "lastBuildDate": format_datetime(datetime.now(UTC)),
        }
        facts = "".join(element(name, text) for name, text in channel.items())
        self._head = f'{PROLOG}<rss version="2.0"><channel>{facts}\n'
        self._tail = "</channel></rss>\n"
