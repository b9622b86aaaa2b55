"""Model folders: the base as a student starts from it, checkpoints of a run, and the finished student.

A folder appears under its name when all of it is written. Weights that are not finite are neither saved nor
resumed from.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from distill.recipe import CONFIGS, Base, Training
from distill.text import chat_template
from distill.train import guards, student_template

COMPLETE = (
    "distill-complete"  # written last into a checkpoint: one without it is torn and is not resumed from
)


def prepare(base: Base, target: Path) -> None:
    """A folder with the base's weights (linked), and the student's tokenizer, template, EOS and context
    length."""
    from transformers import AutoConfig

    source = _local_folder(base)
    scratch = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    tokenizer = chat_template.load_tokenizer(str(source), trust_remote_code=base.trust_remote_code)
    student_template.require_tokens(base, tokenizer.get_added_vocab())
    first_eos = tokenizer.eos_token_id
    tokenizer.eos_token, tokenizer.pad_token = base.end_of_turn, base.pad_token
    tokenizer.chat_template = student_template.read(base.chat_template)
    config = AutoConfig.from_pretrained(source, trust_remote_code=base.trust_remote_code)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    _set_positions(config, base)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(scratch)
    config.save_pretrained(scratch)
    guards.write_old_keys(scratch)
    ends = sorted({tokenizer.eos_token_id, *([first_eos] if first_eos is not None else [])})
    generation = {"eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id}
    (scratch / "generation_config.json").write_text(json.dumps(generation, indent=2), encoding="utf-8")
    for file in source.glob("*.safetensors*"):
        (scratch / file.name).symlink_to(file.resolve())
    os.replace(scratch, target)


def _set_positions(config: Any, base: Base) -> None:
    """Puts a recipe's RoPE base, context length and scaling into a configuration.

    With YaRN `max_position_embeddings` is what it reaches: transformers compares its ratio to the original
    positions with the factor, and vLLM takes original positions times factor.
    """
    if base.rope_theta is not None:
        config.rope_parameters = {
            **(config.rope_parameters or {"rope_type": "default"}),
            "rope_theta": base.rope_theta,
        }
    if base.max_position_embeddings is not None:
        config.max_position_embeddings = base.max_position_embeddings
    if base.rope_scaling is None:
        return
    rope = config.rope_parameters or {}
    if rope.get("rope_type", "default") not in ("default", base.rope_scaling.rope_type):
        raise ValueError(
            f"base.rope_scaling: {base.model} has a scaling of its own, {rope['rope_type']}, and "
            f"{config.max_position_embeddings:,} positions; leave base.rope_scaling out"
        )
    before = base.rope_scaling.original_max_position_embeddings or config.max_position_embeddings
    config.rope_parameters = {
        "rope_type": base.rope_scaling.rope_type,
        "rope_theta": rope.get("rope_theta", config.default_theta),
        "factor": base.rope_scaling.factor,
        "original_max_position_embeddings": before,
    }
    config.max_position_embeddings = int(before * base.rope_scaling.factor)


def load(prepared: Path, base: Base, training: Training) -> tuple[Any, Any]:
    """Tokenizer and model of the base as it is trained: weights that train in fp32, and the frozen ones under
    a LoRA as the recipe computes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    half = training.lora_rank is not None and training.precision == "bf16"
    model = AutoModelForCausalLM.from_pretrained(
        prepared,
        dtype=torch.bfloat16 if half else torch.float32,
        trust_remote_code=base.trust_remote_code,
        use_safetensors=True,
    )
    return AutoTokenizer.from_pretrained(prepared, trust_remote_code=base.trust_remote_code), model


def save(trainer: Any, tokenizer: Any, prepared: Path, target: Path, *, half: bool) -> None:
    """Writes the finished model under a temporary name (`half`: in bf16), puts it in place, and removes
    checkpoints."""
    scratch = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    trainer.model.config.use_cache = True
    if trainer.args.should_save and hasattr(trainer.model, "merge_and_unload"):
        trainer.model.merge_and_unload().save_pretrained(scratch)
    else:
        trainer.save_model(str(scratch))
    if not trainer.args.should_save:
        return
    tokenizer.save_pretrained(scratch)
    shutil.copy(prepared / "generation_config.json", scratch / "generation_config.json")
    (scratch / "training_args.bin").unlink(missing_ok=True)  # a pickle: nobody should load it
    if half:
        _halve(scratch)
    guards.write_old_keys(scratch)
    if wrong := guards.not_finite(scratch):
        shutil.rmtree(scratch)
        raise ValueError(
            f"the trained weights are not finite ({wrong}): no student was saved. Lower "
            "training.learning_rate"
        )
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)
    shutil.rmtree(target.with_name("checkpoints"), ignore_errors=True)


def _halve(folder: Path) -> None:
    """Rewrites a model's weights in bf16, one file at a time: training kept them in fp32, serving does
    not."""
    import torch
    from safetensors.torch import load_file, save_file

    for file in folder.glob("*.safetensors"):
        save_file(
            {name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()},
            file,
            metadata={"format": "pt"},
        )
    index = folder / "model.safetensors.index.json"
    if index.exists():
        found = json.loads(index.read_text(encoding="utf-8"))
        found["metadata"]["total_size"] = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        index.write_text(json.dumps(found, indent=2), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps({**config, "dtype": "bfloat16"}, indent=2), encoding="utf-8"
    )


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end and has finite weights, or None."""
    whole = [
        path
        for path in folder.glob("checkpoint-*")
        if (path / COMPLETE).exists() and not guards.not_finite(path)
    ]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def reached(folder: Path) -> int:
    """The step of the last checkpoint that was written to its end; removes the torn ones, which the Trainer
    would count among those that it keeps."""
    steps = [0]
    for path in folder.glob("checkpoint-*"):
        if (path / COMPLETE).exists():
            steps.append(int(path.name.split("-")[1]))
        else:
            shutil.rmtree(path)
    return max(steps)


def _local_folder(base: Base) -> Path:
    """The folder with the base's files: as given, under the project's root, or downloaded from the hub."""
    for folder in (Path(base.model), CONFIGS.parent / base.model):
        if folder.is_dir():
            return folder
    from huggingface_hub import snapshot_download

    patterns = [
        "*.safetensors*",
        "*.json",
        "*.txt",
        "*.model",
        "*.jinja",
        *(["*.py"] if base.trust_remote_code else []),
    ]
    return Path(snapshot_download(base.model, revision=base.revision, allow_patterns=patterns))
