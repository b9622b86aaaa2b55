"""The third room's flow: one task a shard of traces; the verifier processes keep all cores busy inside each."""

from prefect import flow, task

from distill import shards
from distill.progress import Meter
from distill.recipe import Verification
from distill.records import Candidate, Trace
from distill.verify import verify
from flows import keys, rooms
from flows.keys import Place


@flow(name="verify", **rooms.FLOW)
def verify_room(traces: Place, verification: Verification, kinds: list[str]) -> Place:
    """Makes or reuses the verdicts on finished traces."""
    sampled = rooms.needed(traces, "distill sample")
    place = keys.verdicts(traces, verification, kinds)
    if rooms.reused(place, "every verdict is there"):
        return place
    with rooms.making(place) as folder, Meter("verifying", sampled["rows"]) as meter:
        todo = rooms.missing(rooms.shard_paths(traces, sampled), folder)
        meter.add(sampled["rows"] - sum(rooms.count(source) for source, _ in todo))
        for source, target in todo:
            meter.add(verify_shard(source, target, verification))
        rooms.finish(place, shards.list_shards(folder))
    return place


@task(name="verify-shard", **rooms.TASK)
def verify_shard(source: str, target: str, verification: Verification) -> int:
    """Judges one shard of traces."""
    return shards.write(Candidate, verify(rooms.read(Trace, source), verification), target)
