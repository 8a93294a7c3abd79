"""Checks of the way to a hub: the port, the service behind it, and the two clocks.

Nothing is registered: a stream is opened and ended without a word, which a hub refuses.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime

import grpc

from gpufleet.agent.doctor.checkup import Finding, Level
from gpufleet.proto import telemetry_pb2 as pb

MOST_SKEW_SECONDS = 5.0
HTTP_PORT = 9555
_STREAM = "/gpufleet.v1.Telemetry/Stream"
_NO_HUB = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


def hub(address: str, seconds: float) -> Sequence[Finding]:
    """TCP first, then gRPC, so that the finding says which of them fails."""
    check = f"hub {address}"
    host, port = _split(address)
    try:
        with socket.create_connection((host, port), seconds):
            pass
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        sentence = f"{address} cannot be reached: {reason.rstrip('.').lower()}."
        mend = "Start the hub there, name the right one with --hub, or open the firewall."
        return [Finding(check, Level.ERROR, sentence, mend)]
    channel = grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),))
    try:
        return [_service(check, channel, seconds)]
    finally:
        channel.close()


def _service(check: str, channel: grpc.Channel, seconds: float) -> Finding:
    other = "Name the hub's gRPC port with --hub (9556 unless it was changed)."
    try:
        grpc.channel_ready_future(channel).result(timeout=seconds)
    except grpc.FutureTimeoutError:
        sentence = "The port is open, but what answers there is no gRPC service without TLS."
        return Finding(check, Level.ERROR, sentence, other)
    stream = channel.stream_stream(
        _STREAM,
        request_serializer=pb.AgentMessage.SerializeToString,
        response_deserializer=pb.HubMessage.FromString,
    )
    try:
        for _ in stream(iter(()), timeout=seconds):
            break
    except grpc.RpcError as error:
        code, details = error.code(), error.details() or ""
        if code in _NO_HUB:
            sentence = f"Another service than a gpufleet hub answers there ({details or code})."
            return Finding(check, Level.ERROR, sentence, other)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            sentence = f"The port is open, but nothing answered within {seconds:.0f} s."
            mend = "Look at the hub's log, and whether something between drops gRPC (HTTP/2)."
            return Finding(check, Level.ERROR, sentence, mend)
        if code is grpc.StatusCode.UNAVAILABLE:
            sentence = f"The hub is there but takes no streams now: {details}"
            mend = "Wait until it is ready (/readyz says when), or name the active hub."
            return Finding(check, Level.WARNING, sentence, mend)
    return Finding(check, Level.OK, "A gpufleet hub answers.")


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def clock(
    address: str,
    seconds: float,
    *,
    http_port: int = HTTP_PORT,
    now: Callable[[], float] = time.time,
) -> Sequence[Finding]:
    """This machine's clock against the Date that the hub's HTTP port tells, to the second."""
    host, _ = _split(address)
    told = _date(host, http_port, seconds, now)
    if told is None:
        sentence = f"The hub's HTTP port {http_port} did not tell its time, so no clock is checked."
        mend = "Name its HTTP port with --http-port, or look at the node's clock_skew_seconds."
        return [Finding("clock", Level.WARNING, sentence, mend)]
    before, date, after = told
    # Date is cut to the second: any skew from `least` to `most` would look like this.
    least, most = before - (date + 1), after - date
    skew = least if least > 0 else min(most, 0.0)
    if abs(skew) > MOST_SKEW_SECONDS:
        way = "ahead of" if skew > 0 else "behind"
        sentence = f"This machine's clock is at least {abs(skew):.0f} s {way} the hub's."
        mend = "Keep both in time with chrony or systemd-timesyncd."
        return [Finding("clock", Level.ERROR, sentence, mend)]
    return [Finding("clock", Level.OK, "This machine's clock agrees with the hub's.")]


def _date(
    host: str, port: int, seconds: float, now: Callable[[], float]
) -> tuple[float, float, float] | None:
    """Our time before, the hub's Date, our time after; by TLS, else without."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # only a time is asked for, and no secret is told
    for connection in (
        http.client.HTTPSConnection(host, port, timeout=seconds, context=unverified),
        http.client.HTTPConnection(host, port, timeout=seconds),
    ):
        try:
            before = now()
            connection.request("GET", "/healthz")
            date = connection.getresponse().getheader("Date")
            after = now()
            if date is not None:
                return before, parsedate_to_datetime(date).timestamp(), after
        except (OSError, http.client.HTTPException, ValueError):
            continue
        finally:
            connection.close()
    return None
