"""Writes requirements.lock and cuda.lock from pyproject.toml: `make lock` (needs `uv` on the path).

Every package has its hashes. torch and what only its CUDA build needs stand in cuda.lock, so that a machine
without a GPU never downloads them: there the Makefile takes torch's CPU build of the same version.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = (
    "uv pip compile pyproject.toml --extra train --extra plots --group dev --universal --python-version "
    "3.11 --generate-hashes --no-header"
)
CUDA_ONLY = re.compile(r"(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
HEADER = "# Made by `make lock` from pyproject.toml; do not edit.\n"


def main() -> None:
    """Resolves, splits and writes."""
    resolved = subprocess.run(COMMAND.split(), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    blocks = re.split(r"^(?=[a-z0-9])", resolved, flags=re.MULTILINE)
    cuda = [block for block in blocks if CUDA_ONLY.match(block)]
    rest = [block for block in blocks if not CUDA_ONLY.match(block)]
    (ROOT / "requirements.lock").write_text(HEADER + "".join(rest), encoding="utf-8")
    (ROOT / "cuda.lock").write_text(HEADER + "".join(cuda), encoding="utf-8")


if __name__ == "__main__":
    main()
