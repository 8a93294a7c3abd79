"""Recent load of lines, in buckets of some seconds: what sparklines show."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

KEPT = 400
BUCKET_SECONDS = 5.0


class Sparks(Mapping[str, Sequence[float | None]]):
    """Values by line, oldest first. A bucket without a value is ``None``, not the one before."""

    def __init__(self, seconds: float = BUCKET_SECONDS, kept: int = KEPT) -> None:
        self.seconds = seconds
        self._kept = kept
        self._series: dict[str, _Series] = {}

    def bucket(self, now_ms: int) -> int:
        """The number of the bucket of a time."""
        return int(now_ms // (self.seconds * 1000))

    def add(self, key: str, now_ms: int, value: float | None) -> None:
        """Another value; a bucket shows the mean of those in it."""
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self._kept)
        series.add(self.bucket(now_ms), value)

    def wants(self, key: str, now_ms: int) -> bool:
        """Whether the past of a line is to be asked for: it never was, or there is a gap."""
        series = self._series.get(key)
        return series is None or not series.filled or series.last < self.bucket(now_ms) - 2

    def fill(self, key: str, points: Iterable[tuple[int, float | None]]) -> None:
        """The past from the hub, as times in ms and values; values that are there already stay."""
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(self._kept)
        series.fill((self.bucket(time_ms), value) for time_ms, value in points)

    def keep(self, keys: Iterable[str]) -> None:
        """Forgets every line but these."""
        wanted = set(keys)
        for key in [key for key in self._series if key not in wanted]:
            del self._series[key]

    def __getitem__(self, key: str) -> Sequence[float | None]:
        return tuple(self._series[key].values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._series)

    def __len__(self) -> int:
        return len(self._series)


class _Series:
    __slots__ = ("count", "filled", "last", "values")

    def __init__(self, kept: int) -> None:
        self.values: deque[float | None] = deque(maxlen=kept)
        self.last = -1
        self.count = 0
        self.filled = False

    def add(self, bucket: int, value: float | None) -> None:
        if bucket == self.last and self.values:
            before = self.values[-1]
            if value is not None:
                self.count += 1
                mean = value if before is None else before + (value - before) / self.count
                self.values[-1] = mean
            return
        if bucket < self.last:
            return
        if self.values:
            for _ in range(min(bucket - self.last - 1, self.values.maxlen or 0)):
                self.values.append(None)
        self.values.append(value)
        self.last, self.count = bucket, int(value is not None)

    def fill(self, points: Iterable[tuple[int, float | None]]) -> None:
        self.filled = True
        found = dict(points)
        first = self.last - len(self.values) + 1
        for i, value in enumerate(self.values):
            if value is not None:
                found[first + i] = value
        if not found:
            return
        end = max(found)
        start = max(min(found), end - (self.values.maxlen or 0) + 1)
        values: list[float | None] = []
        for bucket in range(start, end + 1):
            values.append(found.get(bucket))
        if end > self.last:
            self.last, self.count = end, 1
        self.values.clear()
        self.values.extend(bridged(values))


def bridged(values: Sequence[float | None], widest: int = 3) -> list[float | None]:
    """Holes of up to ``widest`` buckets take the value before: samples were farther apart."""
    found: list[float | None] = []
    hole = 0
    last: float | None = None
    for value in values:
        if value is None and last is not None and hole < widest:
            hole += 1
            found.append(last)
            continue
        if value is not None:
            last, hole = value, 0
        found.append(value)
    return found
