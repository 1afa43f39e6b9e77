"""Where a provider of a service listens, as section "Finding a provider" of
../PROTOCOL.md has it."""

import json
import os
import socket
import stat
import tempfile
import time
from pathlib import Path

from errors import Code, Error

SUFFIX = ".crier.json"
LARGEST = 64 << 10  # bytes of an announcement


def find(uuid: str, major: int, minor: int, wait: float = 2.0) -> str:
    """Return the address of a provider: that in CRIER_ADDRESS, or that of the one
    live provider with the highest priority which has announced the service. It
    waits so many seconds for one to appear.

    Errors: NO_PROVIDER, AMBIGUOUS, VERSION.
    """
    if address := os.environ.get("CRIER_ADDRESS"):
        return address
    last = time.monotonic() + wait
    while True:
        try:
            return _choose(uuid, major, minor)
        except Error as error:
            if error.code != Code.NO_PROVIDER or time.monotonic() > last:
                raise
        time.sleep(0.02)


def run_dirs() -> list[Path]:
    """Return the directories in which providers announce themselves."""
    if named := os.environ.get("CRIER_RUN_DIR"):
        return [Path(named)]
    dirs = [Path("/run/crier"), Path(tempfile.gettempdir(), f"crier-{os.getuid()}")]
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(own):
        dirs.insert(0, Path(own, "crier"))
    return [d for d in dirs if _trusted(d)]


def _trusted(directory: Path) -> bool:
    """Tell whether nobody else can have made it: where everybody may write, it has
    to be this user's own."""
    try:
        if not directory.parent.stat().st_mode & 0o002:
            return True
        info = directory.lstat()
    except OSError:
        return False
    return (stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()
            and not info.st_mode & 0o077)


def _choose(uuid: str, major: int, minor: int) -> str:
    fitting: dict[int, dict[str, str]] = {}  # priority: run of a provider: address
    others = []
    for directory in run_dirs():
        for file in sorted(directory.glob("*" + SUFFIX)):
            try:
                said = _read(file)
                address = _address(file.parent, said["addresses"])
                services = [s for s in said["services"] if s["uuid"] == uuid]
                if not services or not _live(address):
                    continue
                for s in services:
                    if s["major"] == major and s["minor"] >= minor:
                        run = said["epoch"] or str(file)
                        fitting.setdefault(s["priority"], {}).setdefault(run, address)
                    else:
                        others.append(f"{said['name']} has {s['major']}.{s['minor']}")
            except (OSError, ValueError, KeyError, TypeError, IndexError):
                continue  # anybody who may write there can have put anything there
    if fitting:
        best = list(fitting[max(fitting)].values())
        if len(best) > 1:
            raise Error(Code.AMBIGUOUS, f"equally good: {' and '.join(best)}")
        return best[0]
    if others:
        raise Error(Code.VERSION, f"{uuid} {major}.{minor} is not there: {', '.join(others)}")
    raise Error(Code.NO_PROVIDER, f"no provider of {uuid} has announced itself")


def _read(file: Path) -> dict:
    # Not to wait for the writer of a pipe.
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as f:
        if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
            raise ValueError("not a regular file")
        return json.loads(f.read(LARGEST))


def _address(directory: Path, addresses: list[str]) -> str:
    """Return the first unix socket, else the first address there is."""
    for address in addresses:
        if address.startswith("unix://"):
            return f"unix://{directory / address.removeprefix('unix://')}"
    return addresses[0]


def _live(address: str) -> bool:
    scheme, _, place = address.partition("://")
    try:
        if scheme == "tcp":
            host, _, port = place.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        else:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(place)
    except OSError:
        return False
    return True
