"""The training stage: examples in, a student's weights out, by supervised fine-tuning.

Training runs in a child process (`python -m distill.train.worker`), so GPU memory is free when the stage is
left and this module never imports torch. With several GPUs the child is started through `accelerate launch`
with FSDP; several hosts that run the same command share one training. A killed run goes on from its last
whole checkpoint; the finished model appears under its name only when all of it is written.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distill import hardware, workers
from distill.hardware import memory
from distill.progress import say
from distill.recipe import Base, Training
from distill.records import Checkpoint
from distill.store import schema
from distill.train import checkpoint
from distill.workers import Child

VERSION = 1
LOG_TAIL_LINES = 15
RETRIES = 3
"""Of a child that crashes."""
PORT = "29500"
"""Where processes of several hosts meet, unless DISTILL_HOSTS names another port."""
STOP_SECONDS = 10.0
"""What the child may take to end by itself."""

Progress = Callable[[Mapping[str, Any]], None]


class TrainingError(RuntimeError):
    """The child process failed; the message has its cause and where its log is."""


class Crashed(TrainingError):
    """The child was killed or ran out of memory: from its last checkpoint it may come further."""


class Host(NamedTuple):
    """This machine among those that train one student together."""

    rank: int
    """The first, 0, prepares the base, encodes the rows and writes the student."""
    hosts: int
    """How many there are."""
    address: str
    """Of the first."""
    port: str

    @classmethod
    def here(cls) -> "Host":
        """As DISTILL_HOSTS (addresses, the first with a port or not) and DISTILL_HOST_RANK say; else alone.

        Raises TrainingError for a rank that there is not.
        """
        hosts = [host.strip() for host in os.environ.get("DISTILL_HOSTS", "").split(",") if host.strip()]
        if len(hosts) < 2:
            return cls(0, 1, "", "")
        rank, (address, _, port) = os.environ.get("DISTILL_HOST_RANK", ""), hosts[0].partition(":")
        if rank not in map(str, range(len(hosts))):
            raise TrainingError(
                f"DISTILL_HOSTS names {len(hosts)} hosts: set DISTILL_HOST_RANK to 0 on {address}, where the "
                f"student is written, and to 1 to {len(hosts) - 1} on the others, in their order"
            )
        return cls(int(rank), len(hosts), address, port or PORT)


def prepare(base: Base, target: str, log: str) -> None:
    """Makes a ready-to-serve folder of the untrained base with the student's template, EOS and context
    length.

    Weights are linked, not copied. Does nothing when the folder is there.
    """
    if not Path(target).exists():
        _run({"job": "prepare", "base": base.model_dump(), "target": target}, log)


def train(
    base: Base,
    training: Training,
    examples: list[str],
    target: str,
    log: str,
    on_progress: Progress | None = None,
    encoded: str | None = None,
) -> Checkpoint:
    """Fine-tunes a base on shards of Example rows and returns what was done; `target` is the folder of the
    model.

    The examples are encoded first, in a child that takes no GPU, into `encoded` (None: a folder beside
    `target`), where every later training on them finds their token ids. `on_progress` gets dicts: `encoded`
    and `of` while rows are encoded; `started` (a step) and `of` when steps begin; then `step`, `steps`,
    `epoch`, and either `validation_loss`, or `loss`, `tokens`, `tokens_per_second`, `mfu` and `resumed`,
    which is true for what an earlier process logged. A child that
    crashes is started again from its last checkpoint, RETRIES times at most, each after progress only.
    Raises TrainingError with the child's last words.
    """
    job = {
        "job": "train",
        "base": base.model_dump(),
        "training": training.model_dump(),
        "examples": examples,
        "target": target,
        "encoded": encoded or str(Path(target).with_name("encoded")),
    }
    if not base.trust_remote_code:  # code of a model may want torch: the training encodes by itself then
        job |= _run({**job, "job": "encode"}, log, on_progress=on_progress)
    result = _train(job, log, _launcher(base, training, Host.here()), on_progress)
    return schema.from_row(Checkpoint, {**result, "fingerprint": "", "dataset": "", "student": ""})


def _train(
    job: dict[str, Any], log: str, launcher: tuple[str, ...], on_progress: Progress | None
) -> dict[str, Any]:
    """Runs a training, again from its last checkpoint where it crashed and had come further."""
    checkpoints = Path(job["target"]).with_name("checkpoints")
    before = checkpoint.reached(checkpoints)
    for retries in range(RETRIES, 0, -1):
        try:
            return _run(job, log, launcher=launcher, on_progress=on_progress)
        except Crashed as error:
            step = checkpoint.reached(checkpoints)
            if step <= before:
                raise
            before = step
            say(f"training goes on from step {step:,} ({retries} retries left): {error}")
    return _run(job, log, launcher=launcher, on_progress=on_progress)


def _run(
    job: dict[str, Any],
    log: str,
    *,
    launcher: tuple[str, ...] = (),
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs a job in a child and returns its result; the child's chatter goes to `log`."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(job, file)
        file.flush()
        command = [sys.executable, *launcher, "-m", "distill.train.worker", file.name]
        child = Child(command, _environment(launcher), log=Path(log))
        try:
            return _follow(child, log, on_progress)
        finally:
            child.process.terminate()  # a launcher's own children lead other groups: it has to end them
            child.close(STOP_SECONDS)


def _follow(child: Child, log: str, on_progress: Progress | None) -> dict[str, Any]:
    """Reads the child's messages to the end; its last one must be the result."""
    result: dict[str, Any] | None = None
    while line := child.line():
        message: dict[str, Any] = json.loads(line)
        match message.pop("kind"):
            case "progress" if on_progress is not None:
                on_progress(message)
            case "note":
                say(message["message"])
            case "result":
                result = message
            case "error":
                kind = Crashed if message.get("crash") else TrainingError
                raise kind(f"{message['message']} (log: {log})")
            case "started" if on_progress is not None:
                on_progress({"started": message["step"], "of": message["steps"]})
            case "encoded" if on_progress is not None:
                on_progress({"encoded": message["parts"], "of": message["of"]})
    code = child.process.wait()
    if result is None or code != 0:
        last = " | ".join(line.strip() for line in child.tail(LOG_TAIL_LINES) if line.strip())
        by_hand = code in (-signal.SIGTERM, -signal.SIGINT)
        kind = Crashed if code != 0 and not by_hand else TrainingError
        raise kind(f"the training process ended with code {code}: {last} (log: {log})")
    return result


def _launcher(base: Base, training: Training, host: Host) -> tuple[str, ...]:
    """What starts the training's processes, one a GPU; empty for plain Python.

    FSDP shards the model over the GPUs. A LoRA's trained parts are small, and so is a small model: each GPU
    has them all. Hosts without a GPU have one process each.
    """
    gpus, small = len(hardware.gpus()), base.parameters < memory.SHARDED_PARAMETERS
    if host.hosts == 1 and (gpus < 2 or small):
        return ()
    if not gpus:
        meet = (f"--nnodes={host.hosts}", f"--node_rank={host.rank}", "--nproc_per_node=1")
        return (
            "-m",
            "torch.distributed.run",
            *meet,
            f"--master_addr={host.address}",
            f"--master_port={host.port}",
        )
    half = training.precision == "bf16"
    common = [f"--num_processes={gpus * host.hosts}", f"--mixed_precision={'bf16' if half else 'no'}"]
    if host.hosts > 1:
        common += [f"--num_machines={host.hosts}", f"--machine_rank={host.rank}"]
        common += [f"--main_process_ip={host.address}", f"--main_process_port={host.port}"]
    launch = ("-m", "accelerate.commands.launch", *common)
    if training.lora_rank is not None or small:
        return (*launch, "--multi_gpu")
    return (
        *launch,
        "--use_fsdp",
        "--fsdp_version=2",
        "--fsdp_auto_wrap_policy=TRANSFORMER_BASED_WRAP",
        "--fsdp_state_dict_type=FULL_STATE_DICT",
    )


def _environment(launcher: tuple[str, ...]) -> dict[str, str]:
    """The child's environment: no telemetry, this checkout first on its path, and one GPU for one process,
    which is of its host's rank.

    GPU memory grows in segments that can be extended: batches of many widths took 132 GiB for 45 GiB of
    tensors without that.
    """
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}
    grows = (
        {} if "PYTORCH_CUDA_ALLOC_CONF" in os.environ else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    )
    host, first = Host.here(), os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    alone = {"CUDA_VISIBLE_DEVICES": first, **({"RANK": str(host.rank)} if host.hosts > 1 else {})}
    return {**grows, **workers.environment(), **quiet, **({} if launcher else alone)}


__all__ = [
    "Host",
    "TrainingError",
    "guards",
    "metrics",
    "model_card",
    "prepare",
    "student_template",
    "tokens",
    "train",
]
