"""How requests arrive: much that came at once is parsed in pieces, and the event loop goes on in between.

One chunk from the socket may hold thousands of requests, or of parts of a body, each of which costs the parser far more
than its few bytes.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from service.http.sending import Flow

PIECE_BYTES = 1_024  # few requests are longer, and some 50 of the shortest fit
SLICE_S = 0.002


class ParsingTurns:
    """Lets one connection after another parse what it holds, for a slice in each iteration of the loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], bool]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, parse_slice: Callable[[], bool]) -> None:
        """Call this in turn with the others, until it returns False."""
        self._waiting.append(parse_slice)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        goes_on = False
        try:
            goes_on = self._waiting[0]()
        finally:
            parse_slice = self._waiting.popleft()
            if goes_on:
                self._waiting.append(parse_slice)
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._run)


class Unparsed:
    """What a connection received and has not parsed; while there is some, the connection reads no more."""

    def __init__(
        self,
        turns: ParsingTurns,
        flow: Flow,
        parse: Callable[[bytes | memoryview], None],
        may_parse: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        """Call `on_end` once all is parsed and the peer sends no more."""
        self._turns, self._flow = turns, flow
        self._parse, self._may_parse, self._on_end = parse, may_parse, on_end
        self.rest = memoryview(b"")
        self._in_turn = False
        self.ended = False

    def add(self, data: bytes) -> None:
        """Parse the data, of which much may wait for the next turns."""
        self.rest = memoryview(b"".join((self.rest, data)) if self.rest else data)
        if self._in_turn or (not self._turns and not self.parse_slice() and not self.rest):
            return
        self._flow.hold_reading()
        self.go_on()

    def go_on(self) -> None:
        """Take a turn, if anything is to be parsed."""
        if self.rest and not self._in_turn and self._may_parse():
            self._in_turn = True
            self._turns.add(self._take_turn)

    def clear(self) -> None:
        """Drop all of it."""
        self.rest = memoryview(b"")

    def parse_slice(self) -> bool:
        """Parse for a slice, and return whether to go on."""
        until = time.perf_counter() + SLICE_S
        while self.rest and self._may_parse():
            piece, self.rest = self.rest[:PIECE_BYTES], self.rest[PIECE_BYTES:]
            self._parse(piece)
            if time.perf_counter() >= until:
                break
        return bool(self.rest) and self._may_parse()

    def _take_turn(self) -> bool:
        self._in_turn = self.parse_slice()
        if not self.rest:
            self._flow.release_reading()
            if self.ended:
                self._on_end()
        return self._in_turn
