"""An answer before it is put on the wire, and the faults that a script may ask for."""

import json
import threading
from dataclasses import dataclass, field

from .view import CONST


def cut(text, n=6):
    """Text in about n pieces that ignore token and JSON borders."""
    step = max(1, -(-len(text) // n))
    return [text[i : i + step] for i in range(0, len(text), step)]


@dataclass
class Piece:
    kind: str  # think | redacted | text | refusal | tool
    chunks: list = field(default_factory=list)
    sig: str = ""
    id: str = ""
    name: str = ""
    args: object = None  # object, or str for custom tools
    custom: bool = False
    namespace: str = ""

    @property
    def text(self):
        return "".join(self.chunks)

    @property
    def args_text(self):
        return self.args if self.custom else json.dumps(self.args, ensure_ascii=False)


@dataclass
class Answer:
    pieces: list
    finish: str = "end"  # end | tool | length | filter
    usage: dict = field(default_factory=lambda: dict(CONST["plain_usage"]))
    fault: str = ""  # "" | overload | cut | cut_clean | error_mid
    fault_after: int = 3  # content events before the fault
    pace: float = 0.0  # seconds between events
    split: int = 0  # bytes per HTTP chunk; 0: one chunk per event
    interleave: bool = False  # fragments of parallel calls alternate (Chat and Responses only)
    note: str = ""  # said in the record of the request
    n: int = 0  # number of the request: makes ids unique


class Numbers:
    """Counts requests and remembers which opaque blobs were handed out."""

    def __init__(self):
        self._lock = threading.Lock()
        self._n = 0
        self.issued = {}  # signature -> {"text", "dialect", "tag", ...}

    def next(self):
        with self._lock:
            self._n += 1
            return self._n

    def issue(self, sig, **what):
        with self._lock:
            self.issued[sig] = what

    def of_tag(self, tag):
        with self._lock:
            return [s for s, w in self.issued.items() if tag and w.get("tag") == tag]


NUMBERS = Numbers()
