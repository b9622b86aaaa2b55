"""Which completions of one problem to ask for, and when it has had enough.

Without `Adaptive`, n draws. With it, at least n, and as many of them on their way as right ones are missing:
whatever comes back and is not right is followed by another try, so no draw beyond the first n is ever asked
in vain. A try that was cut is followed by the same draw with the next larger budget before a new draw. Which
draws are asked depends on their outcomes only and never on the order in which they arrive. Nothing is judged
here.
"""

import heapq
from typing import Literal

from distill.recipe import Sampling

DrawResult = Literal["right", "cut", "hopeless", "other"]
"""`"hopeless"`: another draw would end no better, whatever is drawn."""
Try = tuple[int, int]
"""(sample index, budget `max_tokens`)."""


class DrawPlan:
    """The tries at one problem; `adaptive` says whether its answers can be judged as they arrive."""

    def __init__(self, sampling: Sampling, adaptive: bool = True) -> None:
        self._adaptive = sampling.adaptive if adaptive else None
        self.budgets = (sampling.max_tokens, *(sorted(set(self._adaptive.budgets)) if self._adaptive else ()))
        self.drawn = max(sampling.n, self._adaptive.enough) if self._adaptive else sampling.n
        """Draws that have been asked for; their indices are 0 and up."""
        self._under_way = self.drawn
        self._right = 0
        self._hopeless = False
        self._cut: list[Try] = []
        """Draws that were cut, with the budget that they may be asked with next; a heap."""

    def first(self) -> list[Try]:
        """The tries to begin with."""
        return [(index, self.budgets[0]) for index in range(self.drawn)]

    def tell(self, tried: Try, outcome: DrawResult) -> list[Try]:
        """The tries that follow from one that came back."""
        self._under_way -= 1
        if outcome == "right":
            self._right += 1
        self._hopeless |= outcome == "hopeless"
        larger = next((budget for budget in self.budgets if budget > tried[1]), None)
        if outcome == "cut" and larger is not None:
            heapq.heappush(self._cut, (tried[0], larger))
        return self._next()

    def settled(self) -> bool:
        """Whether nothing is under way, so that the draws are final."""
        return self._under_way == 0

    def _next(self) -> list[Try]:
        found: list[Try] = []
        while self._adaptive and not self._hopeless and self._right + self._under_way < self._adaptive.enough:
            if self._cut:
                found.append(heapq.heappop(self._cut))
            elif self.drawn < self._adaptive.most:
                found.append((self.drawn, self.budgets[0]))
                self.drawn += 1
            else:
                break
            self._under_way += 1
        return found
