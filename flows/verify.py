"""The flow of verification: one task a shard of traces, in which the verifier processes keep all cores busy.

What a judge model replied is kept on its own, by what it was asked: a killed run, another threshold and a new
version of a rule verifier ask it nothing twice. The summary by source and the list of disagreements lie
beside the shards.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

from prefect import flow, task
from prefect.utilities.annotations import quote

from distill.curate import dropped, filters
from distill.engines import Completions
from distill.progress import Meter
from distill.recipe import Verification
from distill.records import Candidate, Trace
from distill.store import Folder, checked, list_shards, shards
from distill.verify import summary, verify
from flows import runners
from flows.identity import Folders

SUMMARY = "summary.json"
DISAGREEMENTS = "disagreements.jsonl"


@flow(name="verify", **runners.FLOW)
def verify_stage(folders: Folders) -> Folder:
    """Makes or reuses the verdicts on finished traces."""
    traces, verdicts = folders.traces, folders.verdicts
    sampled = traces.needed("distill sample")
    with verdicts.making("every verdict is there") as todo:
        if todo:
            missing = verdicts.lacks(traces.shards())
            done = sampled["rows"] - sum(checked.count(one.source) for one in missing)
            judge = folders.judgements
            with (
                Meter("verifying", sampled["rows"], done) as meter,
                nullcontext() if judge is None else runners.completions_of(judge) as replies,
            ):
                # a student that is evaluated may fail as it likes
                lookout = dropped.Lookout() if folders.recipe else None
                here: Any = quote(Here(replies, lookout))  # Prefect hands it over as it is
                for one in missing:
                    meter.add(verify_shard(*one, folders.verification, here))
            paths = list_shards(verdicts.path)
            summarise(verdicts, paths)
            verdicts.finish(paths)
    return verdicts


class Here(NamedTuple):
    """What stays in this process."""

    replies: Completions | None
    lookout: dropped.Lookout | None


@task(name="verify-shard", **runners.TASK)
def verify_shard(
    source: str,
    target: str,
    verification: Verification,
    here: Here,
) -> int:
    """Judges one shard of traces."""
    found = verify(checked.read(Trace, source), verification, here.replies)
    looked_at = found if here.lookout is None else _looked_at(found, here.lookout)
    return shards.write(Candidate, looked_at, target)


def _looked_at(candidates: Iterable[Candidate], lookout: dropped.Lookout) -> Iterator[Candidate]:
    """Candidates as they are; nearly all of one outcome are told, of those that came to their end."""
    for candidate in candidates:
        trace, verdict = candidate.trace, candidate.verdict
        if trace.failure is None and filters.truncated(trace) is None:
            fine = verdict.outcome in ("correct", "unverified")  # the kinds that nothing judges may be kept
            lookout.see(
                trace.problem.source,
                None if fine else verdict.outcome,
                f"{trace.id}, {verdict.detail}".rstrip(", "),
            )
        yield candidate


@task(name="summarise-verdicts", **runners.TASK)
def summarise(verdicts: Folder, paths: list[str]) -> None:
    """Writes the summary by source and kind, and the answers on which opinions differ, and puts the table on
    the run's page."""

    def read(columns: list[str] | None) -> Iterator[dict[str, Any]]:
        return (row for path in paths for row in checked.read_rows(path, columns))

    summaries = summary.write(read, f"{verdicts.path}/{SUMMARY}", f"{verdicts.path}/{DISAGREEMENTS}")
    runners.artifact(
        f"verdicts-{verdicts.name}",
        summary.markdown(summaries),
        f"Verdicts on the traces of {verdicts.name} by source",
    )
