"""What judging may cost: a ledger that reserves the worst case of a call before it is made, so that a cap is never passed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

ANY_PROMPT = 64  # tokens that a chat format may add to a message


class SpendingCap(RuntimeError):
    """The next call could pass the cap; what was answered so far is kept."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, read and written."""

    read: float
    written: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars of one call."""
        return (prompt_tokens * self.read + completion_tokens * self.written) / 1e6


class Ledger:
    """Dollars and calls of one command, under hard caps (None = no cap).

    A call is reserved at the most it can cost: a token is at least one byte of text, and an answer has at most
    `max_tokens`. A call without an answer (a time-out, say) may still be billed: it stays booked at its worst case.
    """

    def __init__(self, price: Price | None = None, max_cost: float | None = None, max_calls: int | None = None):
        if max_cost is not None and price is None:
            raise ValueError("--max-cost needs --price READ,WRITTEN (US dollars per million tokens) to count with.")
        self.price, self.max_cost, self.max_calls = price, max_cost, max_calls
        self.spent, self.calls, self._reserved, self._change = 0.0, 0, 0.0, threading.Condition()

    def worst_case(self, prompt_bytes: int, messages: int, max_tokens: int) -> float:
        """The most that a call can cost, in dollars."""
        return 0.0 if self.price is None else self.price.of(prompt_bytes + ANY_PROMPT * messages, max_tokens)

    def reserve(self, worst_case: float) -> None:
        """Book a call before it is made; waits for running calls where their worst cases stand in the way.

        Raises:
            SpendingCap: the call could pass a cap.
        """
        with self._change:
            if self.max_calls is not None and self.calls >= self.max_calls:
                raise SpendingCap(f"the cap of {self.max_calls} calls is reached")
            if self.max_cost is not None:
                while self.spent + self._reserved + worst_case > self.max_cost:
                    if not self._reserved:
                        raise SpendingCap(
                            f"${self.spent:.4f} are spent and the next call may cost ${worst_case:.4f}, more than the cap of "
                            f"${self.max_cost:.2f}"
                        )
                    self._change.wait()
            self.calls += 1
            self._reserved += worst_case

    def settle(self, worst_case: float, cost: float) -> None:
        """Replace a reservation by what the call did cost."""
        with self._change:
            self._reserved = max(0.0, self._reserved - worst_case)
            if self._reserved < 1e-12:
                self._reserved = 0.0
            self.spent += cost
            self._change.notify_all()
