"""How a local model is laid over this machine's GPUs, or reached where it runs already: keys that a teacher
and an evaluation share. None of them decides what comes out."""

from distill.recipe.section import Section, place


class Serving(Section):
    """A model that is opened here."""

    concurrency: int = place(256, ge=1)
    """Requests in flight, or sequences in a local batch."""
    context_tokens: int | None = place(None, ge=16)
    """Context length to serve a local model with; None: the model's own."""
    replicas: int | None = place(None, ge=1)
    """Copies of a `vllm` model side by side, over all GPUs; None: as many as the GPUs hold."""
    engines_per_gpu: int = place(1, ge=1)
    """Copies that share one GPU: one engine is bound by one CPU core, and a small model leaves its GPU
    idle."""
    serve_options: tuple[str, ...] = place(())
    """Further options of `vllm serve`, such as `["--kv-cache-dtype", "fp8"]`."""


class Server(Section):
    """A model that runs already behind OpenAI-compatible servers."""

    urls: tuple[str, ...] = place(min_length=1)
    """Base URLs of the servers; requests are spread over them."""
    model: str = place()
    """What the servers call it."""
    api_key_env: str | None = place(None)
    """Name of the environment variable with the API key."""
