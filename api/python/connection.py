"""A seat in a room."""

import collections
import enum
import time
from typing import TYPE_CHECKING, Iterator

import crier_pb2 as wire
import notification_pb2 as shapes
from errors import Code, Error, Reason, reason_word

if TYPE_CHECKING:
    from crier import Client

ENTRY_CHARGE = 64  # what an entry costs of a window, besides its bytes
CREDIT_STEP = 16 << 10  # what may be taken before credit is returned, at most


class Method(enum.IntEnum):
    """The methods of the service."""

    CONNECT = 0
    SEND = 1
    SEND_TO = 2
    RENAME = 3
    WHO = 4
    ROOMS = 5
    MEMBERS = 6
    CLOSE_WITH = 7


class Kind(enum.IntEnum):
    """The kinds of events."""

    MESSAGE = 1
    JOINED = 2
    LEFT = 3
    RENAMED = 4
    GAP = 5
    MEMBERS = 6


class Connection:
    """A seat in a room: `name` is what it goes by, `seq` the room's highest number
    when it came. Iterating over it receives until it is closed."""

    def __init__(self, client: "Client", session: int, reply: wire.Reply):
        result = shapes.ConnectResult.FromString(reply.result)
        self.room, self.name, self.seq = result.room, result.name, result.seq
        self._client = client
        self._session = session
        self._handle = reply.handle
        # Guarded by the client's lock.
        self._end: Error | None = None
        self._events: collections.deque[tuple[shapes.Event, int]] = collections.deque()
        self._credit_step = min(reply.receive_window // 2, CREDIT_STEP)
        self._taken = 0  # bytes that are to be returned as credit
        self._credit = reply.send_window  # bytes that may be sent
        self._posts = self._ended = 0
        self._refusal: Error | None = None

    # Sending.

    def send(self, payload: bytes, timeout: float | None = None) -> shapes.Receipt:
        """Send to all others in the room, and return the number of the message and
        for how many connections it was queued."""
        self._check(payload)
        return shapes.Receipt.FromString(self._invoke(Method.SEND, payload, timeout))

    def send_to(self, name: str, payload: bytes, timeout: float | None = None) -> shapes.Receipt:
        """Send to the one that has the name; 0 receivers if there is none."""
        self._check(payload)
        arguments = shapes.SendToArgs(name=name, payload=payload).SerializeToString()
        return shapes.Receipt.FromString(self._invoke(Method.SEND_TO, arguments, timeout))

    def post(self, payload: bytes, timeout: float | None = None) -> None:
        """Send without waiting for the receipt; flush() tells what became of it. It
        waits while too much is under way, then raises TIMEOUT, and nothing was sent."""
        self._check(payload)
        with self._client._changed:
            self._spend(len(payload), timeout)
            self._posts += 1
            self._client._put(invoke=wire.Invoke(
                session=self._session, method=Method.SEND, handle=self._handle, args=payload))

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all earlier posts have ended; raise why the first was refused
        of those that no flush has told of."""
        with self._client._changed:
            posts = self._posts
            if self._ended < posts and not self._over():
                self._client._put(flush=wire.Flush(handle=self._handle))
            self._wait(lambda: self._ended >= posts, timeout)
            if self._ended < posts:
                raise Error(Code.OUTCOME_UNKNOWN, f"of {posts - self._ended} posts")
            refusal, self._refusal = self._refusal, None
        if refusal:
            raise refusal

    # Receiving.

    def receive(self, timeout: float | None = None) -> shapes.Event:
        """Return the next event of notification.proto. What had arrived comes
        first, then why the connection ended. Raises TIMEOUT if nothing comes."""
        if not self._handle & 1:
            raise Error(Code.NOT_NOTIFIABLE)
        with self._client._changed:
            self._wait(lambda: self._events, timeout)
            if not self._events:
                raise self._over().with_traceback(None)
            event, cost = self._events.popleft()
            self._taken += cost
            if self._taken >= self._credit_step and not self._over():
                credit = wire.Credit(handle=self._handle, bytes=self._taken)
                self._client._put(credit=credit)
                self._taken = 0
            return event

    def __iter__(self) -> Iterator[shapes.Event]:
        while True:
            try:
                yield self.receive()
            except Error as error:
                if error.code == Code.CLOSED and error.reason != Reason.GOING_AWAY:
                    return
                raise

    # The rest.

    def members(self) -> list[shapes.Member]:
        """Return those in the room, itself included."""
        return list(shapes.MembersResult.FromString(self._invoke(Method.MEMBERS, b"")).members)

    def rename(self, name: str) -> None:
        """Go by another name."""
        self._invoke(Method.RENAME, shapes.RenameArgs(name=name).SerializeToString())
        self.name = name

    def close(self) -> None:
        """Leave the room; closing twice is no error. Posts that wait for a receiver
        then reach nobody: flush first."""
        with self._client._changed:
            if self._end:
                return
            self._forget()
        self._client._dismiss(close_resource=wire.CloseResource(
            session=self._session, handle=self._handle))

    def _invoke(self, method: Method, arguments: bytes, timeout: float | None = None) -> bytes:
        begin = time.monotonic()
        invoke = wire.Invoke(session=self._session, method=method, handle=self._handle,
                             args=arguments)
        with self._client._changed:
            self._spend(len(arguments), timeout)
            if timeout is not None:
                left = timeout - (time.monotonic() - begin)
                invoke.timeout_ns = max(1, int(left * 1e9))
            return self._client._call(invoke=invoke).answer.result

    def _check(self, payload: bytes) -> None:
        if len(payload) > self._client.welcome.max_message:
            raise Error(Code.TOO_LARGE)

    # What follows needs the lock.

    def _spend(self, size: int, timeout: float | None) -> None:
        """Wait for credit, of which the last call may use more than there is."""
        self._wait(lambda: self._credit > 0, timeout)
        if end := self._over():
            raise end.with_traceback(None)
        self._credit -= size + ENTRY_CHARGE

    def _wait(self, ready, timeout: float | None) -> None:
        """Wait until it is ready, or the connection is over."""
        if not self._client._changed.wait_for(lambda: ready() or self._over(), timeout):
            raise Error(Code.TIMEOUT)

    def _over(self) -> Error | None:
        return self._end or self._client._end

    def _count(self, posted: wire.Posted) -> None:
        self._credit += posted.bytes
        self._ended += posted.ended
        if posted.refused and self._refusal is None:
            self._refusal = Error.of(posted.failure)

    def _closed(self, closed: wire.Closed) -> None:
        orderly = closed.reason in (Reason.CLOSED, Reason.GOING_AWAY)
        code = Code.CLOSED if orderly else Code.EVICTED
        self._end = Error(code, closed.note or reason_word(closed.reason), closed.reason)
        if closed.HasField("body"):
            self._events.append((shapes.Event.FromString(closed.body), 0))

    def _forget(self) -> None:
        """End it here; what still arrives for it is ignored."""
        self._end = self._end or Error(Code.CLOSED)
        self._client._connections.pop(self._handle, None)
        self._client._changed.notify_all()
