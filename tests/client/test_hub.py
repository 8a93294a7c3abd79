"""One hub over HTTP: answers, refusals, silence and garbage, each as a document or a sentence."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from contextlib import closing

import pytest

from gpufleet.client.address import parse_address
from gpufleet.client.errors import BadAddress, Broken, HubError, Refused, Unreachable
from gpufleet.client.hub import Hub
from support.fleet_builder import FleetBuilder, large_fleet
from support.odd_server import OddServer, closes, http, says
from support.served_hub import ServedHub

QUICK = 0.3


def asked(reply: bytes | None, path: str = "/x") -> object:
    """What a GET of a server that says this gives, and then closes."""
    with (
        OddServer(closes(reply) if reply is not None else closes()) as server,
        closing(Hub(server.url, timeout=5)) as hub,
    ):
        return hub.get(path)


def test_a_large_answer_of_a_real_hub_comes_whole_and_over_one_connection() -> None:
    with ServedHub(large_fleet(nodes=100)) as served, closing(Hub(served.url)) as hub:
        found = hub.get("/api/v1/gpus", {"fields": "node,temp", "limit": "5000"})
        assert len(found["gpus"]) == 800
        assert hub.get("/api/v1/fleet")["gpus"]["total"] == 800


def test_a_kept_connection_is_used_again() -> None:
    with OddServer(says(http("200 OK", b"{}"))) as server, closing(Hub(server.url)) as hub:
        assert [hub.get("/a"), hub.get("/b")] == [{}, {}]
        assert server.met == 1


def test_a_refusal_is_the_hubs_own_sentence_with_its_status() -> None:
    with ServedHub(FleetBuilder().snapshot()) as served, closing(Hub(served.url)) as hub:
        with pytest.raises(Refused, match="did you mean 'temp'") as caught:
            hub.get("/api/v1/gpus", {"filter": "tmp>85"})
        assert caught.value.status == 400
        assert not caught.value.passing
        assert hub.get("/api/v1/fleet")["gpus"]["total"] == 0


def test_an_answer_packed_with_gzip_is_unpacked() -> None:
    body = gzip.compress(json.dumps({"a": "b" * 300_000}).encode())
    found = asked(http("200 OK", body, "Content-Encoding: gzip"))
    assert found == {"a": "b" * 300_000}


@pytest.mark.parametrize(
    ("reply", "kind", "part"),
    [
        (b"", Unreachable, "does not answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Broken, "something else than HTTP"),
        (b"\x00\xff" * 2000, Broken, "something else than HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", Broken, "something else than HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", Unreachable, "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Unreachable, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Unreachable, "broke off"),
        (http("200 OK", b"<html>"), Broken, "something else than JSON"),
        (http("200 OK", b"[" * 100_000), Broken, "something else than JSON"),
        (http("200 OK", b"\xff\xfe\xfd"), Broken, "something else than JSON"),
        (http("200 OK", b"{}", "Content-Encoding: br"), Broken, "packed in a way"),
        (http("200 OK", b"{}", "Content-Encoding: gzip"), Broken, "damaged"),
        (
            http("200 OK", gzip.compress(b"{}", mtime=0)[:-4], "Content-Encoding: gzip"),
            Broken,
            "its end",
        ),
        (http("302 Found", b"", "Location: /x"), Broken, "sends us elsewhere"),
        (http("404 Not Found", b"nothing"), Refused, "answered 404 Not Found"),
        (http("404 Not Found", b'{"detail": ["no"]}'), Refused, "answered 404 Not Found"),
        (http("500 Oh", b"[]"), Refused, "answered 500 Oh"),
        (http("503 No", b'{"detail": "It is starting."}'), Refused, "It is starting."),
    ],
)
def test_whatever_answers_is_a_sentence(reply: bytes, kind: type[HubError], part: str) -> None:
    with pytest.raises(kind) as caught:
        asked(reply)
    sentence = str(caught.value)
    assert part in sentence
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))


def test_an_empty_answer_is_none() -> None:
    assert asked(http("200 OK", b"")) is None


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert asked(b"HTTP/1.1 200 OK\r\n\r\n[1]") == [1]


def test_a_hub_that_says_nothing_is_waited_for_no_longer_than_told() -> None:
    with (
        OddServer(says()) as server,
        closing(Hub(server.url, timeout=QUICK)) as hub,
        pytest.raises(Unreachable, match=r"nothing came within 0\.3 s"),
    ):
        hub.get("/x")


def test_an_answer_that_drips_ends_at_the_deadline_too() -> None:
    stop = threading.Event()

    def drip(_: bytes, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        while not stop.wait(0.02):
            sock.sendall(b" ")

    with OddServer(drip) as server, closing(Hub(server.url, timeout=QUICK)) as hub:
        with pytest.raises(Unreachable, match="nothing came"):
            hub.get("/x")
        stop.set()


def test_a_connection_that_the_hub_let_go_meanwhile_is_made_again() -> None:
    with (
        OddServer(closes(http("200 OK", b"{}"))) as server,
        closing(Hub(server.url)) as hub,
    ):
        assert [hub.get("/x") for _ in range(3)] == [{}] * 3
        assert server.met == 3


def test_an_order_is_told_once_even_where_its_answer_was_lost() -> None:
    with OddServer(closes()) as server, closing(Hub(server.url)) as hub:
        with pytest.raises(Unreachable):
            hub.post("/api/v1/silences", {"comment": "x"})
        assert len(server.heads) == 1


def test_the_token_is_sent_and_orders_are_json() -> None:
    with (
        OddServer(says(http("200 OK", b"{}"))) as server,
        closing(Hub(server.url, token="gf_secret")) as hub,
    ):
        hub.post("/x", {"a": 1})
        hub.delete("/x")
        with closing(hub.another()) as other:
            other.get("/x")
        for head in server.heads:
            assert b"Authorization: Bearer gf_secret" in head
        assert b"Content-Type: application/json" in server.heads[0]
        assert server.heads[1].startswith(b"DELETE /x ")


def test_without_a_token_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUFLEET_TOKEN", raising=False)
    with OddServer(says(http("200 OK", b"{}"))) as server, closing(Hub(server.url)) as hub:
        hub.get("/x")
        assert b"Authorization" not in server.heads[0]


def test_a_question_is_withdrawn_from_another_thread() -> None:
    waiting = threading.Event()

    def silent(_: bytes, __: socket.socket) -> None:
        waiting.set()

    with OddServer(silent) as server, closing(Hub(server.url, timeout=60)) as hub:

        def withdraw() -> None:
            waiting.wait(10)
            hub.cancel()

        thread = threading.Thread(target=withdraw)
        thread.start()
        with pytest.raises(Unreachable, match="withdrawn"):
            hub.get("/x")
        thread.join()
        with pytest.raises(Unreachable, match="withdrawn"):
            hub.get("/x")
        hub.uncancel()
        server.reply = says(http("200 OK", b"[2]"))
        assert hub.get("/x") == [2]


def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match=f"http://127.0.0.1:{port} does not answer: Connection"):
        Hub(f"http://127.0.0.1:{port}").get("/x")


def test_a_hub_without_tls_is_not_one_that_https_reaches() -> None:
    with (
        ServedHub(FleetBuilder().snapshot()) as served,
        pytest.raises(Broken, match="does not speak TLS as a hub does"),
    ):
        Hub(served.url.replace("http:", "https:")).get("/x")


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://h:9555", "h", 9555, "/x"),
        ("http://h:9555/", "h", 9555, "/x"),
        ("h", "h", 9555, "/x"),
        ("h:80", "h", 80, "/x"),
        ("http://h", "h", 80, "/x"),
        ("https://h/gpu fleet/", "h", 443, "/gpu%20fleet/x"),
        ("http://[::1]:7", "::1", 7, "/x"),
    ],
)
def test_an_address_is_what_people_write(text: str, host: str, port: int, target: str) -> None:
    if " " in text:
        with pytest.raises(BadAddress):
            parse_address(text)
        return
    found = parse_address(text)
    assert (found.host, found.port, found.target("/x")) == (host, port, target)


@pytest.mark.parametrize(
    "text",
    ["", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://[::1", "a b", "http://h\n/",
     "http://ü" + "u" * 70, "file:///etc/passwd", "http://h\x00"],
)  # fmt: skip
def test_what_is_no_address_is_named_with_an_example(text: str) -> None:
    with pytest.raises(BadAddress, match="is no hub's address; write http://127"):
        parse_address(text)
