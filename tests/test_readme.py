"""The README is true: its commands and programs run as they stand there, and print what it shows.

A shell block right before a JSON or text block is a command and its output, in which ids and times may differ.
Where a section begins with a JSON block, that is the Actor input its commands need.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from async_endpoint.handlers.fetch import run as fetch
from async_endpoint.handlers.fetch_params import Fetch
from async_endpoint.handlers.tasktype import task_type_of
from async_endpoint.jobs.model import JobOptions
from tests.acceptance.service import HERE, ROOT, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydantic import BaseModel

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
END = "-- end of a block --"
MODULE = "my_tasks"
ELSEWHERE = "https://example.com"


class Block(NamedTuple):
    """A fenced block; `output` is the one right after a command."""

    language: str
    text: str
    output: str | None = None

    @property
    def is_command(self) -> bool:
        return self.language == "sh" and "localhost:4321" in self.text


def section(name: str) -> str:
    """The text from a heading to the next one."""
    places = [match.start() for match in HEADING.finditer(README)]
    for start, end in pairwise([*places, len(README)]):
        if README[start:end].partition("\n")[0].lstrip("# ") == name:
            return README[start:end]
    raise AssertionError(f"the README has no section {name!r}")


def blocks(name: str) -> list[Block]:
    text = section(name)
    found = list(BLOCK.finditer(text))
    joined = [a.end() + 1 == b.start() for a, b in pairwise(found)] + [False]
    followers = [match[2] for match in found[1:]] + [""]
    return [
        Block(match[1], match[2], follower if is_joined else None)
        for match, follower, is_joined in zip(found, followers, joined, strict=True)
    ]


def settings_of(name: str) -> dict[str, Any]:
    first = blocks(name)[0]
    assert first.language == "json", f"the section {name!r} does not begin with its settings"
    settings: dict[str, Any] = json.loads(first.text)
    return settings


def code(name: str, language: str) -> str:
    (text,) = [block.text for block in blocks(name) if block.language == language]
    return text


def run(commands: list[Block], port: int, elsewhere: str = ELSEWHERE) -> list[str]:
    """What each command prints, all in one shell as a reader would run them."""
    script = "".join(f"{block.text}\necho\necho '{END}'\n" for block in commands)
    script = script.replace("4321", str(port)).replace(ELSEWHERE, elsewhere)
    done = subprocess.run(
        ["bash", "-eo", "pipefail"], input=script, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.strip() for part in done.stdout.split(END)[:-1]]


def alike(text: str) -> Any:
    """JSON or text with its ids and times made equal."""
    text = TIME.sub("TIME", UUID.sub("ID", text.replace("\r", "").strip()))
    try:
        return json.loads(text)
    except ValueError:
        return text


def values(text: str) -> list[Any]:
    """JSON texts that stand one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def check(commands: list[Block], printed: list[str]) -> None:
    assert commands
    for block, output in zip(commands, printed, strict=True):
        if block.output is not None:
            assert alike(output) == alike(block.output), block.text
        else:
            for value in values(output) or [{"code": "nothing"}]:
                assert "code" not in value, (block.text, value)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services that know the README's handler, and ends them."""
    (tmp_path / f"{MODULE}.py").write_text(code("A task type of your own", "python"), encoding="utf-8")
    path = os.pathsep.join(map(str, (tmp_path, HERE, ROOT)))
    started: list[Service] = []

    def begin(settings: dict[str, Any] | None = None) -> Service:
        env = {"ASYNC_ENDPOINT_HANDLERS": MODULE, "PYTHONPATH": path}
        started.append(Service(tmp_path / "storage", settings, env))
        return started[-1].launch_until_ready()

    yield begin
    for service in started:
        service.kill_sync()


@contextmanager
def server() -> Iterator[tuple[str, list[tuple[bytes, dict[str, str]]]]]:
    """Somebody else's server, its URL, and the bodies and headers that were posted to it."""
    posted: list[tuple[bytes, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.rfile.read(int(self.headers["Content-Length"])), dict(self.headers)))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", posted
        httpd.shutdown()
        thread.join()


# --- commands ---


@pytest.mark.usefixtures("curl")
def test_commands_print_what_the_readme_shows(start: Callable[..., Service]) -> None:
    names = ("Start", "Jobs", "Tasks", "A task type of your own")
    commands = [block for name in names for block in blocks(name) if block.is_command]
    check(commands, run(commands, start().port))


@pytest.mark.usefixtures("curl")
@pytest.mark.parametrize("name", ["Access token", "Webhooks in"])
def test_commands_run_with_the_settings_that_the_section_shows(
    start: Callable[..., Service], name: str
) -> None:
    commands = [block for block in blocks(name) if block.is_command]
    check(commands, run(commands, start(settings_of(name)).port))


@pytest.mark.usefixtures("curl")
def test_signed_hooks_run_what_their_presets_say(start: Callable[..., Service]) -> None:
    service = start(settings_of("Webhooks in"))
    run([block for block in blocks("Webhooks in") if block.is_command], service.port)
    deadline = time.monotonic() + 15
    while len(rows := service.rows()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    results = [row["result"] for row in rows]
    assert {"taskType": "sleep", "ms": 10} in results
    assert {"taskType": "echo", "payload": {"repository": "octo/hello", "commit": "d6fde929"}} in results
    (stripe,) = [r["payload"]["body"] for r in results if "body" in (r.get("payload") or {})]
    assert stripe == {"id": "evt_1", "type": "charge.succeeded"}


@pytest.mark.usefixtures("curl")
def test_fetch_gives_the_result_that_the_readme_names(start: Callable[..., Service]) -> None:
    service = start(settings_of("fetch") | {"allowPrivateNetworks": True})
    with server() as (url, _):
        (printed,) = run([block for block in blocks("fetch") if block.is_command], service.port, url)
    named = re.search(r"The result is `\{(.*?)\}`", section("fetch"))
    assert named
    assert list(json.loads(printed)["result"]) == named[1].split(", ")


@pytest.mark.usefixtures("curl")
def test_a_webhook_is_verified_as_the_readme_does(start: Callable[..., Service]) -> None:
    service = start({"allowPrivateNetworks": True})
    with server() as (url, posted):
        (printed,) = run([block for block in blocks("Webhooks out") if block.is_command], service.port, url)
        deadline = time.monotonic() + 15
        while not posted:
            assert time.monotonic() < deadline, printed
            time.sleep(0.02)
    body, headers = posted[0]
    names: dict[str, Any] = {"body": body, "headers": headers}
    exec(code("Webhooks out", "python"), names)
    assert names["event"]["type"] == "job.completed"
    with pytest.raises(Exception, match="No matching signature"):
        exec(code("Webhooks out", "python"), {"body": body + b" ", "headers": headers})


# --- programs ---


def test_the_handler_is_complete_in_under_15_lines() -> None:
    text = code("A task type of your own", "python")
    assert len(text.splitlines()) < 15
    names: dict[str, Any] = {}
    exec(text, names)
    task_type = task_type_of(names["run"])
    assert task_type
    (shown,) = [b for b in blocks("A task type of your own") if b.is_command and b.output]
    assert f'"type":"{task_type.name}"' in shown.text
    assert f"ASYNC_ENDPOINT_HANDLERS={MODULE} make run" in section("A task type of your own")


def test_the_python_client_runs_jobs(start: Callable[..., Service]) -> None:
    service = start(settings_of("Webhooks in"))
    program = code("Apify clients", "python").replace("4321", str(service.port))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[{'taskType': 'sleep', 'ms': 500}]\n", done.stderr


def test_the_javascript_client_runs_jobs(
    start: Callable[..., Service], node_modules: Path, tmp_path: Path
) -> None:
    service = start(settings_of("Webhooks in"))
    (tmp_path / "node_modules").symlink_to(node_modules)
    program = tmp_path / "program.mjs"
    program.write_text(code("Apify clients", "js").replace("4321", str(service.port)), encoding="utf-8")
    done = subprocess.run(["node", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.endswith("\n[ { taskType: 'echo', payload: 'hello' } ]\n"), done.stdout + done.stderr


# --- tables and links ---


def first_column(text: str) -> set[str]:
    """The names in the first cells of a table."""
    return {
        name
        for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }


def members(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.mark.parametrize(("name", "model"), [("Options", JobOptions), ("fetch", Fetch)])
def test_every_parameter_is_in_its_table(name: str, model: type[BaseModel]) -> None:
    assert first_column(section(name)) == members(model)


def test_every_error_code_of_jobs_is_listed() -> None:
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", section("Errors"), re.MULTILINE))
    sources = [
        p.read_text() for d in ("jobs", "handlers") for p in (ROOT / "async_endpoint" / d).glob("*.py")
    ]
    used = {c for source in sources for c in re.findall(r'"((?:handler|fetch|result)-[a-z-]+)"', source)}
    assert used == {code for code in listed if "-" in code}
    assert listed - used == {"timeout", "cancelled", "interrupted", "expired"}
    assert task_type_of(fetch)


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/apify-api.md", "docs/platform.md"]
)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), path
        headings = (
            re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        )
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, anchor


def test_the_map_of_the_house_names_rooms_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[3]
    named = set(re.findall(r"\b\w+\.py\b", text))
    assert len(named) > 40
    assert named <= {path.name for path in (ROOT / "async_endpoint").rglob("*.py")}
    folders = set(re.findall(r"^  +(\w+)/ ", text, re.MULTILINE))
    assert folders == {path.parent.name for path in (ROOT / "async_endpoint").glob("*/**/__init__.py")}
