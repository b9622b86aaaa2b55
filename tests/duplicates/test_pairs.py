"""Near-duplicate pairs of measured shards: all of them, each with its exact similarity, and no text is read
in vain."""

import random
from itertools import combinations

import pyarrow.parquet as pq
import pytest

from distill import duplicates
from distill.duplicates import pairs
from distill.recipe import Duplicates
from distill.records import Candidate, Measures, Problem, Trace, Verdict
from distill.store import shards
from distill.text import shingles

SECTION = Duplicates()
WORDS = [f"{a}{b}" for a in "bdfgklmnprstv" for b in ("ara", "esi", "ito", "ovu", "uxe", "iza", "agi", "eho")]


def text(seed, count=200):
    generator = random.Random(seed)
    return " ".join(generator.choice(WORDS) for _ in range(count))


def edited(original, seed, share):
    """Each word is replaced by another one with the given probability."""
    generator = random.Random(seed)
    return " ".join(
        generator.choice(WORDS) if generator.random() < share else word for word in original.split()
    )


def trace(thinking, question="What is asked?", failure=None):
    return Trace(
        Problem(question, "s", "math", question, "4"), "t", 0, thinking, "4", True, "stop", failure=failure
    )


def written(traces, folder, shard_rows=1000, section=SECTION):
    """Shards of the traces as `measure` leaves them, as far as duplicates are concerned."""
    prints = duplicates.prints(traces, section)
    measures = [Measures(**{name: getattr(found, name) for name in found.__slots__}) for found in prints]
    candidates = [
        Candidate(one, Verdict("wrong"), measures=found) for one, found in zip(traces, measures, strict=True)
    ]
    sources = [
        str(folder / f"{shard_rows}-{start:05}.parquet") for start in range(0, len(traces), shard_rows)
    ]
    for number, source in enumerate(sources):
        shards.write(Candidate, candidates[number * shard_rows : (number + 1) * shard_rows], source)
    return sources


def found(traces, folder, section=SECTION, shard_rows=1000):
    """(row, row, similarity) of each pair."""
    rows = {}
    for row, one in enumerate(duplicates.prints(traces, section)):
        rows.setdefault(one.text_hash, row)
    return [
        (rows[pair.one], rows[pair.other], pair.similarity)
        for pair in pairs.find(written(traces, folder, shard_rows, section), section)
    ]


def family(seed, count, question):
    texts = dict.fromkeys(edited(text(seed), 100 * seed + copy, 0.012 * copy) for copy in range(count))
    return [trace(thinking, question) for thinking in texts]


@pytest.mark.parametrize(
    "section", [SECTION, Duplicates(threshold=0.9), Duplicates(threshold=0.5), Duplicates(shingle_words=3)]
)
def test_every_pair_of_a_question_is_found_with_its_exact_similarity(tmp_path, section):
    traces = [one for seed in range(30) for one in family(seed, 8, f"question {seed // 2}")]
    sets = list(
        shingles.sets([shingles.whole(one.thinking, one.answer) for one in traces], section.shingle_words)
    )
    wanted = {
        (one, other): similarity
        for one, other in combinations(range(len(traces)), 2)
        if traces[one].problem == traces[other].problem
        and (similarity := shingles.jaccard(sets[one], sets[other]))
        >= min(section.threshold, pairs.PAIRS_FROM)
    }
    stored = {(one, other): similarity for one, other, similarity in found(traces, tmp_path, section)}
    assert stored.items() <= wanted.items() and len(stored) >= 0.98 * len(wanted) > 100


def test_what_is_found_does_not_depend_on_shards_or_batches(tmp_path, monkeypatch):
    traces = [one for seed in range(20) for one in family(seed, 6, f"question {seed // 3}")]
    whole = found(traces, tmp_path)
    assert whole and found(traces, tmp_path, shard_rows=7) == whole
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 5000)
    monkeypatch.setattr(shingles, "BATCH_TEXTS", 3)
    monkeypatch.setattr(shingles, "SPOOLED_BYTES", 1000)
    monkeypatch.setattr(pairs, "BATCH_ROWS", 2)
    assert found(traces, tmp_path, shard_rows=50) == whole


def test_failed_and_empty_rows_have_no_pair_and_equal_words_are_one_text(tmp_path):
    thinking = text(1)
    traces = [
        trace(thinking, failure="empty"),
        trace(None),
        trace(thinking + " so"),
        trace(thinking),
        trace(thinking.replace(" ", "  ")),
        trace(""),
        trace(thinking, "What are 2 and 2?"),
    ]
    empty = [
        Trace(one.problem, "t", 0, one.thinking, "", True, "stop") if one.thinking in (None, "") else one
        for one in traces
    ]
    assert [pair[:2] for pair in found(empty[1:], tmp_path)] == [(1, 2)]
    assert len(list(pairs.find(written(empty, tmp_path), SECTION))) == 1
    assert found([], tmp_path) == []
    assert found([trace("alone")], tmp_path) == []


def test_texts_that_look_like_no_other_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1)
    (source,) = written([trace(text(1)), trace(text(2)), trace(text(1) + " so")], tmp_path)
    chunk = next(
        column
        for column in map(pq.ParquetFile(source).metadata.row_group(1).column, range(40))
        if column.path_in_schema == "thinking"
    )
    with open(source, "r+b") as file:
        file.seek(chunk.data_page_offset + chunk.total_compressed_size - 20)
        file.write(bytes(20))
    with pytest.raises(OSError, match="checksum"):
        list(shards.read(Candidate, source))
    assert len(list(pairs.find([source], SECTION))) == 1


def test_a_crowd_takes_few_comparisons_for_each_text_and_so_do_its_lookalikes(tmp_path, monkeypatch):
    compared = []
    jaccard = shingles.jaccard
    monkeypatch.setattr(shingles, "jaccard", lambda one, other: compared.append(1) or jaccard(one, other))
    half = text(12, 40)
    many = [trace(edited(text(11), seed, 0.01)) for seed in range(1600)]
    lookalikes = [trace(f"{half} {text(seed, 12)}", "other") for seed in range(1600)]
    comparisons = []
    for count in (400, 1600):
        compared.clear()
        stored = list(pairs.find(written(many[:count] + lookalikes[:count], tmp_path), SECTION))
        assert count < len(stored) < 40 * count
        comparisons.append(len(compared))
    assert comparisons[1] < 80 * 1600 and comparisons[1] < 6 * comparisons[0]
