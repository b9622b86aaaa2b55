"""The traces of a problem lie together in one shard, in their order; no row is lost, and the file's mix of
problems has no effect."""

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
    return Candidate(
        Trace(asked, f"t{problem}-{sample}", sample, "Thinking. " * 3, "It.", True, "stop"),
        Verdict("correct"),
    )


def gathered(rows: list[Candidate], folder: Path) -> list[list[Candidate]]:
    return [list(shards.read(Candidate, path)) for path in grouping.gather(iter(rows), str(folder))]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40, unique=True),
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from([600, 4000, 1 << 20]),
    st.randoms(use_true_random=False),
)
def test_all_rows_are_there_with_siblings_together_whatever_the_mix_of_problems(
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[int, int]],
    shard_rows: int,
    parts: int,
    characters: int,
    dice: random.Random,
) -> None:
    rows = [candidate(*place) for place in places]
    settings = {"SHARD_ROWS": shard_rows, "PARTS": parts, "SHARD_CHARACTERS": characters}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(grouping, name, value)
        folder = tmp_path_factory.mktemp("gather")
        found = gathered(rows, folder / "candidates")
        others = gathered(shuffled(rows, dice), folder / "mixed")
    assert others == found
    flat = [row for shard in found for row in shard]
    assert sorted(flat, key=rows.index) == rows
    for problem in {row.trace.problem.problem_id for row in rows}:
        at = [number for number, row in enumerate(flat) if row.trace.problem.problem_id == problem]
        assert at == list(range(at[0], at[-1] + 1)), "siblings lie together"
        assert [flat[number] for number in at] == [
            row for row in rows if row.trace.problem.problem_id == problem
        ]
    homes = [{row.trace.problem.problem_id for row in shard} for shard in found]
    assert sum(map(len, homes)) == len({row.trace.problem.problem_id for row in rows})
    for shard in found[:-1] if found else []:
        siblings_of_last = sum(row.trace.problem == shard[-1].trace.problem for row in shard)
        assert len(shard) - siblings_of_last < shard_rows


def shuffled(rows: list[Candidate], dice: random.Random) -> list[Candidate]:
    """The rows with problems mixed otherwise, the traces of each in their order."""
    waiting = {row.trace.problem.problem_id: [] for row in rows}
    for row in rows:
        waiting[row.trace.problem.problem_id].append(row)
    turns = [row.trace.problem.problem_id for row in rows]
    dice.shuffle(turns)
    return [waiting[problem].pop(0) for problem in turns]


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


def test_many_problems_need_few_open_files(tmp_path: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + grouping.PARTS + 32, usual[1]))
        found = gathered(
            [candidate(problem, sample) for sample in range(2) for problem in range(1_000)],
            tmp_path / "candidates",
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert len(found) == 1 and len(found[0]) == 2_000


def test_a_part_becomes_several_shards_and_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "SHARD_CHARACTERS", 1 << 20)
    monkeypatch.setattr(grouping, "PARTS", 8)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1 << 20)
    text = "Thinking. " * 1_000
    rows = (
        replace(one, trace=replace(one.trace, thinking=text))
        for one in (candidate(problem, sample) for sample in range(8) for problem in range(400))
    )
    before, peaks = pa.total_allocated_bytes(), []
    write = shards.Writer.write_table

    def watched(writer: Any, table: pa.Table) -> None:
        peaks.append(pa.total_allocated_bytes() - before)
        write(writer, table)

    monkeypatch.setattr(shards.Writer, "write_table", watched)
    paths = grouping.gather(rows, str(tmp_path / "candidates"))
    assert len(peaks) > 20 and max(peaks) < 12 << 20, "a part of 4 MB, its hashes and a few row groups"
    sizes = [shards.count(path) for path in paths]
    assert len(paths) > 20 and max(sizes) <= (1 << 20) // len(text) + 8 and sum(sizes) == 3_200
