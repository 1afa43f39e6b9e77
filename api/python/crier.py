"""A client of Crier's notification service, written from ../PROTOCOL.md.

    import crier

    with crier.attach() as client:
        room = client.open().connect("lobby", name="alice", presence=True)
        print(room.send(b"hello").receivers)
        for event in room:
            print(event)

attach() makes the process's one stream to the provider, open() a session of the
service on it, connect() a seat in a room. All methods may be called from any
thread, and raise Error. Where one takes a timeout, in seconds, None is no limit.

A stream that breaks stays broken, with everything on it: attach again.
"""

import collections
import os
import threading
import urllib.parse
from dataclasses import dataclass
from typing import Iterator

import grpc

import crier_pb2 as wire
import discovery
import notification_pb2 as shapes
from connection import ENTRY_CHARGE, Connection, Kind, Method
from errors import Code, Error, Reason, reason_word

__all__ = ["attach", "Client", "Code", "Connection", "Error", "Kind", "Reason",
           "Service", "TLS", "UUID", "reason_word"]

UUID = "crier.local/notification"
MAJOR, MINOR = 1, 1

WIRE_VERSION = 1
BATCH_SIZE = 64 << 10


@dataclass
class TLS:
    """The files of a client over TCP: the authority that the provider's certificate
    comes from, and the certificate, with its key, that says who this is."""

    ca: str
    cert: str
    key: str


def attach(address: str = "", tls: TLS | None = None, timeout: float = 5.0) -> "Client":
    """Attach to the provider at address (unix:///path or tcp://host:port), or to the
    one that is found. With tcp and no TLS the provider has to be told --insecure."""
    address = address or discovery.find(UUID, MAJOR, MINOR)
    return Client(_channel(address, tls), timeout)


def _channel(address: str, tls: TLS | None) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", -1),  # the welcome tells the limit, too late
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),  # else channels share a connection
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
    ]
    scheme, _, place = address.partition("://")
    if scheme == "unix":
        return grpc.insecure_channel(f"unix:{urllib.parse.quote(place)}", options)
    if scheme != "tcp":
        raise ValueError(f"address {address}: want unix:///path or tcp://host:port")
    options += [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if tls is None:
        return grpc.insecure_channel(place, options)
    ca, key, cert = (_contents(f) for f in (tls.ca, tls.key, tls.cert))
    return grpc.secure_channel(place, grpc.ssl_channel_credentials(ca, key, cert), options)


def _contents(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read()


@dataclass
class _Call:
    """A call that waits for its answer, and the connection that the answer made."""

    session: int = 0
    answer: wire.Opened | wire.Reply | None = None
    connection: Connection | None = None


class Client:
    """This process, attached to a provider. `welcome` is what that said of itself."""

    def __init__(self, channel: grpc.Channel, timeout: float):
        self.welcome: wire.Welcome | None = None
        self._channel = channel
        # One lock guards what is below, and what connections have; whatever changes
        # wakes everybody who waits.
        self._changed = threading.Condition()
        self._outgoing: collections.deque[wire.ClientEntry] = collections.deque()
        self._end: Error | None = None  # why nothing more is written
        self._calls: dict[int, _Call] = {}
        self._last_call = 0
        self._sessions: set[int] = set()
        self._connections: dict[int, Connection] = {}

        with self._changed:
            self._put(hello=wire.Hello(wire_version=WIRE_VERSION, instance=os.urandom(16)))
        self._stream = channel.stream_stream(
            "/crier.v1.Crier/Attach",
            wire.ClientBatch.SerializeToString,
            wire.ProviderBatch.FromString,
        )(self._batches())
        self._reader = threading.Thread(target=self._read, name="crier-reader", daemon=True)
        self._reader.start()
        self._await_welcome(timeout)

    def _await_welcome(self, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.welcome or self._end, timeout)
            if self.welcome:
                return
            self._finish(Error(Code.NO_PROVIDER, "no welcome in time"))
        self._channel.close()
        raise self._end

    def open(self, uuid: str = UUID, major: int = MAJOR, minor: int = MINOR) -> "Service":
        """Open a session of the service."""
        selector = wire.Selector(uuid=uuid, major=major, minor=minor)
        session = self._call(open=wire.Open(selector=selector)).answer.session
        return Service(self, session)

    def ping(self) -> None:
        """Return when the provider has answered."""
        self._call(ping=wire.Ping())

    def close(self) -> None:
        """Close the sessions in order, then the stream; closing twice is no error."""
        with self._changed:
            sessions = list(self._sessions)
        for session in sessions:
            Service(self, session).close()
        with self._changed:
            self._finish(Error(Code.CLOSED))
        self._reader.join(timeout=5)
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # Writing. gRPC takes batches in a thread of its own.

    def _batches(self) -> Iterator[wire.ClientBatch]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outgoing or self._end)
                if self._end:
                    return
                batch, size = wire.ClientBatch(), 0
                while self._outgoing:
                    size += self._outgoing[0].ByteSize()
                    if batch.entries and size > BATCH_SIZE:
                        break
                    batch.entries.append(self._outgoing.popleft())
            yield batch

    def _put(self, **entry) -> None:
        """Queue an entry, as in _put(ping=...). Needs the lock."""
        self._outgoing.append(wire.ClientEntry(**entry))
        self._changed.notify_all()

    def _call(self, **entry) -> _Call:
        """Queue an entry that has a call number, and wait for the answer."""
        with self._changed:
            if self._end:
                raise self._end.with_traceback(None)
            (kind, body), = entry.items()
            body.call = self._number()
            call = self._calls[body.call] = _Call(getattr(body, "session", 0))
            self._put(**{kind: body})
            self._changed.wait_for(lambda: call.answer or self._end)
            if call.answer is None:
                raise Error(Code.OUTCOME_UNKNOWN, str(self._end))
        if isinstance(call.answer, wire.Reply) and call.answer.HasField("failure"):
            raise Error.of(call.answer.failure)
        return call

    def _dismiss(self, **entry) -> None:
        """Close something at the provider."""
        try:
            self._call(**entry)
        except Error:
            pass  # the stream has ended, and everything with it

    def _number(self) -> int:
        while True:
            self._last_call = self._last_call % 0xFFFFFFFF + 1
            if self._last_call not in self._calls:
                return self._last_call

    # Reading. The reader puts things where others wait for them, and never waits.

    def _read(self) -> None:
        end = Error(Code.DISCONNECTED)
        try:
            for batch in self._stream:
                with self._changed:
                    for entry in batch.entries:
                        self._take(entry)
                    self._changed.notify_all()
        except grpc.RpcError as error:
            end = _broken(error, self.welcome is not None)
        finally:
            with self._changed:
                self._finish(end)

    def _take(self, entry: wire.ProviderEntry) -> None:
        match entry.WhichOneof("entry"):
            case "welcome":
                self.welcome = entry.welcome
            case "opened":
                self._sessions.add(entry.opened.session)
                self._answer(entry.opened)
            case "reply":
                self._answer(entry.reply)
            case "notification":
                self._notify(entry.notification)
            case "posted":
                if connection := self._connections.get(entry.posted.handle):
                    connection._count(entry.posted)
            case "closed":
                if connection := self._connections.pop(entry.closed.handle, None):
                    connection._closed(entry.closed)
            case "farewell":
                end = Error.of(entry.farewell.failure)
                end.reason = end.reason or entry.farewell.reason
                self._finish(end)
            # What is newer than this client is ignored.

    def _answer(self, answer: wire.Opened | wire.Reply) -> None:
        call = self._calls.pop(answer.call, None)
        if call is None:
            return
        call.answer = answer
        if isinstance(answer, wire.Reply) and answer.handle:
            # Before the next entry is read, which may be about it.
            call.connection = Connection(self, call.session, answer)
            self._connections[answer.handle] = call.connection

    def _notify(self, notification: wire.Notification) -> None:
        for body in notification.bodies:
            event = shapes.Event.FromString(body)  # which the connections share
            for handle in notification.handles:
                if connection := self._connections.get(handle):
                    connection._events.append((event, len(body) + ENTRY_CHARGE))

    def _finish(self, end: Error) -> None:
        """End the writing, and everybody's waiting. Needs the lock."""
        self._end = self._end or end
        self._changed.notify_all()


class Service:
    """A session of the notification service."""

    def __init__(self, client: Client, session: int):
        self._client = client
        self._session = session

    def connect(self, room: str = "", name: str = "", *, presence: bool = False,
                echo: bool = False, send_only: bool = False, gap: bool = False,
                window: int = 0) -> Connection:
        """Take a seat in a room. With presence, the first events are the members.
        With gap, the oldest messages are dropped when it reads too slowly; without,
        senders wait for it, and then it is evicted."""
        arguments = shapes.ConnectArgs(room=room, name=name, presence=presence, echo=echo,
                                       send_only=send_only, overflow=int(gap), window=window)
        return self._invoke(Method.CONNECT, arguments).connection

    def who(self, room: str = "") -> list[shapes.Seat]:
        """Return the connections in the room, or in all of them."""
        call = self._invoke(Method.WHO, shapes.WhoArgs(room=room))
        return list(shapes.WhoResult.FromString(call.answer.result).seats)

    def rooms(self) -> list[shapes.Room]:
        """Return the rooms there are."""
        call = self._client._call(invoke=wire.Invoke(session=self._session, method=Method.ROOMS))
        return list(shapes.RoomsResult.FromString(call.answer.result).rooms)

    def _invoke(self, method: Method, arguments) -> _Call:
        return self._client._call(invoke=wire.Invoke(
            session=self._session, method=method, args=arguments.SerializeToString()))

    def close(self) -> None:
        """Close the session and its connections; closing twice is no error."""
        with self._client._changed:
            self._client._sessions.discard(self._session)
            for connection in list(self._client._connections.values()):
                if connection._session == self._session:
                    connection._forget()
        self._client._dismiss(close_session=wire.CloseSession(session=self._session))


def _broken(error: grpc.RpcError, welcomed: bool) -> Error:
    """Put the end of a stream that gRPC tells of into Crier's words."""
    if error.code() == grpc.StatusCode.PERMISSION_DENIED:
        return Error(Code.DENIED, error.details())
    return Error(Code.DISCONNECTED if welcomed else Code.NO_PROVIDER, error.details())
