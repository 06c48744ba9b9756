"""The environment variables, their old names, and blank ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from async_endpoint.environment import VARIABLES, Environment, drop_blank_variables, load_environment
from async_endpoint.errors import SettingsError


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_environment(environ)
    return str(caught.value)


def test_an_empty_environment_means_the_defaults() -> None:
    assert load_environment({}) == Environment(
        port=4321,
        container_url=None,
        storage_dir=Path("storage"),
        purge_on_start=True,
        handler_modules=(),
        on_platform=False,
        in_image=False,
    )


TEXTS = {
    "port": ("5000", 5000),
    "container_url": ("https://example.com/base/", "https://example.com/base"),
    "storage_dir": ("/data", Path("/data")),
    "purge_on_start": ("0", False),
    "handler_modules": ("one.two, three,", ("one.two", "three")),
    "on_platform": ("1", True),
    "in_image": ("1", True),
}


@pytest.mark.parametrize("attribute", VARIABLES)
def test_each_variable_sets_its_attribute_under_each_name(attribute: str) -> None:
    text, value = TEXTS[attribute]
    for name in VARIABLES[attribute].names:
        assert getattr(load_environment({name: text}), attribute) == value


@pytest.mark.parametrize("attribute", VARIABLES)
def test_blank_variables_count_as_not_set(attribute: str) -> None:
    for blank in ("", "  "):
        environ = dict.fromkeys(VARIABLES[attribute].names, blank)
        assert load_environment(environ) == Environment()


def test_the_present_name_goes_before_the_old_one() -> None:
    both = {"APIFY_CONTAINER_PORT": "1", "ACTOR_WEB_SERVER_PORT": "2"}
    assert load_environment(both).port == 2
    assert load_environment(both | {"ACTOR_WEB_SERVER_PORT": ""}).port == 1


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("ACTOR_WEB_SERVER_PORT", "http"),
        ("ACTOR_WEB_SERVER_PORT", "65536"),
        ("ACTOR_WEB_SERVER_PORT", "-1"),
        ("APIFY_CONTAINER_PORT", "4_321"),
        ("APIFY_CONTAINER_PORT", "٣"),
        ("ACTOR_WEB_SERVER_URL", "example.com"),
        ("ACTOR_WEB_SERVER_URL", "ftp://example.com"),
        ("APIFY_CONTAINER_URL", "http://["),
        ("APIFY_PURGE_ON_START", "maybe"),
        ("ASYNC_ENDPOINT_HANDLERS", "my-module"),
        ("ASYNC_ENDPOINT_HANDLERS", "my_module.py/x"),
    ],
)
def test_a_bad_variable_is_named_with_what_it_takes(name: str, bad: str) -> None:
    line = refusal({name: bad})
    assert line.startswith(f"{name} is {bad!r}; it must be ")
    assert "\n" not in line


def test_every_bad_variable_has_one_line() -> None:
    assert len(refusal({"ACTOR_WEB_SERVER_PORT": "x", "CRAWLEE_PURGE_ON_START": "x"}).splitlines()) == 2


@pytest.mark.parametrize("text", ["1", "true", "True", "yes", "ON"])
def test_switches_are_on_in_several_spellings(text: str) -> None:
    assert load_environment({"APIFY_IS_AT_HOME": text}).on_platform


@pytest.mark.parametrize(
    ("environment", "token_set", "host"),
    [
        (Environment(), False, "127.0.0.1"),
        (Environment(), True, "0.0.0.0"),
        (Environment(on_platform=True), False, "0.0.0.0"),
        (Environment(in_image=True), False, "0.0.0.0"),
    ],
)
def test_it_listens_widely_only_where_meant(environment: Environment, token_set: bool, host: str) -> None:
    assert environment.host(token_set=token_set) == host


def test_blank_variables_are_dropped_before_the_sdk_reads_them() -> None:
    environ = {
        "ACTOR_WEB_SERVER_PORT": "",
        "ACTOR_STANDBY_URL": " ",
        "APIFY_TOKEN": "",
        "CRAWLEE_STORAGE_DIR": "",
        "APIFY_USER_ID": "me",
        "EDITOR": "",
    }
    drop_blank_variables(environ)
    assert environ == {"APIFY_USER_ID": "me", "EDITOR": ""}
