"""WebSockets on streams of one HTTP/2 connection (RFC 8441), by the libraries `h2` and `wsproto`.

    http2.py PORT HOST WHAT [COUNT]

With CA in the environment over TLS, which must agree on `h2`; else with prior knowledge. Ends with 0 if all was as it
should be.
"""

import collections
import os
import socket
import ssl
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

PORT, HOST, WHAT = int(sys.argv[1]), sys.argv[2], sys.argv[3]
CA = os.environ.get("CA")
LIMIT_S = 60


def dial():
    plain = socket.create_connection(("127.0.0.1", PORT), LIMIT_S)
    if CA is None:
        return plain
    context = ssl.create_default_context(cafile=CA)
    context.set_alpn_protocols(["h2", "http/1.1"])
    secured = context.wrap_socket(plain, server_hostname=HOST)
    assert secured.selected_alpn_protocol() == "h2"
    return secured


class Mux:
    """The connection, which reads for all its streams and writes as far as their windows go."""

    def __init__(self):
        self.socket = dial()
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.initiate_connection()
        self.streams = {}
        self.flush()
        self.is_greeted = False
        self.until(lambda: self.is_greeted)
        assert self.http.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1, "it is not announced"

    def flush(self):
        self.socket.sendall(self.http.data_to_send())

    def until(self, is_so):
        while not is_so():
            data = self.socket.recv(65536)
            assert data, "the connection has ended"
            for event in self.http.receive_data(data):
                self.take(event)
            for stream in list(self.streams.values()):
                stream.push()
            self.flush()

    def take(self, event):
        assert not isinstance(event, ConnectionTerminated), event
        if isinstance(event, RemoteSettingsChanged):
            self.is_greeted = True
        stream = self.streams.get(getattr(event, "stream_id", None))
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.answer = dict(event.headers)
        elif isinstance(event, DataReceived):
            self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            stream.hear(event.data)
        elif isinstance(event, StreamEnded):
            stream.is_ended = True
        elif isinstance(event, StreamReset):
            stream.reset = event.error_code


class Stream:
    """One WebSocket."""

    def __init__(self, mux, path, protocol="websocket"):
        self.mux, self.answer, self.is_ended, self.reset = mux, None, False, None
        self.outbox, self.events = bytearray(), collections.deque()
        self.websocket = Connection(ConnectionType.CLIENT)
        self.id = mux.http.get_next_available_stream_id()
        mux.streams[self.id] = self
        head = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http" if CA is None else "https"),
                (":path", path), (":authority", f"{HOST}:{PORT}"), ("sec-websocket-version", "13")]
        mux.http.send_headers(self.id, head)
        mux.flush()

    def opened(self):
        self.mux.until(lambda: self.answer is not None or self.reset is not None)
        assert self.reset is None and self.answer[":status"] == "200", (self.reset, self.answer)
        for field in ["sec-websocket-accept", "upgrade", "connection"]:
            assert field not in self.answer, self.answer
        return self

    def hear(self, data):
        if not data:
            # The end of the stream, alone in its frame.
            return
        self.websocket.receive_data(data)
        for event in self.websocket.events():
            if isinstance(event, Ping):
                self.send(event.response())
            self.events.append(event)

    def send(self, event):
        self.outbox += self.websocket.send(event)
        self.push()
        self.mux.flush()

    def push(self):
        while self.outbox and not self.is_ended and self.reset is None:
            may = min(self.mux.http.local_flow_control_window(self.id), self.mux.http.max_outbound_frame_size)
            if may <= 0:
                return
            self.mux.http.send_data(self.id, bytes(self.outbox[:may]))
            del self.outbox[:may]

    def event(self):
        self.mux.until(lambda: self.events or self.is_ended or self.reset is not None)
        assert self.events, f"it ended: {self.reset}"
        return self.events.popleft()

    def message(self):
        parts = []
        while True:
            event = self.event()
            assert isinstance(event, (TextMessage, BytesMessage)), event
            parts.append(event.data if isinstance(event.data, str) else bytes(event.data))
            if event.message_finished:
                return type(parts[0])().join(parts)

    def say(self, message):
        self.send(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    def is_echoed(self, message):
        self.say(message)
        assert self.message() == message

    def close(self, code, reason):
        self.send(CloseConnection(code, reason))
        answer = self.event()
        assert isinstance(answer, CloseConnection) and answer.code == code, answer
        self.over()

    def over(self):
        """The app has closed its connection, and so our stream ends in order: END_STREAM, and at most NO_ERROR after it."""
        self.mux.until(lambda: self.is_ended or self.reset is not None)
        assert self.is_ended and self.reset in (None, 0), self.reset
        if self.reset is None:
            self.mux.http.end_stream(self.id)
            self.mux.flush()


def echo():
    stream = Stream(Mux(), "/").opened()
    for message in ["hello", "", "čaj 🚢", b"", bytes(range(256)), "x" * 200, b"\0" * 70_000, os.urandom(2_000_000)]:
        stream.is_echoed(message)
    # In fragments, with a ping between them, and many at once.
    for part in range(1000):
        stream.send(TextMessage(str(part), message_finished=part == 999))
        if part == 500:
            stream.send(Ping(b"between"))
    pong = stream.event()
    assert isinstance(pong, Pong) and pong.payload == b"between", pong
    assert stream.message() == "".join(map(str, range(1000)))
    for number in range(500):
        stream.say(str(number))
    for number in range(500):
        assert stream.message() == str(number)
    stream.close(1000, "")


def close():
    mux = Mux()
    asked = Stream(mux, "/close").opened()
    event = asked.event()
    assert isinstance(event, CloseConnection) and (event.code, event.reason) == (4321, "as asked"), event
    asked.send(event.response())
    asked.over()
    Stream(mux, "/").opened().close(4001, "bye now")


def ping():
    mux = Mux()
    stream = Stream(mux, "/ping").opened()
    assert isinstance(stream.event(), Ping)
    assert stream.message() == "pong came"
    stream.send(Ping(b"tock"))
    pong = stream.event()
    assert isinstance(pong, Pong) and pong.payload == b"tock", pong


def idle():
    stream = Stream(Mux(), "/idle").opened()
    assert stream.message() == "before"
    assert stream.message() == "after"


def many(count):
    """All on one connection, each open while all others are."""
    mux = Mux()
    streams = [Stream(mux, "/") for _ in range(count)]
    for stream in streams:
        stream.opened()
    for round in range(3):
        for stream in streams:
            stream.say(f"{stream.id} {round}")
        for stream in streams:
            assert stream.message() == f"{stream.id} {round}"
    # One that breaks off takes no other with it.
    mux.http.reset_stream(streams[0].id)
    mux.flush()
    for stream in streams[1:]:
        stream.is_echoed(b"still here")
    for stream in streams[1:]:
        stream.close(1000, "")


def unknown():
    """What nobody speaks here is refused, and its neighbours go on."""
    mux = Mux()
    stream = Stream(mux, "/").opened()
    refused = Stream(mux, "/", "connect-udp")
    mux.until(lambda: refused.answer is not None or refused.reset is not None)
    assert refused.reset is not None or refused.answer[":status"][0] in "45", (refused.answer, refused.reset)
    stream.is_echoed("still here")


work = {"echo": echo, "close": close, "ping": ping, "idle": idle, "many": lambda: many(int(sys.argv[4])), "unknown": unknown}
work[WHAT]()
print(WHAT, "was as it should be")
