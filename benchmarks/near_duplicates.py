r"""Measures the search for near-duplicates beside the libraries that a user would pick, in one run on one
corpus.

    python -m venv peers && peers/bin/pip install gaoya datasketch rensa datatrove spacy tokenizers 'xxhash<4'
    orjson .venv/bin/python benchmarks/near_duplicates.py --peers-python peers/bin/python

The corpus is generated (see corpus.py): 4 KB a trace, planted copies with a share of their words edited. All
work on stretches of five words and 128 permutations; peers have the field's 16 bands of 8 and a threshold of
0.7. `one question` is what the peers do: each trace may be a copy of each other. `curation` is what `distill
curate` does: questions, numbers and references have a say.

Each pass is a process of its own; contenders take turns, and figures are medians. CPU is user and system time
of the process with its children, from texts in memory to the list of duplicates, after a pass over a few
texts; imports are not counted, nor is writing the shard of measured rows, which a dataset has anyway (reading
texts of it again is). Memory is the growth of the peak. datatrove, which is slow, gets a part of the corpus.
A family is found when one of its members is flagged; a false merge is a flagged text that is no copy. The
last column is out of 100 problems of one template that differ in their numbers only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import corpus

THRESHOLD = 0.7
PERMUTATIONS, BANDS, ROWS = 128, 16, 8
DATATROVE_TEXTS = 1000
WARM_UP = 32

Row = dict[str, Any]
Flagged = list[int]


def main() -> int:
    chosen = arguments()
    if chosen.contender:
        print(json.dumps(measured(chosen.contender, chosen.rows)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            "corpus": corpus.corpus(chosen.documents, chosen.seed),
            "part": corpus.corpus(DATATROVE_TEXTS, chosen.seed),
            "templates": corpus.templates(100, chosen.seed),
        }
        for name, documents in sets.items():
            lines = (json.dumps({"question": one.question, "text": one.text}) for one in documents)
            Path(folder, name).write_text("\n".join(lines), encoding="utf-8")
        found: dict[str, list[Row]] = {}
        for _ in range(chosen.repeats):
            for who in CONTENDERS:
                if row := passed(
                    who, f"{folder}/{'part' if who == 'datatrove' else 'corpus'}", chosen.peers_python
                ):
                    found.setdefault(who, []).append(row)
        merged = {who: passed(who, f"{folder}/templates", chosen.peers_python) for who in found}
        report(found, merged, sets)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peers-python", default=sys.executable, help="interpreter that can import the peers"
    )
    parser.add_argument("--contender", choices=CONTENDERS, help="measure one, in this process, on --rows")
    parser.add_argument("--rows", help="JSON lines with `question` and `text`")
    return parser.parse_args()


# Contenders: from rows to the numbers of those that are duplicates


def one_question(rows: Sequence[Row]) -> Flagged:
    """This project, with all texts as answers to one question."""
    return curation([row | {"question": ""} for row in rows])


def curation(rows: Sequence[Row]) -> Flagged:
    """This project, as `distill curate` uses it: prints of texts, near-duplicate pairs of the shard they are
    in, and then the copies."""
    from distill import duplicates
    from distill.duplicates import pairs
    from distill.records import Candidate, Measures, Outline, Problem, Trace, Verdict
    from distill.store import shards

    traces = [
        Trace(Problem("", "b", "math", row["question"], None), "", 0, row["text"], "", True, "stop")
        for row in rows
    ]
    index = duplicates.Index(_section())
    prints = duplicates.prints(traces, index.section)
    measures = [Measures(**{name: getattr(found, name) for name in found.__slots__}) for found in prints]
    for number, one in enumerate(measures):
        index.add(number, Outline("", "", "b", "math", "en", 0, "stop", True, "unverified", measures=one), 0)
    with tempfile.TemporaryDirectory() as folder:
        start = _cpu_seconds()
        candidates = (
            Candidate(trace, Verdict("unverified"), measures=one)
            for trace, one in zip(traces, measures, strict=True)
        )
        shards.write(Candidate, candidates, f"{folder}/measured.parquet")
        _not_counted.append(_cpu_seconds() - start)
        return list(index.copies(pairs.find([f"{folder}/measured.parquet"], index.section)))


def gaoya(rows: Sequence[Row]) -> Flagged:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, THRESHOLD, BANDS, ROWS, None, "word", True, (5, 5))
    flagged = []
    for number, row in enumerate(rows):
        if index.query(row["text"]):
            flagged.append(number)
        else:
            index.insert_document(number, row["text"])
    return flagged


def datasketch(rows: Sequence[Row]) -> Flagged:
    import xxhash
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(params=(BANDS, ROWS), num_perm=PERMUTATIONS)
    flagged = []
    for number, row in enumerate(rows):
        print_ = MinHash(PERMUTATIONS, hashfunc=xxhash.xxh3_64_intdigest, scheme="affine64")
        print_.update_batch([gram.encode() for gram in grams(row["text"])])
        if any(
            print_.jaccard(index_print) >= THRESHOLD
            for index_print in map(_prints.__getitem__, index.query(print_))
        ):
            flagged.append(number)
        else:
            _prints[number] = print_
            index.insert(number, print_)
    return flagged


def rensa(rows: Sequence[Row]) -> Flagged:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS)
    flagged = []
    for number, row in enumerate(rows):
        print_ = RMinHash(PERMUTATIONS, 42)
        print_.update(grams(row["text"]))
        if any(print_.jaccard(_prints[other]) >= THRESHOLD for other in index.query(print_)):
            flagged.append(number)
        else:
            _prints[number] = print_
            index.insert(number, print_)
    return flagged


def datatrove(rows: Sequence[Row]) -> Flagged:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    config = MinhashConfig(n_grams=5, num_buckets=BANDS, hashes_per_bucket=ROWS)
    documents = [Document(row["text"], str(number)) for number, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        MinhashDedupSignature(f"{folder}/signatures", config).run(iter(documents), 0, 1)
        for bucket in range(BANDS):
            MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config).run(
                None, bucket, BANDS
            )
        MinhashDedupCluster(f"{folder}/buckets", f"{folder}/removed", config=config).run(None, 0, 1)
        kept = MinhashDedupFilter(f"{folder}/removed").run(iter(documents), 0, 1)
        return sorted(set(range(len(rows))) - {int(document.id) for document in kept})


CONTENDERS: dict[str, Callable[[Sequence[Row]], Flagged]] = {
    "distill, one question": one_question,
    "distill, curation": curation,
    "gaoya": gaoya,
    "rensa": rensa,
    "datasketch": datasketch,
    "datatrove": datatrove,
}
_prints: dict[int, Any] = {}
_not_counted: list[float] = []


def _section() -> Any:
    from distill.recipe import Duplicates

    return Duplicates(threshold=THRESHOLD)


def grams(text: str) -> list[str]:
    """Stretches of five words, for the libraries that leave cutting to their user."""
    words = text.lower().split()
    return [" ".join(words[start : start + 5]) for start in range(max(1, len(words) - 4))]


# Measuring


def passed(who: str, path: str, peers_python: str) -> Row | None:
    """One pass in a process of its own; None when the library is not there."""
    python = sys.executable if who.startswith("distill") else peers_python
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [python, __file__, "--contender", who, "--rows", path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:]
        print(f"{who}: left out ({''.join(reason)})")
        return None
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(who: str, path: str) -> Row:
    """CPU seconds, growth of the peak of memory and the flagged rows of one pass."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    CONTENDERS[who](rows[:WARM_UP])
    _prints.clear()
    _not_counted.clear()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = _memory_mb("VmRSS"), _cpu_seconds()
    flagged = CONTENDERS[who](rows)
    seconds = _cpu_seconds() - start - sum(_not_counted)
    size = sum(len(row["text"].encode()) for row in rows)
    return {
        "rows": len(rows),
        "bytes": size,
        "cpu": seconds,
        "memory": _memory_mb("VmHWM") - before,
        "flagged": flagged,
    }


def _cpu_seconds() -> float:
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def _memory_mb(what: str) -> float:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[what].split()[0]) / 1024


def report(
    found: dict[str, list[Row]], merged: dict[str, Row | None], sets: dict[str, list[corpus.Document]]
) -> None:
    """Prints a line for each contender."""
    rates = "".join(f"{rate:8.1%}" for rate in corpus.EDIT_RATES)
    print(
        f"{'':24}{'docs/CPU-s':>11} {'(least-most)':>15}{'MB/CPU-s':>9}{'x gaoya':>8}{'MB more':>8}{rates}   "
        "false  templates merged"
    )
    speeds = {who: [row["rows"] / row["cpu"] for row in rows] for who, rows in found.items()}
    base = statistics.median(speeds["gaoya"]) if "gaoya" in speeds else float("nan")
    for who, rows in found.items():
        speed, first = statistics.median(speeds[who]), rows[0]
        span = f"({min(speeds[who]):,.0f}-{max(speeds[who]):,.0f})"
        rate = speed * first["bytes"] / first["rows"] / 1e6
        recalls, false = scores(set(first["flagged"]), sets["part" if who == "datatrove" else "corpus"])
        line = (
            f"{who:24}{speed:11,.0f} "
            f"{span:>15}{rate:9.1f}{speed / base:8.2f}{statistics.median(row['memory'] for row in rows):8.0f}"
        )
        line += "".join(f"{recall:8.2f}" for recall in recalls) + f"{false:8}"
        print(f"{line}{len(merged[who]['flagged']) if merged[who] else '-':>10}")


def scores(flagged: set[int], documents: Sequence[corpus.Document]) -> tuple[list[float], int]:
    """Recall at each edit rate, and how many are flagged that are no copies."""
    members: dict[int, list[int]] = {}
    for row, document in enumerate(documents):
        members.setdefault(document.family, []).append(row)
    recalls = []
    for rate in corpus.EDIT_RATES:
        families = [members[document.family] for document in documents if document.edit_rate == rate]
        recalls.append(statistics.mean(bool(flagged & set(family)) for family in families))
    return recalls, sum(max(0, len(flagged & set(family)) - len(family) + 1) for family in members.values())


if __name__ == "__main__":
    sys.exit(main())
