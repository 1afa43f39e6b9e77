#!/usr/bin/python3
"""Join a room: print what happens in it, and send the lines of standard input."""

import argparse
import signal
import sys
import threading

import crier
from crier import Kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="", help="unix:///path or tcp://host:port")
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--name", default="")
    for file in "ca", "cert", "key":
        parser.add_argument(f"--{file}", default="", help="for TCP: as --tls-" + file)
    arguments = parser.parse_args()
    tls = crier.TLS(arguments.ca, arguments.cert, arguments.key) if arguments.ca else None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with crier.attach(arguments.address, tls) as client:
            room = client.open().connect(arguments.room, arguments.name, presence=True)
            print(f"in {plain(room.room)} as {plain(room.name)}", file=sys.stderr)
            threading.Thread(target=send_lines, args=(room,), daemon=True).start()
            for event in room:
                print(describe(event), flush=True)
    except crier.Error as error:
        print(f"chat: {plain(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def send_lines(room: crier.Connection) -> None:
    try:
        # Not sys.stdin, whose lock the interpreter wants when it ends.
        with open(0, "rb", closefd=False) as lines:
            for line in lines:
                room.post(line.rstrip(b"\n"))
        room.flush()
    except crier.Error as error:
        print(f"chat: {plain(str(error))}", file=sys.stderr)
    room.close()  # which ends the loop over it


def describe(event) -> str:
    sender = plain(getattr(event, "from"))  # a keyword of Python
    match event.kind:
        case Kind.MESSAGE:
            return f"{sender}: {plain(event.payload.decode(errors='replace'))}"
        case Kind.JOINED:
            return f"* {sender} joined"
        case Kind.LEFT:
            gone = [plain(d.name) for d in event.departures] or [sender]
            return f"* {', '.join(gone)} left: {crier.reason_word(event.reason)}"
        case Kind.RENAMED:
            return f"* {sender} is now {plain(event.to)}"
        case Kind.GAP:
            return f"* {event.count} events of {event.first} to {event.last} are missing"
        case Kind.MEMBERS:
            return f"* here: {', '.join(plain(m.name) for m in event.members)}"
    return f"* something new: kind {event.kind}"


def plain(text: str) -> str:
    """Replace what a terminal would obey: text from others could hold anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


if __name__ == "__main__":
    sys.exit(main())
