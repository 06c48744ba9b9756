"""A service that the platform's clients talk to, and the check of its answers against the published schemas."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker

from tests.acceptance.service import TOKEN

if TYPE_CHECKING:
    from tests.acceptance.service import Service

HERE = Path(__file__).parent
SCHEMAS = json.loads((HERE.parent / "web" / "apify_api" / "published_schemas.json").read_text("utf-8"))
SETTINGS = {
    "accessToken": TOKEN,
    "maxConcurrentTasks": 20,
    "allowPrivateNetworks": True,
    "presets": {
        "half-second": {"type": "sleep", "ms": 500},
        "greet": {"type": "echo", "payload": {"hello": "world"}, "options": {"priority": 1}},
        "crawl-five": {"type": "crawl", "items": 5},
        "long": {"type": "sleep", "ms": 600_000},
        "of-a-push": {"type": "echo", "payload": ["{{body.repository.name}}", "{{headers.x-sender}}"]},
        "whole": {"type": "echo", "payload": "{{body}}"},
        "timed": {"type": "sleep", "ms": "{{body.ms}}", "options": {"timeoutMs": "{{body.limit}}"}},
        "optional": {"type": "sleep", "ms": 1, "options": "{{body.options}}"},
    },
}
ENV = {"ASYNC_ENDPOINT_HANDLERS": "handlers_for_tests,handlers_that_store"}


def check(name: str, body: Any) -> Any:
    """The body, once it is known to be what the platform publishes under this name."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMAS["$defs"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(body)
    return body


def node_environment(service: Service) -> dict[str, str]:
    """What a Node program needs to reach the service."""
    return {"PATH": os.environ["PATH"], "BASE_URL": service.url, "TOKEN": TOKEN}
