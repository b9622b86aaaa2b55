"""The third room's flow: one task a shard of traces; the verifier processes keep all cores busy inside each.

What a judge model replied is kept on its own, by what it was asked: a killed run, another threshold and a new
version of a rule verifier ask it nothing twice. The summary by source and the list of disagreements lie
beside the shards.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect import flow, task
from prefect.utilities.annotations import quote

from distill.curate.dropped import Lookout
from distill.curate.filters import truncated
from distill.engines import Completions
from distill.progress import Meter
from distill.recipe.dataset import Verification
from distill.records import Candidate, Trace
from distill.store import shards
from distill.verify import summary, verify
from flows import identity, rooms
from flows.identity import Place

SUMMARY = "summary.json"
DISAGREEMENTS = "disagreements.jsonl"


@flow(name="verify", **rooms.FLOW)
def verify_room(traces: Place, verification: Verification, kinds: list[str]) -> Place:
    """Makes or reuses the verdicts on finished traces."""
    sampled = rooms.needed(traces, "distill sample")
    place = identity.verdicts(traces, verification, kinds)
    if rooms.reused(place, "every verdict is there"):
        return place
    with rooms.making(place, "every verdict is there") as folder, _replies(traces, verification) as replies:
        if folder is None:
            return place
        with Meter("verifying", sampled["rows"]) as meter:
            todo = rooms.missing(rooms.shard_paths(traces, sampled), folder)
            meter.add(sampled["rows"] - sum(rooms.count(source) for source, _ in todo))
            lookout: Any = quote(
                Lookout() if traces.room == "traces" else None
            )  # a student that is evaluated may fail as it likes
            here: Any = quote(replies)  # Prefect hands it over as it is
            for source, target in todo:
                meter.add(verify_shard(source, target, verification, here, lookout))
        paths = shards.list_shards(folder)
        summarise(place, paths)
        rooms.finish(place, paths)
    return place


@task(name="verify-shard", **rooms.TASK)
def verify_shard(
    source: str,
    target: str,
    verification: Verification,
    replies: Completions | None,
    lookout: Lookout | None = None,
) -> int:
    """Judges one shard of traces."""
    found = verify(rooms.read(Trace, source), verification, replies)
    return shards.write(Candidate, found if lookout is None else _looked_at(found, lookout), target)


def _looked_at(candidates: Iterable[Candidate], lookout: Lookout) -> Iterator[Candidate]:
    """Candidates as they are; nearly all of one outcome are told, of those that came to their end."""
    for candidate in candidates:
        trace, verdict = candidate.trace, candidate.verdict
        if trace.failure is None and truncated(trace) is None:
            fine = verdict.outcome in ("correct", "unverified")  # the kinds that nothing judges may be kept
            lookout.see(
                trace.problem.source,
                None if fine else verdict.outcome,
                f"{trace.id}, {verdict.detail}".rstrip(", "),
            )
        yield candidate


@task(name="summarise-verdicts", **rooms.TASK)
def summarise(place: Place, paths: list[str]) -> None:
    """Writes the summary by source and kind, and the answers on which opinions differ, and puts the table on
    the run's page."""

    def read(columns: list[str] | None) -> Iterator[dict[str, Any]]:
        return (row for path in paths for row in rooms.read_rows(path, columns))

    summaries = summary.write(read, f"{place.path}/{SUMMARY}", f"{place.path}/{DISAGREEMENTS}")
    rooms.artifact(
        f"verdicts-{place.name}",
        summary.markdown(summaries),
        f"Verdicts on the traces of {place.name} by source",
    )


def _replies(traces: Place, verification: Verification) -> AbstractContextManager[Completions | None]:
    """What the judge has replied; None without a judge."""
    if verification.judge is None:
        return nullcontext()
    place = identity.judgements(traces, verification.judge)
    return rooms.completions(place, place.room)
