"""The Actor's files agree with the code, with each other, and with the platform's own schemas."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft201909Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT201909

import async_endpoint
from async_endpoint.actor.segments import PREFIX
from async_endpoint.docs import TABLES, fill_in, generated, input_schema
from async_endpoint.environment import Environment
from async_endpoint.handlers.catalog import load_catalog
from async_endpoint.jobs.metrics import Metrics
from async_endpoint.jobs.model import Job
from async_endpoint.settings import PROPERTIES, Settings, load_settings
from async_endpoint.web.app import build_app
from async_endpoint.web.backend import Backend
from async_endpoint.web.discovery import DOCUMENT

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

ROOT = Path(__file__).parents[1]
ACTOR = ROOT / ".actor"
ROW = list(json.loads(Job(id="a", type="echo", task=b"{}", created_at=0).row_json()))

SCHEMAS = {
    "actor.json": "actor",
    "input_schema.json": "input",
    "dataset_schema.json": "dataset",
    "output_schema.json": "output",
    "key_value_store_schema.json": "key_value_store",
}


def read(name: str) -> Any:
    return json.loads((ACTOR / name).read_text(encoding="utf-8"))


def referenced(document: Any) -> set[str]:
    """The files that an Actor definition names with a path."""
    if isinstance(document, dict):
        return {path for value in document.values() for path in referenced(value)}
    return {document} if isinstance(document, str) and document.startswith(".") else set()


@pytest.fixture(scope="session")
def official(node_modules: Path) -> dict[str, Validator]:
    """A validator for each kind of file."""
    folder = node_modules / "@apify" / "json_schemas" / "schemas"
    schemas = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    resources = [(schema["$id"], Resource.from_contents(schema, DRAFT201909)) for schema in schemas.values()]
    registry = Registry().with_resources(resources)
    return {
        name: Draft201909Validator(schemas[f"{name}.schema.json"], registry=registry)
        for name in SCHEMAS.values()
    }


@pytest.mark.parametrize(("name", "kind"), SCHEMAS.items())
def test_each_file_follows_its_official_schema(official: dict[str, Validator], name: str, kind: str) -> None:
    assert [error.message for error in official[kind].iter_errors(read(name))] == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("input_schema.json", {"properties": {"x": {"type": "integer", "title": "X"}}}),
        ("dataset_schema.json", {"views": {"overview": {"display": {"component": "pie"}}}}),
        ("actor.json", {"version": "one"}),
    ],
)
def test_the_official_schemas_find_faults(
    official: dict[str, Validator], name: str, fault: dict[str, Any]
) -> None:
    assert not official[SCHEMAS[name]].is_valid(read(name) | fault)


def test_the_official_tool_accepts_the_files(node_modules: Path, tmp_path: Path) -> None:
    environ = os.environ | {"HOME": str(tmp_path), "APIFY_CLI_DISABLE_TELEMETRY": "1"}
    command = [str(node_modules / ".bin" / "apify"), "validate-schema"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("Success:") == 4


def test_every_file_that_the_definition_names_is_there() -> None:
    assert {path for path in referenced(read("actor.json")) if not (ACTOR / path).is_file()} == set()


def test_what_is_generated_is_fresh() -> None:
    stale = [str(path) for path, text in generated(ROOT).items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run 'make docs'"


def test_the_web_server_schema_is_what_the_service_answers() -> None:
    settings = Settings()
    backend = Backend(settings, Environment(), load_catalog((), settings), Metrics())
    assert build_app(backend)[DOCUMENT] == read("openapi.json")


def test_the_readme_has_every_generated_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in TABLES if f"<!-- /generated:{name} -->" not in readme] == []


def test_generated_parts_are_replaced_and_the_rest_is_kept() -> None:
    text = "a\n<!-- generated:settings -->\nold\n<!-- /generated:settings -->\nz"
    once = fill_in(text)
    assert once.startswith("a\n<!-- generated:settings -->\n\n| Setting |")
    assert once.endswith("|\n\n<!-- /generated:settings -->\nz")
    assert fill_in(once) == once


def test_the_input_form_has_each_setting_with_its_limits() -> None:
    fields = input_schema()["properties"]
    assert list(fields) == list(PROPERTIES)
    for name, field in fields.items():
        for end, step in (("minimum", -1), ("maximum", 1)):
            if end in field:
                load_settings({name: field[end]})
                with pytest.raises(Exception, match=f"{name} is"):
                    load_settings({name: field[end] + step})


def test_the_defaults_of_the_input_form_are_the_settings_defaults() -> None:
    fields = input_schema()["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert load_settings(defaults) == load_settings({})


def test_secrets_are_encrypted_by_the_platform() -> None:
    fields = input_schema()["properties"]
    assert {name for name in fields if fields[name].get("isSecret")} == {"accessToken", "presets", "webhooks"}


def test_each_section_of_the_form_is_one_run_of_fields() -> None:
    sections = [schema["section"] for schema in PROPERTIES.values()]
    changes = [a for a, b in zip(sections, [None, *sections], strict=False) if a != b]
    assert len(changes) == len(set(changes))
    fields = input_schema()["properties"].values()
    assert [field["sectionCaption"] for field in fields if "sectionCaption" in field] == changes


def test_the_dataset_describes_the_rows() -> None:
    schema = read("dataset_schema.json")
    assert list(schema["fields"]["properties"]) == ROW
    assert schema["views"]["overview"]["transformation"]["fields"] == ROW
    assert list(schema["views"]["overview"]["display"]["properties"]) == ROW


def test_every_row_fits_the_dataset() -> None:
    fields = Draft201909Validator(read("dataset_schema.json")["fields"])
    job = Job(id="a", type="echo", task=b'{"type":"echo"}', created_at=0, finished_at=5)
    for end in (
        {"status": "completed", "started_at": 1, "result": b"[1]"},
        {"status": "completed", "started_at": 1, "result": b"null"},
        {"status": "failed", "started_at": 1, "error": "no", "error_code": "timeout", "attempt": 3},
        {"status": "cancelled", "error": "no", "error_code": "cancelled"},
    ):
        assert fields.is_valid(json.loads(job.evolve(**end).row_json()))


def test_the_replica_has_a_collection_of_its_own() -> None:
    collections = read("key_value_store_schema.json")["collections"]
    assert collections["replica"]["keyPrefix"] == PREFIX


def test_the_output_names_the_endpoint_and_the_dataset() -> None:
    templates = {name: field["template"] for name, field in read("output_schema.json")["properties"].items()}
    assert templates["endpoint"] == "{{run.containerUrl}}"
    assert templates["jobs"].startswith("{{links.apiDefaultDatasetUrl}}/items")


def test_the_version_is_the_packages() -> None:
    assert async_endpoint.__version__.rsplit(".", 1)[0] == read("actor.json")["version"]


def test_the_actor_is_a_web_server_on_standby() -> None:
    actor = read("actor.json")
    assert actor["name"] == "async-endpoint"
    assert actor["usesStandbyMode"] is True
    assert actor["webServerSchema"] == "./openapi.json"


def test_the_image_runs_unprivileged_on_the_default_port() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"FROM apify/actor-python:3\.\d+", lines[0])
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER myuser"]
    assert lines.index("USER myuser") < next(i for i, line in enumerate(lines) if line.startswith("CMD "))
    assert "EXPOSE 4321" in lines
    assert "ENV ASYNC_ENDPOINT_IN_IMAGE=1 \\" in lines
