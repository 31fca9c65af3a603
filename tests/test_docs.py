"""The README's commands do what it says: each block is run, or checked as far as it can be here."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memsvc.app import build, create_app
from memsvc.settings import Settings
from tests.doubles import HashEncoder, listening

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```bash ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(found[1], found[2]) for found in BLOCK.finditer(README)]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A service behind a port of its own, and `memsvc` on the path in a folder of its own."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "served", poll_s=0.05)
    folder = Path(sys.executable).parent
    with listening(create_app(build(settings, encoder=HashEncoder()))) as url:
        yield {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "URL": url,
            "MEMSVC_DATA_DIR": str(tmp_path / "own"),
        }


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_commands_of_the_tour_run_in_order(environment: dict[str, str], tmp_path: Path) -> None:
    script = "\n".join(text for kind, text in BLOCKS if kind == "")
    script = script.replace("http://127.0.0.1:8000", environment["URL"]).replace("'\n", "'; echo\n")

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    # The doctor's advice for the fresh folder is its only complaint: there is nothing in it but a key.
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert answers[0]["turns"] == 3
    assert answers[1] == {
        "session_id": "2024-03-01",
        "turns": 4,
        "rounds": 2,
        "status": {"indexed": True, "extracted": "off", "error": None, "degraded": None},
    }
    assert "hand vacuum" in answers[2]["context"]
    assert answers[-2]["points_left"] == 0
    assert answers[-1]["status"] == "ready"


@pytest.mark.parametrize("target", re.findall(r"make (\w+)", README))
def test_make_targets_exist(target: str) -> None:
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", re.findall(r"`memsvc (\w+(?: set| create)?)", README))
def test_commands_exist(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "memsvc", *command.split(), "--help"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


def test_commands_of_a_cluster_are_those_that_the_deployment_tests_run() -> None:
    cluster = next(text for kind, text in BLOCKS if kind == "cluster")
    tested = (ROOT / "tests" / "test_deployment.py").read_text("utf-8")

    for words in re.findall(r"^memsvc (\w+)", cluster, re.MULTILINE):
        assert f'"{words}"' in tested, words


def test_compose_commands_name_services_that_exist() -> None:
    docker = next(text for kind, text in BLOCKS if kind == "docker")
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")

    assert (ROOT / ".env.example").is_file()
    for service in ("api", "worker"):
        assert service in docker
        assert f"\n  {service}:\n" in compose


def test_every_link_within_the_readme_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", README, re.M)
    }

    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= headings
