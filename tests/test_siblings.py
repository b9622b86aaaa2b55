"""The traces of a problem come to lie together in one shard, in the order in which problems and traces first appear."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill import shards, siblings
from distill.records import Candidate, Problem, Trace, Verdict


def candidate(problem: int, sample: int) -> Candidate:
    asked = Problem(f"p{problem}", "s", "math", f"What is {problem}?", str(problem))
    return Candidate(Trace(asked, f"t{problem}-{sample}", sample, "Thinking. " * 3, "It.", True, "stop"), Verdict("correct"))


def gathered(rows: list[Candidate], folder: Path) -> list[list[Candidate]]:
    return [list(shards.read(Candidate, path)) for path in siblings.gather(iter(rows), str(folder))]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40, unique=True), st.integers(1, 9), st.integers(1, 5))
def test_all_rows_are_there_with_siblings_together_in_first_order(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]], shard_rows: int, pile: int
) -> None:
    rows = [candidate(*place) for place in places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(siblings, "SHARD_ROWS", shard_rows)
        patch.setattr(siblings, "PROBLEMS_OF_PILE", pile)
        found = gathered(rows, tmp_path_factory.mktemp("gather") / "candidates")
    order = list(dict.fromkeys(row.trace.problem.problem_id for row in rows))
    assert [row for shard in found for row in shard] == sorted(rows, key=lambda row: order.index(row.trace.problem.problem_id))
    homes = [{row.trace.problem.problem_id for row in shard} for shard in found]
    assert sum(map(len, homes)) == len(order)


def test_the_folder_appears_when_all_is_in_it(tmp_path: Path) -> None:
    def broken():
        yield candidate(0, 0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        siblings.gather(broken(), str(tmp_path / "candidates"))
    assert not (tmp_path / "candidates").exists()
    rows = [candidate(problem, sample) for sample in range(3) for problem in range(5)]
    random.Random(0).shuffle(rows)
    first = gathered(rows, tmp_path / "candidates")
    assert sum(map(len, first)) == 15 and sorted(path.name for path in tmp_path.iterdir()) == ["candidates"]
    assert gathered([], tmp_path / "candidates") == first
