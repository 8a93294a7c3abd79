"""Questions to agents over their streams."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from gpufleet.hub import on_demand
from gpufleet.hub.api.state import CannotCollect
from gpufleet.proto import telemetry_pb2 as pb
from support.processes import wait_for
from support.raw_agent import RawAgent, raw_agent
from support.small_hub import SmallHub, small_hub

DOCUMENT = {"node": "someone else", "method": "bash", "gpus": [{"uuid": "GPU-a"}]}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SmallHub]:
    with small_hub(tmp_path) as made:
        yield made


def _answering(agent: RawAgent, answers: list[pb.CommandResult]) -> threading.Thread:
    """The agent answers one question after the other; what it was asked is left in ``id``."""

    def answer() -> None:
        for result in answers:
            command = agent.hear().command
            assert command.collect.method == "bash"
            result.id = command.id
            agent.say(result=result)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_the_agents_answer_comes_back_and_serves_for_a_while(hub: SmallHub) -> None:
    result = pb.CommandResult(document_json=orjson.dumps(DOCUMENT).decode())
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        thread = _answering(agent, [result])
        first = hub.run(hub.core.on_demand.collect("n", "bash"))
        thread.join(10)
        assert first["node"] == "n", "a node speaks for itself only"
        assert hub.run(hub.core.on_demand.collect("n", "bash")) is first


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (pb.CommandResult(error="There is no nvidia-smi."), "There is no nvidia-smi."),
        (pb.CommandResult(document_json="[1"), "no snapshot"),
        (pb.CommandResult(document_json='{"gpus":[7]}'), "no snapshot"),
        (pb.CommandResult(document_json='{"gpus":[{"mig":[7]}]}'), "no snapshot"),
    ],
)
def test_an_error_and_an_answer_that_makes_no_sense_are_said(
    hub: SmallHub, result: pb.CommandResult, words: str
) -> None:
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        thread = _answering(agent, [result])
        with pytest.raises(CannotCollect, match=words):
            hub.run(hub.core.on_demand.collect("n", "bash"))
        thread.join(10)


def test_a_node_that_is_not_connected_cannot_be_asked(hub: SmallHub) -> None:
    with pytest.raises(CannotCollect, match="not connected"):
        hub.run(hub.core.on_demand.collect("n", "bash"))


def test_an_agent_that_does_not_answer_is_given_up(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "ANSWER_SECONDS", 0.2)
    with raw_agent(hub.port, "n") as agent:
        agent.begin("GPU-a")
        with pytest.raises(CannotCollect, match="did not answer") as caught:
            hub.run(hub.core.on_demand.collect("n", "bash"))
        assert caught.value.timed_out


def test_no_node_answers_for_another(hub: SmallHub) -> None:
    forged = pb.CommandResult(document_json='{"gpus":[{"uuid":"forged"}]}')
    true = pb.CommandResult(document_json=orjson.dumps(DOCUMENT).decode())
    with raw_agent(hub.port, "n") as agent, raw_agent(hub.port, "m") as other:
        agent.begin("GPU-a")
        other.begin("GPU-b")

        def answer() -> None:
            forged.id = true.id = agent.hear().command.id
            other.say(result=forged)
            other.tick(1, 1_700_000_000_000, (50, 1))
            wait_for(lambda: hub.core.stats.records == 1, what="the forged one was heard")
            agent.say(result=true)

        thread = threading.Thread(target=answer)
        thread.start()
        document = hub.run(hub.core.on_demand.collect("n", "bash"))
        thread.join(10)
        assert document["gpus"][0]["uuid"] == "GPU-a"
