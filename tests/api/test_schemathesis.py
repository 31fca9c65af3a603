"""What the OpenAPI page says, held against the service: no request that can be made from it ends in a defect."""

import subprocess
import sys
from pathlib import Path

from memsvc.settings import Settings
from tests.api import made, serving
from tests.llm import Body, said, scripted_llm

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
]

# What the language model answers, task by task: without one, some answers are 503 by design.
ANSWERS: dict[str, Body] = {
    "extract": {"statements": []},
    "reconcile": {
        "pairs": [{"pair": number, "relation": "independent", "reason": "two matters"} for number in range(1, 41)]
    },
    "profile": {"sentences": []},
    "answer": {"notes": [], "values": [], "operation": "none", "answer": "?", "abstain": True, "citations": []},
}


def test_no_request_ends_in_a_defect(settings: Settings, database_url: str, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25", "--continue-on-failure"),
        *("--seed", "1", "--generation-deterministic", "--no-shrink", "--no-color"),
    ]
    with (
        scripted_llm() as llm,
        serving(made(settings, database_url=database_url, llm_base_url=llm.url, llm_model="scripted")) as client,
    ):
        llm.answers = lambda body: said(ANSWERS[body["response_format"]["json_schema"]["name"]])
        finished = subprocess.run(
            [*command, f"{client.base_url}/openapi.json"], cwd=tmp_path, capture_output=True, text=True, check=False
        )

        assert finished.returncode == 0, finished.stdout + finished.stderr
