from __future__ import annotations

import asyncio

from async_endpoint.jobs.feed import Feed, Transition


def names(reader: asyncio.Queue[Transition | None]) -> list[str | None]:
    found = []
    while not reader.empty():
        transition = reader.get_nowait()
        found.append(transition and transition.name)
    return found


def test_every_reader_hears_what_comes_while_it_listens() -> None:
    feed = Feed()
    feed.publish(Transition("before", b"{}"))
    with feed.subscribe() as first:
        feed.publish(Transition("one", b"{}"))
        with feed.subscribe() as second:
            feed.publish(Transition("two", b"{}"))
        feed.publish(Transition("three", b"{}"))
    feed.publish(Transition("after", b"{}"))
    assert names(first) == ["one", "two", "three"]
    assert names(second) == ["two"]


def test_without_readers_there_is_nobody_to_tell() -> None:
    feed = Feed()
    assert not feed
    with feed.subscribe():
        assert feed
    assert not feed


def test_a_reader_that_falls_behind_is_dropped_and_the_others_go_on() -> None:
    feed = Feed()
    with feed.subscribe() as slow, feed.subscribe() as quick:
        for number in range(1000):
            feed.publish(Transition(str(number), b"{}"))
        assert names(quick) == [str(number) for number in range(1000)]
        assert slow.qsize() == 1000
        feed.publish(Transition("more", b"{}"))
        assert names(slow) == [None]
        feed.publish(Transition("even more", b"{}"))
        assert names(slow) == []
        assert names(quick) == ["more", "even more"]


async def test_the_end_wakes_those_who_wait_and_comes_once() -> None:
    feed = Feed()
    with feed.subscribe() as reader:
        waiting = asyncio.create_task(reader.get())
        await asyncio.sleep(0)
        feed.close()
        feed.close()
        assert await asyncio.wait_for(waiting, 5) is None
        feed.publish(Transition("after", b"{}"))
        assert names(reader) == []


def test_what_was_told_before_the_end_is_still_heard() -> None:
    feed = Feed()
    with feed.subscribe() as reader:
        feed.publish(Transition("last", b"{}"))
        feed.close()
    assert names(reader) == ["last", None]
