"""The options that say which language model a run has, and whether anything is sent to it."""

import argparse
from pathlib import Path

from rich.console import Console

from evals.batches import read_responses
from evals.errors import WrongUse
from evals.llm import LLMAccess
from memsvc.inference.llm_cache import ResponseCache

KEY = "MEMSVC_LLM_API_KEY"


def add(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    parser.add_argument(
        "--llm-url", metavar="URL", help=f"OpenAI-compatible endpoint of reader, judge and `llm` configs; key in {KEY}"
    )
    parser.add_argument("--llm-model", metavar="NAME", help="model of reader and judge, and of configs with `llm`")
    parser.add_argument("--llm-cache", type=Path, metavar="DIR", help="where its answers are kept, and found again")
    parser.add_argument(
        "--llm-requests",
        type=Path,
        metavar="FILE",
        help="send nothing: write what would be asked, in OpenAI's batch format (needs --llm-cache)",
    )
    parser.add_argument("--llm-responses", type=Path, metavar="FILE", help="first take a batch's output into the cache")


def access_of(options: argparse.Namespace, key: str | None) -> LLMAccess | None:
    """The model that the options name, without a URL where nothing is to be sent; raises WrongUse."""
    is_batch = options.llm_requests is not None or options.llm_responses is not None
    if is_batch and options.llm_cache is None:
        raise WrongUse("Say with --llm-cache where the answers of batches are kept.")
    needs_model = options.llm_url is not None or options.llm_cache is not None
    if bool(options.llm_model) != needs_model:
        raise WrongUse(
            "Give --llm-url and --llm-model together, or neither; the URL may be left out where --llm-cache has the "
            "answers on record, or --llm-requests is to write what would be asked."
        )
    if not options.llm_model:
        return None
    url = options.llm_url if options.llm_requests is None else None
    return LLMAccess(url, options.llm_model, key, options.llm_cache)


def take_responses(options: argparse.Namespace, console: Console) -> None:
    """Take the answers of a batch into the cache, if there are any; raises DataUnreadable."""
    if options.llm_responses is None:
        return
    taken = read_responses(options.llm_responses, ResponseCache(options.llm_cache), requests=options.llm_requests)
    console.print(taken.in_words(), highlight=False, soft_wrap=True)
