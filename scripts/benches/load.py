"""The load generator: one process that speaks for a share of the bench's nodes.

Run as ``python -m benches.load SPEC RESULT``; writes what it sent and when it was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from benches.payloads import Run, Writer, encoded, greeting, introduction
from gpufleet.proto import telemetry_pb2 as pb

CONNECTS_A_SECOND = 80
WELCOME_SECONDS = 30.0
DRAIN_SECONDS = 2.0
_METHOD = "/gpufleet.v1.Telemetry/Stream"
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]  # a connection a node, as agents have


@dataclass(frozen=True, slots=True)
class Spec:
    """Which nodes this process speaks for: every ``step``-th from ``first`` on."""

    target: str
    run: Run
    first: int
    step: int
    stop_ms: int


@dataclass(slots=True)
class Sent:
    """What one node sent: ticks first..last without a gap, and what came back."""

    node: int
    first_tick: int = 0
    last_tick: int = 0
    count: int = 0
    committed: int = 0
    bytes: int = 0
    error: str = ""
    ack_ages_ms: list[int] = field(default_factory=list)
    """Age of the oldest tick of each acknowledgement, when it came."""
    late_ms: int = 0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _acks(call: Any, sent: Sent, run: Run, epoch: int) -> None:
    async for message in call:
        if message.WhichOneof("body") == "command":
            sent.error = f"the hub sent a command: {message.command}"
        elif message.HasField("ack") and message.ack.committed.epoch == epoch:
            seq = message.ack.committed.seq
            if seq > sent.committed:
                oldest = sent.first_tick + sent.committed * run.interval_ms
                sent.ack_ages_ms.append(now_ms() - oldest)
                sent.committed = seq


async def _node(spec: Spec, number: int, delay: float, values: list[bytes], sent: Sent) -> None:
    """One node's life: connect, introduce itself, send every tick, wait for what is under way."""
    run = spec.run
    await asyncio.sleep(delay)
    epoch = now_ms()
    writer = Writer(run, number, epoch)
    async with grpc.aio.insecure_channel(spec.target, options=_OPTIONS) as channel:
        stream: Any = channel.stream_stream(
            _METHOD,
            request_serializer=lambda data: data,
            response_deserializer=pb.HubMessage.FromString,
        )
        call = stream()
        await call.write(greeting(run, number, epoch, now_ms()).SerializeToString())
        async with asyncio.timeout(WELCOME_SECONDS):
            welcome = await call.read()
        if not isinstance(welcome, pb.HubMessage) or not welcome.HasField("welcome"):
            raise ConnectionError(f"no welcome but {welcome}")
        for message in introduction(run, number, epoch):
            await call.write(message.SerializeToString())
        slot = welcome.welcome.slot_ms
        acks = asyncio.create_task(_acks(call, sent, run, epoch))
        try:
            tick = now_ms() // run.interval_ms * run.interval_ms + run.interval_ms
            sent.first_tick = tick
            while tick <= spec.stop_ms:
                wait = tick + slot - now_ms()
                if wait > 0:
                    await asyncio.sleep(wait / 1000)
                sent.late_ms = max(sent.late_ms, now_ms() - tick - slot)
                step = (tick - run.first_tick_ms) // run.interval_ms
                message_bytes = writer.message(sent.count + 1, tick, values[step])
                await call.write(message_bytes)
                sent.count += 1
                sent.last_tick = tick
                sent.bytes += len(message_bytes)
                tick += run.interval_ms
            await asyncio.sleep(DRAIN_SECONDS)
        finally:
            acks.cancel()
            call.cancel()


async def _guarded(spec: Spec, number: int, delay: float, values: list[bytes], sent: Sent) -> None:
    try:
        await _node(spec, number, delay, values, sent)
    except (
        grpc.aio.AioRpcError,
        ConnectionError,
        TimeoutError,
        asyncio.InvalidStateError,
    ) as error:
        details = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        sent.error = f"{type(error).__name__}: {details}"


async def generate(spec: Spec, profiles: dict[int, list[bytes]]) -> list[Sent]:
    """Speak for the nodes of ``spec`` until its end."""
    rng = random.Random(spec.first)
    numbers = range(spec.first, spec.run.nodes, spec.step)
    results = [Sent(number) for number in numbers]
    pace = spec.step / CONNECTS_A_SECOND
    await asyncio.gather(
        *(
            _guarded(
                spec,
                sent.node,
                (place + rng.random()) * pace,
                profiles[spec.run.profile_of(sent.node)],
                sent,
            )
            for place, sent in enumerate(results)
        )
    )
    return results


def main() -> int:
    document = json.loads(Path(sys.argv[1]).read_text())
    spec = Spec(**{**document, "run": Run(**document["run"])})
    numbers = range(spec.first, spec.run.nodes, spec.step)
    profiles = {p: encoded(spec.run, p) for p in {spec.run.profile_of(n) for n in numbers}}
    before = resource.getrusage(resource.RUSAGE_SELF)
    results = asyncio.run(generate(spec, profiles))
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    Path(sys.argv[2]).write_text(
        json.dumps({"cpu_seconds": cpu, "nodes": [asdict(sent) for sent in results]})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
