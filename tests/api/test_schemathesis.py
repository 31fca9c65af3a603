"""What the OpenAPI page says, held against the service: no request that can be made from it ends in a defect."""

import subprocess
import sys
from pathlib import Path

from memsvc.settings import Settings
from tests.api import made, serving

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


def test_no_request_ends_in_a_defect(settings: Settings, database_url: str, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25", "--continue-on-failure"),
        *("--seed", "1", "--generation-deterministic", "--no-shrink", "--no-color"),
    ]
    with serving(made(settings, database_url=database_url)) as client:
        finished = subprocess.run(
            [*command, f"{client.base_url}/openapi.json"], cwd=tmp_path, capture_output=True, text=True, check=False
        )

        assert finished.returncode == 0, finished.stdout + finished.stderr
