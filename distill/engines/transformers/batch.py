"""The rows that are in a transformers model together, one new token each at every step.

A batch has places; a place holds a running row or is free, and a free place is given to the next prompt (`slot_cache`).
All rows are at the same column; a row's own positions are told to the model. With layers that have no slots (sliding
window, recurrent) a batch is filled once and runs until its last row has finished.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from transformers import DynamicCache

from distill.engines.transformers.slot_cache import slots
from distill.engines.transformers.token_choice import choose, uniforms

PREFILL_TOKENS = 16384
"""Prompt tokens, padding included, that go through the model at once."""
TRIM_EVERY = 32
"""Steps between looks for columns that no running row needs any more."""


@dataclass(slots=True)
class Row:
    """One request on its way."""

    key: str
    prompt: tuple[int, ...]
    seed: int
    limit: int
    """New tokens at most."""
    tokens: list[int] = field(default_factory=list)
    reason: str = ""
    """Finish reason; empty while the row is running."""


class Batch:
    """Places for at most `size` rows of one model."""

    mask: torch.Tensor
    """Which columns a place attends to."""
    tokens: torch.Tensor
    """Each place's newest token, not yet in the cache."""
    positions: torch.Tensor
    seeds: Any
    steps: Any
    """Tokens that were drawn for each place."""
    cache: Any

    def __init__(self, model: Any, ends: frozenset[int], size: int, temperature: float, top_p: float) -> None:
        self.model, self.ends, self.size = model, ends, size
        self.temperature, self.top_p = temperature, top_p
        self.places: list[Row | None] = []
        self.running = 0
        self.has_slots = False

    def admit(self, waiting: deque[Row]) -> list[Row]:
        """Puts waiting rows into free places when that is worth a pass through the model; gives rows that finished at once."""
        if not self.running and waiting:
            return self._start(waiting)
        if not self.has_slots:
            return []
        free = self.size - self.running
        if waiting and free >= max(1, min(self.size // 16, len(waiting))):
            return [row for group in groups(pop(waiting, free)) for row in self._join(group)]
        if not waiting and 0 < self.running <= len(self.places) // 2:
            self._rearrange([place for place, row in enumerate(self.places) if row is not None], 0)
        return []

    def step(self) -> list[Row]:
        """Draws one token for every running row and gives those that finished with it."""
        if self.has_slots and self.mask.shape[1] % TRIM_EVERY == 0:
            self._trim()
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.places), 1)], 1)
        logits = self._logits(self.tokens[:, None], self.mask, self.positions[:, None], self.cache)
        self.positions += 1
        self.tokens = self._draw(logits, self.seeds, self.steps)
        self.steps += numpy.uint64(1)
        return self._append(range(len(self.places)), self.tokens)

    def _start(self, waiting: deque[Row]) -> list[Row]:
        """Begins with an empty cache; without slots only what fits into one pass is taken."""
        plain = slots(self.model.config)
        self.has_slots = plain is not None
        self.cache = DynamicCache(config=self.model.config) if plain is None else plain
        first, *others = groups(pop(waiting, self.size))
        self.mask, logits = self._prefill(first, self.cache)
        self.places, self.running = list(first), len(first)
        self.positions, self.seeds, self.steps = self.mask.sum(1), seeds(first), numpy.ones(len(first), numpy.uint64)
        self.tokens = self._draw(logits, self.seeds, self.steps - numpy.uint64(1))
        finished = self._append(range(len(first)), self.tokens)
        if not self.has_slots:
            waiting.extendleft(row for group in reversed(others) for row in reversed(group))
            return finished
        return finished + [row for group in others for row in self._join(group)]

    def _join(self, rows: list[Row]) -> list[Row]:
        """Puts rows into free places, making places and columns in front where there are too few."""
        other: Any = DynamicCache(config=self.model.config)
        mask, logits = self._prefill(rows, other)
        missing = len(rows) - self.places.count(None)
        first = min(0, self.mask.shape[1] - mask.shape[1])
        if missing > 0 or first < 0:
            self._rearrange([*range(len(self.places)), *[0] * max(missing, 0)], first)
        free = [place for place, row in enumerate(self.places) if row is None][: len(rows)]
        index = torch.tensor(free, device=self.mask.device)
        for mine, theirs in zip(self.cache.layers, other.layers, strict=True):
            mine.put(index, theirs)
        self.mask[index] = False
        self.mask[index, self.mask.shape[1] - mask.shape[1] :] = mask
        self.positions[index] = mask.sum(1)
        self.seeds[free], self.steps[free] = seeds(rows), 1
        self.tokens[index] = self._draw(logits, self.seeds[free], self.steps[free] - numpy.uint64(1))
        for place, row in zip(free, rows, strict=True):
            self.places[place] = row
        self.running += len(rows)
        return self._append(free, self.tokens[index])

    def _prefill(self, rows: list[Row], cache: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask (rows, columns) and next-token logits (rows, vocabulary) of left-padded prompts; equal prompts are computed once."""
        distinct = list(dict.fromkeys(row.prompt for row in rows)) if self.has_slots else [row.prompt for row in rows]
        width = max(len(prompt) for prompt in distinct)
        padded = torch.tensor([[prompt[0]] * (width - len(prompt)) + list(prompt) for prompt in distinct], device=self.model.device)
        mask = torch.tensor([[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in distinct], device=self.model.device)
        logits = self._logits(padded, mask, (mask.cumsum(1) - 1).clamp(min=0), cache)
        if len(distinct) < len(rows):
            number = {prompt: which for which, prompt in enumerate(distinct)}
            copies = torch.tensor([number[row.prompt] for row in rows], device=self.model.device)
            for layer in cache.layers:
                layer.batch_select_indices(copies)
            mask, logits = mask[copies], logits[copies]
        return mask, logits

    def _logits(self, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        output = self.model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _draw(self, logits: torch.Tensor, seeds: Any, steps: Any) -> torch.Tensor:
        return choose(logits, torch.from_numpy(uniforms(seeds, steps)).to(logits.device), self.temperature, self.top_p)

    def _append(self, places: Iterable[int], tokens: torch.Tensor) -> list[Row]:
        """Gives the rows in some places their new tokens, and frees the places of those that finished."""
        finished: list[Row] = []
        for place, token in zip(places, tokens.tolist(), strict=True):
            row = self.places[place]
            if row is None:
                continue
            row.tokens.append(token)
            row.reason = "stop" if token in self.ends else "length" if len(row.tokens) == row.limit else ""
            if row.reason:
                self.places[place] = None
                finished.append(row)
        self.running -= len(finished)
        return finished

    def _trim(self) -> None:
        """Drops the columns in front that no running row attends to."""
        used = [place for place, row in enumerate(self.places) if row is not None]
        first = int(self.mask[used].any(0).int().argmax()) if used else 0
        if first:
            self._rearrange(None, first)

    def _rearrange(self, kept: list[int] | None, first: int) -> None:
        """Keeps these places (None: all) in this order, a repeated one as a free place, and the columns from `first` on."""
        rows = None if kept is None else torch.tensor(kept, device=self.mask.device)
        for layer in self.cache.layers:
            layer.rearrange(rows, first)
        front = self.mask.new_zeros(len(self.places), max(-first, 0))
        self.mask = torch.cat([front, self.mask[:, max(first, 0) :]], 1)
        if kept is not None:
            self.mask, self.tokens, self.positions = self.mask[rows], self.tokens[rows], self.positions[rows]
            self.seeds, self.steps = self.seeds[kept], self.steps[kept]
            self.places = [self.places[place] if place not in kept[:number] else None for number, place in enumerate(kept)]


def pop(waiting: deque[Row], count: int) -> list[Row]:
    """Takes the first rows, at most `count`."""
    return [waiting.popleft() for _ in range(min(count, len(waiting)))]


def groups(rows: list[Row]) -> list[list[Row]]:
    """Rows by falling prompt length, in groups that fit into one pass through the model."""
    grouped: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -len(row.prompt)):
        if grouped and (len(grouped[-1]) + 1) * len(grouped[-1][0].prompt) <= PREFILL_TOKENS:
            grouped[-1].append(row)
        else:
            grouped.append([row])
    return grouped


def seeds(rows: list[Row]) -> Any:
    """The rows' seeds as unsigned 64-bit numbers."""
    return numpy.array([row.seed % 2**64 for row in rows], numpy.uint64)
