"""Running programs that a model wrote: where they can neither harm the machine nor see what is expected of
them.

A `Job` names one of the programs in `inside/` and gives it its data; what comes back is how it ended and what
it wrote. The sandbox compares nothing and decides nothing about right and wrong: that is the verifiers'
business, outside the box.

What holds: a program has no network, no file of this machine but the interpreter's and the system's
read-only, no process but its own, no environment, bounded memory, time, processes, output and scratch space.
What does not: the kernel is shared, so a hole in the kernel is a hole in the box; and where one program's two
runs are, caches and clocks can be compared.
"""

from distill.sandbox.pool import Boxes, boxes, check
from distill.sandbox.runs import InfraError, Job, Ran, SandboxError

__all__ = ["Boxes", "InfraError", "Job", "Ran", "SandboxError", "boxes", "check"]
