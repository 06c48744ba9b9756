"""The ways of the platform's integration tutorial with the official Python client, unmodified."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import openpyxl
import pytest
from apify_client import ApifyClient, ApifyClientAsync
from apify_client.errors import InvalidRequestError, ServerError, UnauthorizedError

from tests.acceptance.apify_service import ENV, SETTINGS
from tests.acceptance.service import TOKEN

if TYPE_CHECKING:
    from apify_client._models import Run

    from tests.acceptance.conftest import Factory
    from tests.acceptance.service import Service


@pytest.fixture(scope="module")
def service(session_make: Factory) -> Service:
    return session_make(SETTINGS, env=ENV).launch_until_ready()


@pytest.fixture(scope="module")
def client(service: Service) -> ApifyClient:
    return ApifyClient(TOKEN, api_url=service.url, max_retries=0)


@pytest.fixture(scope="module")
def crawled(client: ApifyClient) -> Run:
    """A run that stored five items and some records."""
    run = client.task("crawl-five").call()
    assert run is not None
    return run


def test_a_task_is_called_and_its_results_read(client: ApifyClient) -> None:
    run = client.task("anyone/greet").call(task_input={"payload": [1, 2]})
    assert run is not None
    assert (run.status, run.act_id, run.actor_task_id, run.exit_code) == ("SUCCEEDED", "echo", "greet", 0)
    assert run.is_status_message_terminal
    items = client.dataset(run.default_dataset_id).list_items().items
    assert items == [{"taskType": "echo", "payload": [1, 2]}]
    record = client.key_value_store(run.default_key_value_store_id).get_record("OUTPUT")
    assert record is not None
    assert record["value"] == items[0]


def test_waiting_costs_no_polling_interval(client: ApifyClient) -> None:
    client.user().get()  # the first request opens the connection
    times: list[float] = []
    while len(times) < 6 and not any(seconds < 0.55 for seconds in times):  # the machine may be busy
        started = time.perf_counter()
        client.task("half-second").call()
        times.append(time.perf_counter() - started)
    assert 0.5 <= min(times) < 0.55, times


def test_start_then_wait(client: ApifyClient) -> None:
    started = client.task("half-second").start(task_input={"ms": 300})
    assert started.status in ("READY", "RUNNING")
    assert started.finished_at is None
    assert client.run(started.id).wait_for_finish(wait_duration=timedelta(seconds=0)) is not None
    finished = client.run(started.id).wait_for_finish()
    assert finished is not None
    assert finished.status == "SUCCEEDED"
    assert finished.finished_at is not None
    assert finished.finished_at > finished.started_at


def test_an_actor_is_called_with_its_log_redirected(
    client: ApifyClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "apify_client._status_message_watcher.StatusMessageWatcherBase._final_sleep_time_s", 1
    )
    logger = logging.getLogger("redirected")
    with caplog.at_level(logging.DEBUG, "redirected"):
        run = client.actor("talker").call(run_input={"lines": 3, "pause_ms": 800}, logger=logger)
    assert run is not None
    assert run.status == "SUCCEEDED"
    text = caplog.text
    assert all(f"INFO line {number}" in text for number in (1, 2, 3))


def test_no_input_and_a_large_one(client: ApifyClient) -> None:
    empty = client.actor("echo").call(logger=None)
    large = client.actor("echo").call(run_input={"payload": "x" * 50_000}, logger=None)
    assert empty is not None
    assert large is not None
    assert client.run(empty.id).dataset().list_items().items == [{"taskType": "echo", "payload": None}]
    record = client.run(large.id).key_value_store().get_record("OUTPUT")
    assert record is not None
    assert record["value"]["payload"] == "x" * 50_000


def test_run_options_are_read_back(client: ApifyClient) -> None:
    run = client.actor("echo").start(
        memory_mbytes=256, run_timeout=timedelta(seconds=7), build="beta", max_items=3, wait_for_finish=5
    )
    options = run.options
    assert (options.memory_mbytes, options.timeout_secs, options.build) == (256, 7, "beta")
    assert options.max_items == 3


# --- dataset ---


def test_items_page_by_page(client: ApifyClient, crawled: Run) -> None:
    dataset = client.dataset(crawled.default_dataset_id)
    assert [item["number"] for item in dataset.iterate_items(chunk_size=2)] == [0, 1, 2, 3, 4]
    page = dataset.list_items(offset=1, limit=2, desc=True, fields=["number"])
    assert page.items == [{"number": 3}, {"number": 2}]
    assert (page.total, page.offset, page.limit, page.count, page.desc) == (5, 1, 2, 2, True)
    assert dataset.list_items().limit == 999_999_999_999
    described = dataset.get()
    assert described is not None
    assert (described.item_count, described.clean_item_count, described.act_run_id) == (5, 5, crawled.id)


def test_items_are_filtered(client: ApifyClient, crawled: Run) -> None:
    dataset = client.dataset(crawled.default_dataset_id)
    assert "#debug" in dataset.list_items(limit=1).items[0]
    assert dataset.list_items(limit=1, clean=True, flatten=["page"]).items == [
        {"number": 0, "page.title": "Täg 0"}
    ]
    assert dataset.list_items(limit=1, unwind=["page"], omit=["#debug"]).items == [
        {"number": 0, "title": "Täg 0"}
    ]


def test_items_in_every_format(client: ApifyClient, crawled: Run) -> None:
    def download(item_format: str, **options: Any) -> bytes:
        dataset = client.dataset(crawled.default_dataset_id)
        return dataset.get_items_as_bytes(item_format=item_format, clean=True, **options)

    expected = [{"number": number, "page": {"title": f"Täg {number}"}} for number in range(5)]
    assert json.loads(download("json")) == expected
    assert [json.loads(line) for line in download("jsonl").splitlines()] == expected
    table = [["number", "page/title"], *([str(number), f"Täg {number}"] for number in range(5))]
    assert list(csv.reader(io.StringIO(download("csv").decode("utf-8-sig")))) == table
    assert (
        list(csv.reader(io.StringIO(download("csv", bom=False, delimiter=";").decode()), delimiter=";"))
        == table
    )
    sheet = openpyxl.load_workbook(io.BytesIO(download("xlsx"))).worksheets[0]
    assert [[str(cell.value) for cell in row] for row in sheet.iter_rows()] == table
    rows = ElementTree.fromstring(download("xml", xml_root="books", xml_row="book"))
    assert (rows.tag, [row.findtext("page/title") for row in rows]) == (
        "books",
        [row[1] for row in table[1:]],
    )
    channel = ElementTree.fromstring(download("rss"))[0]
    assert len(channel.findall("item")) == 5
    assert download("html").decode().count("<tr>") == 6


def test_items_through_a_view(client: ApifyClient, crawled: Run) -> None:
    rows = client.dataset("default")
    while not (items := rows.list_items(view="overview", fields=["jobId"], limit=1).items):
        time.sleep(0.05)  # the first row is on its way
    assert list(items[0]) == ["jobId"]
    with pytest.raises(InvalidRequestError) as refused:
        client.dataset(crawled.default_dataset_id).list_items(view="overview")
    assert refused.value.type == "requested-dataset-view-does-not-exist"


def test_items_while_and_after_a_run_makes_them(client: ApifyClient, crawled: Run) -> None:
    items = list(client.run(crawled.id).iterate_dataset_items())
    assert [item["number"] for item in items] == [0, 1, 2, 3, 4]
    assert crawled.storage_ids is not None
    assert crawled.storage_ids.datasets is not None
    assert crawled.storage_ids.datasets.default == crawled.default_dataset_id


def test_items_are_streamed(client: ApifyClient, crawled: Run) -> None:
    with client.dataset(crawled.default_dataset_id).stream_items(item_format="jsonl") as response:
        assert len(b"".join(response.iter_bytes()).splitlines()) == 5


def test_the_default_dataset_holds_the_rows(client: ApifyClient, crawled: Run) -> None:
    deadline = time.monotonic() + 10
    while crawled.id not in [row["jobId"] for row in client.dataset("default").iterate_items(chunk_size=3)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    described = client.dataset("default").get()
    assert described is not None
    assert described.item_count == len(list(client.dataset("default").iterate_items()))


# --- key-value store ---


def test_records_and_keys(client: ApifyClient, crawled: Run) -> None:
    store = client.key_value_store(crawled.default_key_value_store_id)
    keys = ["INPUT", "OUTPUT", "page.html", "shot.png"]
    assert [item.key for item in store.iterate_keys(chunk_size=1)] == keys
    first = store.list_keys(limit=2)
    assert (first.is_truncated, first.next_exclusive_start_key) == (True, "OUTPUT")
    rest = store.list_keys(exclusive_start_key="OUTPUT")
    assert ([item.key for item in rest.items], rest.is_truncated) == (keys[2:], False)
    assert rest.next_exclusive_start_key is None
    assert store.get_record("INPUT")["value"] == {"type": "crawl", "items": 5}  # type: ignore[index]
    png = store.get_record_as_bytes("shot.png")
    assert png is not None
    assert (png["value"], png["content_type"]) == (b"\x89PNG\r\n", "image/png")
    assert first.items[1].size == len(json.dumps({"crawled": 5}).replace(" ", ""))
    with store.stream_record("page.html") as record:
        assert record is not None
        assert record["value"].read() == b"<script>alert(1)</script>"
    assert [item.key for item in store.list_keys(prefix="p").items] == ["page.html"]
    assert store.record_exists("shot.png")
    assert not store.record_exists("nothing")
    assert store.get_record("nothing") is None


def test_the_default_store_hides_the_input_of_the_service(client: ApifyClient) -> None:
    store = client.key_value_store("default")
    assert store.get() is not None
    assert store.get_record("INPUT") is None
    assert store.get_record("INPUT.json") is None
    assert [item.key for item in store.iterate_keys()] == []


# --- runs ---


def test_runs_are_listed_and_the_last_one_found(client: ApifyClient) -> None:
    actor = client.actor("many")
    runs = [actor.start(run_input={"items": number}, wait_for_finish=5) for number in range(3)]
    assert [item.id for item in actor.runs().list().items] == [run.id for run in runs]
    page = actor.runs().list(desc=True, limit=1, offset=1, status="SUCCEEDED")
    assert ([item.id for item in page.items], page.total, page.count) == ([runs[1].id], 3, 1)
    assert actor.runs().list(status=["FAILED", "ABORTED"]).total == 0
    assert actor.runs().list(started_after=runs[2].started_at).items[-1].id == runs[2].id
    last = actor.last_run(status="SUCCEEDED")
    assert last.get().id == runs[2].id  # type: ignore[union-attr]
    assert last.dataset().list_items().items == [{"number": 0}, {"number": 1}]
    assert last.key_value_store().get_record("OUTPUT") is not None
    assert last.log().get() is not None
    assert actor.last_run(status="FAILED").get() is None
    assert actor.last_run(origin="API").get().id == runs[2].id  # type: ignore[union-attr]
    assert actor.last_run(origin="WEBHOOK").get() is None
    assert runs[0].id in [item.id for item in client.runs().iterate(chunk_size=2)]


def test_a_failed_run(client: ApifyClient) -> None:
    run = client.actor("raise").call(run_input={"message": "broken"}, logger=None)
    assert run is not None
    assert (run.status, run.exit_code) == ("FAILED", 1)
    assert run.status_message is not None
    assert "broken" in run.status_message
    assert client.run(run.id).key_value_store().get_record("OUTPUT") is None
    assert client.run(run.id).dataset().list_items().items == []


def test_a_run_that_takes_too_long(client: ApifyClient) -> None:
    run = client.task("long").call(run_timeout=timedelta(seconds=1))
    assert run is not None
    assert run.status == "TIMED-OUT"


def test_abort(client: ApifyClient) -> None:
    run = client.task("long").start()
    aborted = client.run(run.id).abort()
    assert aborted.status == "ABORTED"
    assert client.run(run.id).abort(gracefully=True).status == "ABORTED"
    assert client.run(run.id).wait_for_finish().status == "ABORTED"  # type: ignore[union-attr]


def test_resurrect_goes_on_under_the_same_id(client: ApifyClient) -> None:
    run = client.actor("echo").call(run_input={"payload": "again"}, logger=None)
    assert run is not None
    total = client.actor("echo").runs().list().total
    assert client.run(run.id).resurrect().id == run.id
    finished = client.run(run.id).wait_for_finish()
    assert finished is not None
    assert (finished.id, finished.status, finished.stats.resurrect_count) == (run.id, "SUCCEEDED", 1)
    again = client.run(run.id).resurrect(memory_mbytes=512)
    assert (again.id, again.stats.resurrect_count, again.options.memory_mbytes) == (run.id, 2, 512)
    client.run(run.id).wait_for_finish()
    assert client.run(run.id).dataset().list_items().items[0]["payload"] == "again"
    assert client.actor("echo").runs().list().total == total
    assert client.actor("echo").last_run().get().id == run.id  # type: ignore[union-attr]


def test_only_an_ended_run_is_resurrected(client: ApifyClient) -> None:
    run = client.task("long").start()
    with pytest.raises(InvalidRequestError):
        client.run(run.id).resurrect()
    client.run(run.id).abort()


def test_the_log_is_read_and_streamed(client: ApifyClient) -> None:
    run = client.actor("talker").start(run_input={"lines": 4, "pause_ms": 100})
    with client.run(run.id).log().stream() as response:
        assert response is not None
        streamed = b"".join(response.iter_bytes()).decode()
    text = client.log(run.id).get()
    assert text == streamed
    assert text is not None
    for line in text.splitlines():
        moment, _, message = line.partition(" ")
        assert len(moment) == 24
        assert moment.endswith("Z")
        assert message
    assert [line[25:] for line in text.splitlines()][2:-1] == [
        f"INFO line {number}" for number in range(1, 5)
    ]


# --- what handlers store ---


def test_a_thread_stores_items_and_its_own_output(client: ApifyClient) -> None:
    run = client.actor("crawl-in-thread").call(run_input={"items": 3}, logger=None)
    assert run is not None
    assert client.run(run.id).dataset().list_items().items == [{"number": number} for number in range(3)]
    record = client.run(run.id).key_value_store().get_record("OUTPUT")
    assert record is not None
    assert record["value"] == {"from": "thread"}


def test_only_the_last_attempt_counts(client: ApifyClient) -> None:
    run = client.actor("crawl-twice").call(
        run_input={"options": {"retry": {"maxAttempts": 2, "initialDelayMs": 1}}}, logger=None
    )
    assert run is not None
    assert (run.status, run.stats.restart_count) == ("SUCCEEDED", 1)
    assert client.run(run.id).dataset().list_items().items == [{"attempt": 2}]


def test_a_failed_run_keeps_what_it_stored(client: ApifyClient) -> None:
    run = client.actor("crawl-and-fail").call(logger=None)
    assert run is not None
    assert run.status == "FAILED"
    assert client.run(run.id).dataset().list_items().items == [{"kept": True}]


def test_what_a_run_stores_is_bounded(client: ApifyClient) -> None:
    run = client.actor("crawl-too-much").call(logger=None)
    assert run is not None
    assert run.status == "FAILED"
    assert client.run(run.id).get().status_message.startswith("All that a job stores")  # type: ignore[union-attr]


def test_what_runs_stored_survives_a_kill(session_make: Factory) -> None:
    service = session_make(SETTINGS, env=ENV).launch_until_ready()
    client = ApifyClient(TOKEN, api_url=service.url, max_retries=0)
    run = client.task("crawl-five").call()
    assert run is not None
    client.run(run.id).resurrect()
    client.run(run.id).wait_for_finish()
    before = client.run(run.id).dataset().list_items().items
    service.kill_sync()
    service.launch_until_ready()
    after = client.run(run.id).get()
    assert after is not None
    assert (after.status, after.stats.resurrect_count, after.actor_task_id) == ("SUCCEEDED", 1, "crawl-five")
    assert client.run(run.id).dataset().list_items().items == before
    assert client.run(run.id).key_value_store().get_record("shot.png") is not None
    assert client.task("crawl-five").runs().list().total == 1
    service.kill_sync()


# --- Actors, tasks, users, errors ---


def test_actors_tasks_and_the_user_are_read(client: ApifyClient) -> None:
    actor, task, user = client.actor("sleep").get(), client.task("greet").get(), client.user().get()
    assert actor is not None
    assert (actor.id, actor.name) == ("sleep", "sleep")
    assert task is not None
    assert (task.name, task.act_id) == ("greet", "echo")
    assert client.task("greet").get_input()["payload"] == {"hello": "world"}
    assert user is not None
    assert user.username
    assert client.actor("nobody").get() is None
    assert client.task("nobody").get() is None
    assert client.run("nobody").get() is None
    assert client.dataset("nobody").get() is None
    assert client.key_value_store("nobody").get() is None


def test_errors_have_the_types_of_the_platform(client: ApifyClient, service: Service) -> None:
    with pytest.raises(InvalidRequestError) as invalid:
        client.task("greet").start(task_input={"unknown": 1})
    assert invalid.value.type == "invalid-input"
    with pytest.raises(UnauthorizedError) as unauthorized:
        ApifyClient("wrong", api_url=service.url, max_retries=0).user().get()
    assert unauthorized.value.type == "user-or-token-not-found"
    with pytest.raises(ServerError) as unserved:
        client.datasets().list()
    assert (unserved.value.status_code, unserved.value.type) == (501, "not-implemented")


async def test_the_async_client(service: Service) -> None:
    client = ApifyClientAsync(TOKEN, api_url=service.url, max_retries=0)
    run = await client.task("crawl-five").call(task_input={"items": 3})
    assert run is not None
    assert run.status == "SUCCEEDED"
    items = [item async for item in client.dataset(run.default_dataset_id).iterate_items(chunk_size=2)]
    assert [item["number"] for item in items] == [0, 1, 2]
    store = client.key_value_store(run.default_key_value_store_id)
    assert "OUTPUT" in [item.key async for item in store.iterate_keys()]
    assert (await store.get_record("OUTPUT"))["value"] == {"crawled": 3}  # type: ignore[index]
    started = await client.task("long").start()
    assert (await client.run(started.id).abort()).status == "ABORTED"
    assert (await client.run(started.id).resurrect()).status in ("READY", "RUNNING")
    assert (await client.run(started.id).abort()).status == "ABORTED"
    assert "Run was aborted" in (await client.log(started.id).get() or "")
    last = await client.task("crawl-five").last_run().get()
    assert last is not None
    assert last.id == run.id
