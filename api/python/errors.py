"""The errors and reasons of Crier, as ../PROTOCOL.md numbers them."""

import enum


class Code(enum.IntEnum):
    """What went wrong."""

    CALL = 1  # the service's own; see Error.app_code
    NO_PROVIDER = 2
    AMBIGUOUS = 3
    VERSION = 4
    CLOSED = 5
    DISCONNECTED = 6
    GONE = 7
    UNKNOWN_HANDLE = 8
    NO_METHOD = 9
    NOT_NOTIFIABLE = 10
    FULL = 11
    TOO_MANY = 12
    TOO_LARGE = 13
    NAME_TAKEN = 14
    BAD_NAME = 15
    DENIED = 16
    OUTCOME_UNKNOWN = 17
    EVICTED = 18
    TIMEOUT = 19
    CANCELED = 20


class Reason(enum.IntEnum):
    """Why a connection ended, or a process was sent away."""

    CLOSED = 1
    DIED = 2
    UNREACHABLE = 3
    SLOW = 4
    LIMIT = 5
    REPLACED = 6
    GOING_AWAY = 7


def reason_word(reason: int) -> str:
    """Return the word for a number of Reason, or of one that is newer."""
    known = reason in Reason._value2member_map_
    return Reason(reason).name.lower() if known else f"reason {reason}"


class Error(Exception):
    """An error of Crier. `code` is a Code, `reason` a number of Reason, `app_code`
    the service's own number where the code is CALL."""

    def __init__(self, code: int, text: str = "", reason: int = 0, app_code: int = 0):
        known = code in Code._value2member_map_
        self.code = Code(code) if known else Code.CALL
        self.reason = reason
        self.app_code = app_code
        super().__init__(text or self.code.name.lower().replace("_", " "))

    @classmethod
    def of(cls, failure) -> "Error":
        """Return the error that a Failure of crier.proto stands for."""
        return cls(failure.code, failure.text, failure.reason, failure.app_code)
