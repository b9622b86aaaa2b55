"""The traces of a problem come to lie together in one shard, in the order in which problems and traces first appear."""

import random
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.files import grouping
from distill.records import Candidate, Problem, Trace, Verdict
from distill.store import shards


def candidate(problem: int, sample: int) -> Candidate:
    asked = Problem(f"p{problem}", "s", "math", f"What is {problem}?", str(problem))
    return Candidate(Trace(asked, f"t{problem}-{sample}", sample, "Thinking. " * 3, "It.", True, "stop"), Verdict("correct"))


def gathered(rows: list[Candidate], folder: Path) -> list[list[Candidate]]:
    return [list(shards.read(Candidate, path)) for path in grouping.gather(iter(rows), str(folder))]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40, unique=True),
    st.integers(1, 9),
    st.integers(1, 5),
    st.integers(0, 3),
    st.sampled_from([600, 4000, 1 << 20]),
)
def test_all_rows_are_there_with_siblings_together_in_first_order(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]], shard_rows: int, piles: int, strangers: int, characters: int
) -> None:
    rows = [candidate(*place) for place in places]
    settings = {"SHARD_ROWS": shard_rows, "PILE_BYTES": 1, "MOST_PILES": piles, "STRANGERS": strangers, "SHARD_CHARACTERS": characters}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(grouping, name, value)
        found = gathered(rows, tmp_path_factory.mktemp("gather") / "candidates")
    order = list(dict.fromkeys(row.trace.problem.problem_id for row in rows))
    assert [row for shard in found for row in shard] == sorted(rows, key=lambda row: order.index(row.trace.problem.problem_id))
    homes = [{row.trace.problem.problem_id for row in shard} for shard in found]
    assert sum(map(len, homes)) == len(order)
    for shard in found[:-1] if found else []:
        siblings_of_last = sum(row.trace.problem == shard[-1].trace.problem for row in shard)
        assert len(shard) - siblings_of_last < shard_rows


def test_the_folder_appears_when_all_is_in_it(tmp_path: Path) -> None:
    def broken():
        yield candidate(0, 0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        grouping.gather(broken(), str(tmp_path / "candidates"))
    assert not (tmp_path / "candidates").exists()
    rows = [candidate(problem, sample) for sample in range(3) for problem in range(5)]
    random.Random(0).shuffle(rows)
    first = gathered(rows, tmp_path / "candidates")
    assert sum(map(len, first)) == 15 and sorted(path.name for path in tmp_path.iterdir()) == ["candidates"]
    assert gathered([], tmp_path / "candidates") == first


def torn(number: int) -> Candidate:
    asked = Problem(f"torn{number}", "file", "open", "", None)
    return Candidate(Trace(asked, f"torn{number}", 0, None, "", True, "error", failure="not JSON"), Verdict("error"))


def test_torn_lines_between_siblings_scatter_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [one for problem in range(40) for one in (candidate(problem, 0), torn(problem), candidate(problem, 1), candidate(problem, 2))]
    dealt: list[object] = []
    monkeypatch.setattr(grouping, "_deal", lambda *given: dealt.append(given))
    monkeypatch.setattr(grouping, "SHARD_ROWS", 7)
    found = gathered(rows, tmp_path / "candidates")
    assert not dealt and len(found) > 10
    names = [row.trace.problem.problem_id for shard in found for row in shard]
    assert names == [name for problem in range(40) for name in (*[f"p{problem}"] * 3, f"torn{problem}")]


def test_many_scattered_problems_need_few_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "PILE_BYTES", 1)
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + grouping.MOST_PILES + 32, usual[1]))
        found = gathered([candidate(problem, sample) for sample in range(2) for problem in range(1_000)], tmp_path / "candidates")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert len(found) == grouping.MOST_PILES
    assert [row.trace.id for shard in found for row in shard] == [f"t{problem}-{sample}" for problem in range(1_000) for sample in range(2)]


def test_a_pile_becomes_several_shards_and_takes_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "SHARD_CHARACTERS", 1 << 20)
    monkeypatch.setattr(grouping, "PILE_BYTES", 4 << 20)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1 << 20)
    text = "Thinking. " * 1_000
    rows = (
        replace(one, trace=replace(one.trace, thinking=text))
        for one in (candidate(problem, sample) for sample in range(8) for problem in range(400))
    )
    before, peaks = pa.total_allocated_bytes(), []
    order_pile = grouping._order_pile

    def watched(*given: Any) -> int:
        peaks.append(pa.total_allocated_bytes() - before)
        return order_pile(*given)

    monkeypatch.setattr(grouping, "_order_pile", watched)
    paths = grouping.gather(rows, str(tmp_path / "candidates"))
    assert len(peaks) > 4 and max(peaks) < 1 << 20, "nothing of a pile is left when the next one begins"
    sizes = [shards.count(path) for path in paths]
    assert len(paths) > 20 and max(sizes) <= (1 << 20) // len(text) + 8 and sum(sizes) == 3_200
