"""Encoded bodies: built once a version in a worker thread, shared by all who ask."""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Results by (key, version): those of the newest version are kept, least recently used go.

    ``weigh`` gives a result's size in bytes. Whoever asks while a result is being made waits for
    it, and going away does not stop the making for the others. At most ``workers`` are made at a
    time, the others queue.
    """

    def __init__(self, weigh: Callable[[T], int], max_bytes: int, workers: int = 2) -> None:
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._gate = asyncio.Semaphore(workers)
        self._version = -1
        self._making: dict[tuple[Hashable, int], asyncio.Task[T]] = {}
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    async def get(self, key: Hashable, version: int, make: Callable[[], T]) -> T:
        """The result of this key at this version; ``make`` runs in a worker thread if need be."""
        if version == self._version and key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._making.get((key, version))
        if task is None:
            task = asyncio.create_task(self._make(key, version, make))
            self._making[(key, version)] = task
            task.add_done_callback(lambda done: self._done(key, version, done))
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, version: int, make: Callable[[], T]) -> T:
        async with self._gate:
            result = await asyncio.to_thread(make)
        self._keep(key, version, result)
        return result

    def _done(self, key: Hashable, version: int, task: asyncio.Task[T]) -> None:
        self._making.pop((key, version), None)
        if not task.cancelled():
            task.exception()  # seen, even when everybody who waited has gone

    def _keep(self, key: Hashable, version: int, result: T) -> None:
        if version < self._version:
            return
        if version > self._version:
            self._version = version
            self._kept.clear()
            self._bytes = 0
        self._kept[key] = result
        self._bytes += self._weigh(result)
        while self._bytes > self._max_bytes and self._kept:
            _, old = self._kept.popitem(last=False)
            self._bytes -= self._weigh(old)


@dataclass(slots=True)
class Body:
    """A body as it is and, where it is worth it, packed."""

    plain: bytes
    packed: bytes | None = field(default=None)

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.plain) + len(self.packed or b"")


WORTH_PACKING = 4096


def body(plain: bytes, packed: bool) -> Body:
    """A body, packed with gzip where that is asked for and the body is large."""
    if not packed or len(plain) < WORTH_PACKING:
        return Body(plain)
    return Body(plain, gzip.compress(plain, 1, mtime=0))
