"""When a group is mailed and why: waiting, updates, repeats, ends, silence, flapping, muting."""

from __future__ import annotations

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.notify.content import Reason
from gpufleet.alerting.state import Kind, Scope, Severity
from support.mail_sim import Out, Sim

HOUR = 3600


def reasons(out: list[Out]) -> list[Reason]:
    return [one.content.reason for one in out]


def down(sim: Sim, node: str = "n1") -> Incident:
    return sim.fire(
        f"down-{node}",
        alertname="AgentDown",
        scope=Scope.NODE,
        severity=Severity.CRITICAL,
        node=node,
        subject_key=node,
        gpu_index=None,
        gpu_name="",
        comparison="",
        metric="",
        threshold=None,
    )


def test_what_fires_within_half_a_minute_is_one_mail() -> None:
    sim = Sim()
    sim.fire("a")
    assert sim.run(20) == []
    sim.fire("b")
    assert sim.run(9) == []
    (mail,) = sim.run(1)
    assert mail.content.reason is Reason.FIRST
    assert mail.content.fired == ("a", "b")


def test_further_alerts_wait_until_five_minutes_after_the_last_mail() -> None:
    sim = Sim()
    sim.fire("a")
    sim.run(30)
    sim.run(60)
    sim.fire("b")
    assert sim.run(239) == []
    (mail,) = sim.run(1)
    assert mail.content.reason is Reason.NEW
    assert (mail.content.fired, mail.content.lasting) == (("b",), ("a",))


def test_models_and_severities_have_mails_of_their_own() -> None:
    sim = Sim()
    sim.fire("a")
    sim.fire("b", severity=Severity.CRITICAL)
    sim.fire("c", gpu_name="NVIDIA L4")
    assert sorted(one.content.fired for one in sim.run(30)) == [("a",), ("b",), ("c",)]


def test_what_lasts_is_repeated_every_four_hours() -> None:
    sim = Sim()
    sim.fire("a")
    sim.run(30)
    assert sim.run(4 * HOUR - 20, every=20) == []
    assert reasons(sim.run(20)) == [Reason.REPEAT]
    assert reasons(sim.run(8 * HOUR + 40, every=20)) == [Reason.REPEAT] * 2


def test_info_and_acknowledged_and_once_only_alerts_are_not_repeated() -> None:
    sim = Sim()
    sim.fire("i", severity=Severity.INFO)
    sim.fire("once", repeat=False)
    acknowledged = sim.fire("ack", severity=Severity.CRITICAL)
    assert len(sim.run(30)) == 3
    sim.move(acknowledged, Kind.ACKNOWLEDGED, acknowledged_ms=sim.now_ms)
    assert sim.run(12 * HOUR, every=60) == []


def test_an_end_is_told_a_minute_later() -> None:
    sim = Sim()
    one = sim.fire("a")
    sim.run(40)
    sim.move(one, Kind.RESOLVED)
    assert sim.run(59) == []
    (mail,) = sim.run(1)
    assert (mail.content.reason, mail.content.resolved) == (Reason.RESOLVED, ("a",))
    assert sim.told.episodes == {}


def test_what_fires_anew_within_the_minute_is_not_told_as_over() -> None:
    sim = Sim()
    one = sim.fire("a1", subject_key="GPU-a")
    sim.run(40)
    sim.move(one, Kind.RESOLVED)
    sim.run(30)
    sim.fire("a2", subject_key="GPU-a")
    (mail,) = sim.run(300)
    assert (mail.content.reason, mail.content.fired) == (Reason.NEW, ("a2",))
    assert mail.content.resolved == ()


def test_the_end_of_some_is_an_update() -> None:
    sim = Sim()
    one = sim.fire("a")
    sim.fire("b")
    sim.run(30)
    sim.move(one, Kind.RESOLVED)
    (mail,) = sim.run(300)
    assert mail.content.reason is Reason.PARTLY_RESOLVED
    assert (mail.content.resolved, mail.content.lasting) == (("a",), ("b",))


def test_what_fired_and_ended_within_the_wait_is_one_mail() -> None:
    sim = Sim()
    one = sim.fire("a")
    sim.run(10)
    sim.move(one, Kind.RESOLVED)
    (mail,) = sim.run(300)
    assert mail.content.reason is Reason.FIRED_AND_RESOLVED
    assert mail.content.fired_and_resolved == ("a",)


def test_with_the_mail_server_down_all_the_time_it_is_one_mail() -> None:
    sim = Sim(up=False)
    one = sim.fire("a")
    sim.run(600)
    sim.move(one, Kind.RESOLVED)
    sim.run(600)
    sim.up = True
    (mail,) = sim.run(10)
    assert mail.content.reason is Reason.FIRED_AND_RESOLVED
    assert mail.content.fired_and_resolved == ("a",)
    assert sim.run(6 * HOUR, every=60) == []


def test_repeats_do_not_pile_up_while_the_mail_server_is_down() -> None:
    sim = Sim(up=False)
    sim.fire("a")
    sim.run(13 * HOUR, every=60)
    sim.up = True
    (mail,) = sim.run(1)
    assert mail.content.fired == ("a",)


def test_silence_is_told_as_no_data_never_as_resolved() -> None:
    sim = Sim()
    one = sim.fire("a")
    sim.run(600)
    sim.move(one, Kind.NO_DATA)
    assert sim.run(59) == []
    (mail,) = sim.run(1)
    assert (mail.content.reason, mail.content.no_data) == (Reason.NO_DATA, ("a",))
    assert sim.run(3 * HOUR, every=20) == []


def test_a_node_that_is_down_is_one_mail_not_one_a_gpu() -> None:
    sim = Sim()
    gpus = [sim.fire(f"g{index}") for index in range(8)]
    sim.run(600)
    for one in gpus:
        sim.move(one, Kind.NO_DATA)
    sim.run(20)
    down(sim)
    (mail,) = sim.run(HOUR, every=5)
    assert mail.content.fired == ("down-n1",)


def test_no_data_is_told_once_for_all_groups_of_a_node() -> None:
    sim = Sim()
    gpus = [
        sim.fire("a"),
        sim.fire("b", severity=Severity.CRITICAL),
        sim.fire("c", severity=Severity.INFO),
    ]
    sim.run(600)
    for one in gpus:
        sim.move(one, Kind.NO_DATA)
    assert reasons(sim.run(HOUR, every=5)) == [Reason.NO_DATA]


def test_what_comes_back_from_no_data_still_bad_is_no_second_firing() -> None:
    sim = Sim()
    one = sim.fire("a")
    sim.run(600)
    one = sim.move(one, Kind.NO_DATA)
    sim.run(10)
    one = sim.move(one, Kind.RETURNED)
    assert sim.run(HOUR, every=5) == []
    sim.move(one, Kind.RESOLVED)
    assert reasons(sim.run(120)) == [Reason.RESOLVED]


def test_an_alert_that_comes_and_goes_is_told_once_and_then_hourly() -> None:
    sim = Sim()
    found: list[Reason] = []
    for number in range(24):  # every 10 minutes it fires, 5 minutes later it ends
        one = sim.fire(f"a{number}", subject_key="GPU-a")
        found += reasons(sim.run(300, every=5))
        sim.move(one, Kind.RESOLVED)
        found += reasons(sim.run(300, every=5))
    before = found.index(Reason.FLAPPING)
    assert found[:before] == [Reason.FIRST, Reason.RESOLVED, Reason.FIRST]
    assert found[before:] == [Reason.FLAPPING] * 4


def test_an_alert_that_flapped_and_then_lasts_is_mailed_as_firing_or_was_in_the_notice() -> None:
    sim = Sim()
    for number in range(6):
        one = sim.fire(f"a{number}", subject_key="GPU-a")
        sim.run(120, every=5)
        sim.move(one, Kind.RESOLVED)
        sim.run(120, every=5)
    sim.fire("last", subject_key="GPU-a")
    sim.run(2 * HOUR, every=5)
    telling = [one.content for one in sim.sent if "last" in one.content.ids()]
    assert telling
    assert sum("last" in one.opens() for one in telling) <= 1


def test_a_muted_alert_is_mailed_when_the_silence_is_over() -> None:
    sim = Sim()
    until = sim.now_ms + 600_000
    sim.muted = lambda one, at: at < until
    sim.fire("a")
    assert sim.run(599) == []
    assert reasons(sim.run(2)) == [Reason.FIRST]


def test_what_ended_while_it_was_muted_is_in_a_digest() -> None:
    sim = Sim()
    told = sim.fire("told")
    sim.run(30)
    until = sim.now_ms + 600_000
    sim.muted = lambda one, at: at < until
    sim.run(10)
    sim.move(told, Kind.RESOLVED)
    sim.move(sim.fire("untold"), Kind.RESOLVED)
    assert sim.run(580) == []
    (mail,) = sim.run(30)
    assert mail.content.reason is Reason.DIGEST
    assert set(mail.content.muted) == {"told", "untold"}
    assert sim.told.episodes == {}


def test_over_the_limit_mails_become_one_digest_an_hour() -> None:
    sim = Sim()
    for number in range(30):
        sim.fire(f"g{number}", gpu_name=f"Model {number}")
    found = reasons(sim.run(60))
    assert found == [Reason.FIRST] * 20
    (digest,) = sim.run(HOUR, every=5)
    assert digest.content.reason is Reason.DIGEST
    assert len(digest.content.fired) == 10


def test_critical_and_resolved_pass_the_limit() -> None:
    sim = Sim()
    told = [sim.fire(f"g{number}", gpu_name=f"Model {number}") for number in range(21)]
    sim.run(30)
    sim.fire("c", severity=Severity.CRITICAL)
    assert [one.content.fired for one in sim.run(30)] == [("c",)]
    sim.move(told[0], Kind.RESOLVED)
    assert reasons(sim.run(61)) == [Reason.RESOLVED]


def test_an_incident_closed_by_a_person_is_told_as_ended() -> None:
    sim = Sim()
    one = sim.fire("a")
    sim.run(40)
    sim.move(one, Kind.CLOSED, closed_by="ann")
    assert reasons(sim.run(61)) == [Reason.RESOLVED]
