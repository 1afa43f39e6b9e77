"""The protocol in encodings that are legal and that no library writes."""

import threading
from concurrent import futures

import grpc

import crier_pb2 as wire
import notification_pb2 as shapes

ATTACH = "/crier.v1.Crier/Attach"


def varint(n: int, more: int = 0) -> bytes:
    """Encode n in so many bytes more than it needs."""
    least = max(1, (n.bit_length() + 6) // 7)
    size = least + more
    assert size <= 10
    return bytes(n >> 7 * i & 0x7F | (0x80 if i < size - 1 else 0) for i in range(size))


def field(number: int, value: int | bytes, more: int = 0) -> bytes:
    """Encode a field: a varint, or what has a length. `more` pads each varint."""
    if isinstance(value, int):
        return varint(number << 3, more) + varint(value, more)
    return varint(number << 3 | 2, more) + varint(len(value), more) + value


# Fields that nobody knows, one of each wire type.
UNKNOWN = (field(1000, 7) + field(1001, b"whatever")
           + varint(1002 << 3 | 1) + bytes(8) + varint(1003 << 3 | 5) + bytes(4)
           + varint(1004 << 3 | 3) + field(1, b"in a group") + varint(1004 << 3 | 4))


def entry(number: int, *parts: bytes) -> bytes:
    """Encode an entry whose message comes in several parts, to be merged."""
    return field(1, UNKNOWN + b"".join(field(number, part, 1) for part in parts))


def attach(address: str, message: bytes) -> list:
    """Connect to a room called odd as Ödd and send the message, as no library would;
    return what the provider replied."""
    uuid = b"crier.local/notification"
    credit = field(5, field(1, 12345) + field(2, 1))  # for nothing
    arguments = (field(2, b"somebody else") + UNKNOWN + field(1, b"odd", 2)
                 + field(2, "Ödd".encode()) + field(3, 1) + field(3, 0))
    answers, go_on = [], threading.Semaphore(0)

    def batches():
        hello = field(2, b"o" * 3) + UNKNOWN + field(2, b"i" * 16) + field(1, 1, 3)
        yield field(17, b"unknown") + entry(1, hello)
        go_on.acquire()
        selector = [field(2, 9) + field(1, uuid), field(3, 1, 4) + field(2, 1)]
        yield entry(2, field(2, selector[0]), field(1, 1) + field(2, selector[1]))
        go_on.acquire()
        session = field(2, answers[-1].opened.session, 1)
        yield entry(3, session, field(1, 2) + UNKNOWN, field(5, arguments, 5))
        go_on.acquire()
        handle = field(4, answers[-1].reply.handle, 2)
        # An entry that is two things is the last of them.
        send = field(5, b"not this") + UNKNOWN + handle + field(5, message) + field(3, 1)
        yield field(1, credit + field(3, send) + field(9, b"") + field(3, send + session + field(1, 3)))
        go_on.acquire()
        yield entry(7, session, field(1, 4))
        go_on.acquire()

    channel = grpc.insecure_channel(address)
    for batch in channel.stream_stream(ATTACH, None, wire.ProviderBatch.FromString)(batches()):
        for e in batch.entries:
            if e.WhichOneof("entry") not in ("notification", "posted"):
                answers.append(e)
                go_on.release()
    channel.close()
    return answers


class Provider:
    """A provider for one client, which may connect; each message that it sends comes
    to all its connections, twice. `heard` are its entries."""

    def __init__(self, address: str):
        self.heard = []
        self._handles = []
        handler = grpc.stream_stream_rpc_method_handler(
            self._attach, wire.ClientBatch.FromString, None)
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("crier.v1.Crier", {"Attach": handler})])
        self._server.add_insecure_port(address)
        self._server.start()

    def close(self) -> None:
        self._server.stop(grace=5).wait()

    def _attach(self, batches, context):
        context.send_initial_metadata(())  # for which the client waits
        for batch in batches:
            for e in batch.entries:
                self.heard.append(e)
                yield field(99, UNKNOWN) + b"".join(self._answers(e))

    def _answers(self, e: wire.ClientEntry):
        if e.WhichOneof("entry") != "hello":  # a welcome comes first
            yield entry(77, b"an entry that nobody knows")
        match e.WhichOneof("entry"):
            case "hello":
                yield entry(1, field(2, b"e" * 16) + field(7, 16 << 20, 1) + field(6, 1 << 20),
                            field(3, b"odd") + field(4, field(2, 5)), field(1, 1))
            case "open":
                yield entry(2, field(2, 41), field(1, e.open.call, 2),
                            field(3, e.open.selector.SerializeToString()))
            case "invoke" if e.invoke.method == 0:
                handle = 101 + 2 * len(self._handles)
                self._handles.append(handle)
                asked = shapes.ConnectArgs.FromString(e.invoke.args)
                result = (field(2, asked.name.encode()) + UNKNOWN
                          + field(3, asked.room.encode()) + field(1, 4, 3))
                yield entry(3, field(6, 1 << 16, 1) + field(2, result),
                            field(3, handle) + field(5, 1 << 16), field(1, e.invoke.call))
            case "invoke":
                yield self._event(e.invoke.args)
                size = len(e.invoke.args) + 64
                yield entry(7, field(5, size, 2) + field(1, e.invoke.handle))
                yield entry(3, field(2, field(2, len(self._handles), 2) + UNKNOWN + field(1, 5)),
                            field(1, e.invoke.call))
            case "close_resource" | "close_session" as kind:
                yield entry(3, field(1, getattr(e, kind).call, 1))

    def _event(self, payload: bytes) -> bytes:
        """The handles packed, and not, and in several parts; the bodies among them."""
        event = (field(6, b"not this") + field(4, "Ödd".encode(), 1) + UNKNOWN
                 + field(6, payload) + field(2, 5, 4) + field(1, 3) + field(1, 1))
        again = field(1, 1) + field(2, 6) + field(6, payload)
        first, *others = self._handles
        packed = field(1, b"".join(varint(h, 1) for h in others))
        return entry(4, field(2, event, 1) + field(1, first) + UNKNOWN,
                     packed + field(2, again) + field(1, b""))
