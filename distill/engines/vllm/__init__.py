"""The `vllm` engine: `vllm serve` processes of our own on loopback, and a client that speaks to them.

`engine` has the client, and brings aiohttp: it is imported when a teacher is opened.
"""

from distill.engines.vllm.arguments import places, vllm_python
from distill.engines.vllm.processes import kept

__all__ = ["kept", "places", "vllm_python"]
