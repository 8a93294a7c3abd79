"""One document for many readers: who starts a run, who waits for it and who does not."""

from __future__ import annotations

import threading

import pytest

from gpufleet.agent.smi.feed import Feed, NothingYet


class Source:
    """Makes documents 1, 2, 3 …; closed, it holds the run that asks until it is opened."""

    def __init__(self) -> None:
        self.made = 0
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.now = 1000.0

    def fetch(self) -> int:
        self.made += 1
        number = self.made
        assert self.open.wait(60)
        if self.error is not None:
            raise self.error
        return number

    def clock(self) -> float:
        return self.now


@pytest.fixture
def source() -> Source:
    return Source()


def patient(source: Source) -> Feed[int]:
    return Feed(source.fetch, source.clock, patience_seconds=60)


def test_readers_at_once_share_a_run(source: Source) -> None:
    feed = patient(source)
    source.open.clear()
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda who=who: found.append(feed.read(who).document))
        for who in "abcdefgh"
    ]
    for thread in threads:
        thread.start()
    source.open.set()
    for thread in threads:
        thread.join()
    assert found == [1] * 8
    assert source.made == 1


def test_coming_again_starts_a_run_and_a_newcomer_shares_it(source: Source) -> None:
    feed = patient(source)
    assert [feed.read(who).document for who in "ab"] == [1, 1]
    assert [feed.read(who).document for who in "abc"] == [2, 2, 2]


def test_an_old_document_is_not_given_to_a_newcomer(source: Source) -> None:
    feed = patient(source)
    assert feed.read("a").document == 1
    source.now += 0.6
    assert feed.read("b").document == 2


def test_without_patience_the_document_before_is_told_until_it_is_too_old(source: Source) -> None:
    feed = Feed(source.fetch, source.clock, patience_seconds=0)
    assert feed.next(60).document == 1
    assert feed.read("a").document == 1
    source.open.clear()
    source.now += 1
    assert feed.read("a").document == 1
    source.now += 18
    assert feed.read("a").document == 1
    source.now += 60
    with pytest.raises(NothingYet):
        feed.read("a")
    assert source.made == 2
    source.open.set()


def test_a_failed_run_is_told_to_everybody_and_tried_again_later(source: Source) -> None:
    feed = patient(source)
    source.error = ValueError("no")
    for who in "abc":
        with pytest.raises(ValueError, match="no"):
            feed.read(who)
    assert source.made == 1
    source.now += 1
    source.error = None
    assert feed.read("a").document == 2


def test_forgotten_documents_are_not_told(source: Source) -> None:
    feed = patient(source)
    feed.next(60)
    feed.forget()
    assert feed.peek() is None
    assert feed.next(60).document == 2


def test_nothing_comes_of_a_run_that_does_not_end(source: Source) -> None:
    feed = patient(source)
    source.open.clear()
    with pytest.raises(NothingYet):
        feed.next(0.01)
    source.open.set()
    assert feed.next(60).document == 1
