"""The Actor input becomes settings, or one clear line for each field that cannot."""

from __future__ import annotations

import logging
import re

import pytest

from async_endpoint.errors import SettingsError
from async_endpoint.fields import LONGEST_MS
from async_endpoint.settings import PROPERTIES, Settings, load_settings

DEFAULTS = {
    "maxConcurrentTasks": 5,
    "maxQueuedTasks": 10_000,
    "jobTimeoutMs": None,
    "maxSleepMs": 3_600_000,
    "maxBodyBytes": 1_048_576,
    "maxResultBytes": 1_048_576,
    "maxWaitTimeoutMs": 3_600_000,
    "defaultWaitTimeoutMs": 600_000,
    "retentionHours": 24,
    "maxRetainedJobs": 100_000,
    "durability": "full",
    "allowFetchTasks": False,
    "fetchAllowedHosts": (),
    "allowPrivateNetworks": False,
    "webhooks": (),
    "webhookRetryDelaysMs": (5_000, 30_000, 120_000, 600_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000),
    "presets": {},
    "accessToken": None,
}

BOUNDS = {
    "maxConcurrentTasks": (1, 50),
    "maxQueuedTasks": (1, 10_000_000),
    "jobTimeoutMs": (1, LONGEST_MS),
    "maxSleepMs": (0, LONGEST_MS),
    "maxBodyBytes": (1, 4 * 1_048_576),
    "maxResultBytes": (1, 4 * 1_048_576),
    "maxWaitTimeoutMs": (0, LONGEST_MS),
    "retentionHours": (1, 8_760),
    "maxRetainedJobs": (1, 10_000_000),
}


def refusal(actor_input: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(actor_input)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def token(settings: Settings) -> str | None:
    return settings.access_token.get_secret_value() if settings.access_token else None


@pytest.mark.parametrize("actor_input", [None, {}, dict.fromkeys(DEFAULTS)])
def test_nothing_given_means_the_defaults(actor_input: object) -> None:
    assert load_settings(actor_input).model_dump(by_alias=True) == DEFAULTS


@pytest.mark.parametrize(("name", "bounds"), BOUNDS.items())
def test_numbers_are_taken_up_to_their_bounds(name: str, bounds: tuple[int, int]) -> None:
    low, high = bounds
    for good in bounds:
        assert load_settings({name: good}).model_dump(by_alias=True)[name] == good
    for bad in (low - 1, high + 1):
        assert refusal({name: bad}) == f"{name} is {bad}; it must be a whole number from {low} to {high}."


@pytest.mark.parametrize("bad", ["5", 5.5, 5.0, True, [5], {}])
def test_numbers_are_not_made_of_other_things(bad: object) -> None:
    assert "; it must be a whole number from 1 to 50." in refusal({"maxConcurrentTasks": bad})


@pytest.mark.parametrize("blank", ["", " ", "\t \n", None])
def test_a_blank_token_is_not_set(blank: str | None) -> None:
    assert load_settings({"accessToken": blank}).access_token is None


def test_a_token_loses_the_space_around_it() -> None:
    assert token(load_settings({"accessToken": " pass word é\n"})) == "pass word é"


def test_a_token_that_no_header_can_carry_is_refused_unseen() -> None:
    line = refusal({"accessToken": "pass\nword"})
    assert line.startswith("accessToken is not valid")
    assert line.endswith("it must be a text without control characters.")
    assert "pass" not in line


def test_secrets_do_not_print() -> None:
    settings = load_settings(
        {
            "accessToken": "hush-1",
            "webhooks": [{"url": "https://example.com/hush-2", "secret": "whsec_aHVzaC0z"}],
            "presets": {"nightly": {"type": "echo", "payload": "hush-4"}},
        }
    )
    assert not re.search("hush|whsec", repr(settings) + str(settings))
    assert settings.webhooks[0].secret == "whsec_aHVzaC0z"
    assert settings.presets["nightly"]["payload"] == "hush-4"


def test_the_default_wait_is_cut_to_the_longest() -> None:
    assert load_settings({"maxWaitTimeoutMs": 1_000}).default_wait_timeout_ms == 1_000
    both = {"maxWaitTimeoutMs": 1_000, "defaultWaitTimeoutMs": 2_000}
    assert load_settings(both).default_wait_timeout_ms == 1_000
    assert load_settings(both | {"defaultWaitTimeoutMs": 10}).default_wait_timeout_ms == 10


def test_every_bad_field_has_one_line() -> None:
    lines = refusal(
        {
            "maxConcurrentTasks": 0,
            "durability": "most",
            "allowFetchTasks": "yes",
            "maxSleepMs": 1,
            "webhookRetryDelaysMs": [1, -1],
        }
    ).splitlines()
    assert lines == [
        "maxConcurrentTasks is 0; it must be a whole number from 1 to 50.",
        "durability is \"most\"; it must be 'full' or 'snapshot'.",
        'allowFetchTasks is "yes"; it must be true or false.',
        "webhookRetryDelaysMs[1] is -1; webhookRetryDelaysMs must be a list of up to 20 whole numbers "
        f"from 0 to {LONGEST_MS}.",
    ]


def test_a_long_value_is_shown_in_part() -> None:
    assert len(refusal({"durability": "x" * 10_000})) < 200


@pytest.mark.parametrize("host", ["https://example.com", "example.com/path", "user@example.com", "a b", ""])
def test_an_allowed_host_is_a_name_only(host: str) -> None:
    assert refusal({"fetchAllowedHosts": ["example.com", host]}).startswith("fetchAllowedHosts[1] is ")


@pytest.mark.parametrize("name", ["a", "A" * 63, "nightly-2.run_1", "0"])
def test_preset_names(name: str) -> None:
    assert list(load_settings({"presets": {name: {}}}).presets) == [name]


@pytest.mark.parametrize("name", ["", "-a", "A" * 64, "a b", "a/b", "é", "a\n"])
def test_bad_preset_names_are_named(name: str) -> None:
    line = refusal({"presets": {name: {}}})
    assert line.startswith("presets")
    assert "a name has 1 to 63 letters, digits" in line
    assert "\n" not in line


def test_faults_inside_secret_fields_show_where_but_not_what() -> None:
    lines = refusal(
        {
            "webhooks": [{"secret": 5150, "headers": {"X": "y"}, "hush": "5150"}],
            "presets": {"nightly": ["5150"]},
        }
    )
    assert "5150" not in lines
    starts = [
        "webhooks[0].url is missing",
        "webhooks[0].secret is",
        "webhooks[0].hush is not known",
        "presets.nightly",
    ]
    for line, start in zip(lines.splitlines(), starts, strict=True):
        assert line.startswith(start)


def test_a_webhook_that_cannot_be_delivered_is_refused_unseen() -> None:
    line = refusal(
        {"webhooks": [{"url": "https://example.com"}, {"url": "ftp://hush.example", "secret": "whsec_hush!"}]}
    )
    assert re.match(r"webhooks\[1\] is not valid \(url: .+; secret: .+\); webhooks must be a list", line)
    assert "hush" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("actor_input", "kind"), [([], "list"), ("hush", "str"), (5, "int")], ids=["list", "text", "number"]
)
def test_an_input_that_is_no_object_is_refused(actor_input: object, kind: str) -> None:
    assert refusal(actor_input) == f"The Actor input must be a JSON object, not of type {kind}."


@pytest.mark.parametrize("payload", [float("nan"), float("-inf"), "\ud800"])
def test_an_input_that_is_not_json_is_refused(payload: object) -> None:
    assert refusal({"presets": {"a": {"payload": payload}}}).startswith("The Actor input is not JSON")


def test_unknown_fields_are_ignored_and_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings = load_settings({"accesToken": "hush", "zzz": 1, "max_sleep_ms": 5, "maxSleepMs": 7})
    assert settings.max_sleep_ms == 7
    assert settings.access_token is None
    assert [record.getMessage() for record in caplog.records] == [
        "Input field 'accesToken' is not a setting and is ignored; did you mean accessToken?",
        "Input field 'zzz' is not a setting and is ignored",
        "Input field 'max_sleep_ms' is not a setting and is ignored; did you mean maxSleepMs?",
    ]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).max_sleep_ms = 5  # type: ignore[misc]


def test_tests_may_name_settings_as_python_does() -> None:
    assert Settings(max_sleep_ms=5, durability="snapshot").max_sleep_ms == 5


def test_every_setting_says_what_it_is() -> None:
    for name, schema in PROPERTIES.items():
        assert schema["title"], name
        assert schema["description"].endswith("."), name
        assert schema["section"], name
    assert list(PROPERTIES) == ["accessToken", *(name for name in PROPERTIES if name != "accessToken")]
    assert set(PROPERTIES) == set(DEFAULTS)
