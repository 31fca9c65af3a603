"""The model hub of the sentence-transformers library: asked only when it may be, and quiet."""

import os


def prepare(*, download: bool) -> None:
    """Let the library load a model from this machine's disk, or, with `download`, from the hub too.

    To be called before the library is imported, which reads the environment then.
    """
    if not download:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # This takes seconds to import; only processes that load such a model pay for it.
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
