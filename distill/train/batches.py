"""Which rows share a forward pass: each optimizer step draws its rows at random, and deals them over passes
and GPUs by their tokens.

An optimizer step has `batch_size` rows, whatever their lengths and however many GPUs there are: the draw
depends on seed and epoch alone. Its rows are dealt longest first to the pass with the fewest tokens so far
(Graham's LPT rule: at most 4/3 of the best split), so that all passes take about as long. Rows of a pass lie
end to end, without padding.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.signedinteger[Any]]]


def deal(lengths: Sequence[int], passes: int) -> list[list[int]]:
    """Positions of the rows of one step, dealt over passes; with as many rows as passes or more, none is
    empty.

    >>> deal([7, 1, 5, 3], 2)
    [[0, 1], [2, 3]]
    """
    dealt: list[list[int]] = [[] for _ in range(passes)]
    heap = [(0, number) for number in range(passes)]
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        tokens, number = heap[0]
        dealt[number].append(row)
        heapq.heapreplace(heap, (tokens + lengths[row], number))
    return dealt


def order(rows: int, seed: int, epoch: int) -> Ints:
    """The rows in the order in which an epoch's steps draw them."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def steps_of(rows: int, batch_size: int, seed: int, epoch: int, least: int) -> list[Ints]:
    """The rows of each step of an epoch, each row once; a last step of fewer than `least` rows joins the one
    before it."""
    starts = list(range(0, rows, batch_size))
    if len(starts) > 1 and rows - starts[-1] < least:
        starts.pop()
    drawn = order(rows, seed, epoch)
    return [drawn[at:end] for at, end in pairwise([*starts, rows])]


def passes_of_a_step(lengths: Ints, batch_size: int, world: int, tokens: int, seed: int) -> int:
    """How many passes a GPU makes for one step, with about `tokens` in each at most: the largest step of the
    first epoch decides.

    Raises ValueError when there are fewer rows than GPUs.
    """
    if len(lengths) < world:
        raise ValueError(
            f"{len(lengths)} rows are too few for {world} GPUs: train on fewer with CUDA_VISIBLE_DEVICES"
        )
    largest = max(int(lengths[step].sum()) for step in steps_of(len(lengths), batch_size, seed, 0, 1))
    return min(max(1, -(-largest // (world * tokens))), max(1, min(batch_size, len(lengths)) // world))


def sampler(lengths: Ints, batch_size: int, world: int, rank: int, passes: int, seed: int) -> Any:
    """A batch sampler of one rank for the Trainer: the rows of each of its passes, `passes` of them a
    step."""
    from transformers.trainer_pt_utils import BatchRebalanceSampler

    steps = len(steps_of(len(lengths), batch_size, seed, 0, passes * world))  # as many in every epoch

    class Dealt(
        BatchRebalanceSampler
    ):  # the Trainer leaves a sampler of this class as it is: it knows its rank already
        def __init__(self) -> None:
            self.epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return steps * passes

        def __iter__(self) -> Iterator[list[int]]:
            for step in steps_of(len(lengths), batch_size, seed, self.epoch, passes * world):
                dealt = deal(lengths[step].tolist(), passes * world)
                for number in range(rank, passes * world, world):
                    yield step[dealt[number]].tolist()

    return Dealt()
