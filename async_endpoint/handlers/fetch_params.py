"""What a fetch task says, and what its request carries."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self
from urllib.parse import urlencode

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import to_json

from ..jobs.model import Model, Whole
from ..jobs.outputs import OWN_KEYS
from ..outbound.guard import parse_url
from ..outbound.headers import REFUSED, check_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_URL_CHARS = 8_192
LONGEST_TIMEOUT_MS = 24 * 3_600_000
MAX_REDIRECTS = 20
CONTENT_FIELDS = ("json", "body", "bodyBase64", "form", "multipart")

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")


def _url(text: str) -> str:
    parse_url(text)
    return text


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text) or text.upper() == "CONNECT":
        raise ValueError("this is not a method that can be requested")
    return text.upper()


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64") from None
    return text


def _record_key(text: str) -> str:
    if text in OWN_KEYS:
        raise ValueError("this key is taken")
    return text


def _text(pattern: str, *, but: Iterable[str] = ()) -> dict[str, Any]:
    """JSON schema: a text of this pattern, except these words in any case."""
    schema: dict[str, Any] = {"type": "string", "pattern": pattern}
    if but:
        words = "|".join("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word) for word in but)
        schema["not"] = {"pattern": f"^({words})$"}
    return schema


_BASE64_TEXT = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_HEADERS = {
    "type": "object",
    "propertyNames": _text("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", but=sorted(REFUSED)),
    "additionalProperties": _text(r"^[^\x00-\x08\x0a-\x1f\x7f]*$"),
}


def _given(*names: str) -> dict[str, Any]:
    """JSON schema: these members are there, and not null."""
    return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}


_ONE_VALUE: dict[str, Any] = {"oneOf": [_given("value"), _given("valueBase64")]}
_ONE_CONTENT: dict[str, Any] = {"allOf": [{"not": _given(*pair)} for pair in combinations(CONTENT_FIELDS, 2)]}
"""What the published schemas can say of the checks of whole models."""

MediaType = Annotated[str, Field(pattern=r"^[\x20-\x7e]+/[\x20-\x7e]+$", max_length=255)]
Base64 = Annotated[str, AfterValidator(_base64), WithJsonSchema(_text(_BASE64_TEXT))]
Method = Annotated[
    str,
    AfterValidator(_method),
    WithJsonSchema(_text("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$", but=("connect",))),
]
Headers = Annotated[dict[str, str], AfterValidator(check_headers), WithJsonSchema(_HEADERS)]
RecordKey = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9!\-_.'()]{1,256}$", json_schema_extra={"not": {"enum": sorted(OWN_KEYS)}}),
    AfterValidator(_record_key),
]
FormValue = str | bool | int | float


class Part(Model):
    """One part of a multipart body: a text, or bytes as base64."""

    model_config = ConfigDict(json_schema_extra=_ONE_VALUE)

    name: Annotated[str, Field(max_length=1_000, description="The field's name.")]
    value: Annotated[str | None, Field(description="A text.")] = None
    value_base64: Annotated[Base64 | None, Field(description="Bytes.")] = None
    filename: Annotated[
        str | None, Field(max_length=1_000, description="Makes the part a file of this name.")
    ] = None
    content_type: Annotated[MediaType | None, Field(description="The part's media type.")] = None

    @model_validator(mode="after")
    def _check_one_value(self) -> Self:
        if (self.value is None) == (self.value_base64 is None):
            raise ValueError("give value or valueBase64")
        return self


class Fetch(Model):
    """Makes an HTTP request and gives the response back. Null stands for an absent parameter."""

    model_config = ConfigDict(json_schema_extra=_ONE_CONTENT)

    url: Annotated[
        str,
        Field(
            max_length=MAX_URL_CHARS,
            description="An http or https URL without credentials.",
            json_schema_extra={"format": "uri"},
        ),
        AfterValidator(_url),
    ]
    method: Annotated[
        Method | None,
        Field(description="Any method but CONNECT; when absent, POST with a body and GET without."),
    ] = None
    headers: Annotated[
        Headers | None, Field(description="Request headers, except those of the connection, such as Host.")
    ] = None
    json_body: Annotated[
        Any, Field(alias="json", description="A JSON value to send. One kind of body at most can be given.")
    ] = None
    body: Annotated[str | None, Field(description="A text to send, as UTF-8.")] = None
    body_base64: Annotated[Base64 | None, Field(description="Bytes to send.")] = None
    form: Annotated[
        dict[str, FormValue | list[FormValue]] | None, Field(description="Fields to send URL-encoded.")
    ] = None
    multipart: Annotated[
        list[Part] | None, Field(min_length=1, description="Parts to send as multipart/form-data.")
    ] = None
    timeout_ms: Annotated[
        int,
        Whole(1, LONGEST_TIMEOUT_MS),
        Field(description="For the whole exchange, redirects included."),
    ] = 60_000
    follow_redirects: Annotated[
        int,
        Whole(0, MAX_REDIRECTS),
        Field(description="How many redirects to follow; a further one is the result."),
    ] = 5
    save_body_as: Annotated[
        RecordKey | None,
        Field(description="The key of a record in the job's key-value store that gets the whole body."),
    ] = None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        given = [
            name for name, value in zip(CONTENT_FIELDS, self._contents(), strict=True) if value is not None
        ]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(given)}")
        if self.multipart is not None and any(name.lower() == "content-type" for name in self.headers or ()):
            raise ValueError("a multipart body brings its own Content-Type header")
        return self

    @property
    def has_content(self) -> bool:
        """Whether the request has a body."""
        return any(value is not None for value in self._contents())

    def _contents(self) -> tuple[Any, ...]:
        return self.json_body, self.body, self.body_base64, self.form, self.multipart


class Content(NamedTuple):
    """A request's body, and the Content-Type it has unless the caller sets another."""

    type: str
    data: bytes


def content_of(params: Fetch) -> Content | None:
    """The body that the parameters ask for; None without one."""
    if params.json_body is not None:
        return Content("application/json", to_json(params.json_body))
    if params.body is not None:
        return Content("text/plain; charset=utf-8", params.body.encode())
    if params.body_base64 is not None:
        return Content("application/octet-stream", base64.b64decode(params.body_base64))
    if params.form is not None:
        return Content("application/x-www-form-urlencoded", _urlencoded(params.form))
    if params.multipart is not None:
        return _multipart(params.multipart)
    return None


def _urlencoded(form: dict[str, FormValue | list[FormValue]]) -> bytes:
    fields = ((name, value if isinstance(value, list) else [value]) for name, value in form.items())
    return urlencode([(name, _field(one)) for name, values in fields for one in values]).encode()


def _field(value: FormValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _multipart(parts: list[Part]) -> Content:
    """The parts as browsers write them (HTML Standard, "multipart/form-data encoding algorithm")."""
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    for part in parts:
        data = base64.b64decode(part.value_base64 or "") if part.value is None else part.value.encode()
        lines += [f"--{boundary}".encode(), *_part_headers(part), b"", data]
    lines += [f"--{boundary}--".encode(), b""]
    return Content(f"multipart/form-data; boundary={boundary}", b"\r\n".join(lines))


def _part_headers(part: Part) -> list[bytes]:
    disposition = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
    if part.filename is not None:
        disposition += f'; filename="{_quoted(part.filename)}"'
    media_type = part.content_type or (None if part.filename is None else "application/octet-stream")
    return [line.encode() for line in (disposition, media_type and f"Content-Type: {media_type}") if line]


def _quoted(text: str) -> str:
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
