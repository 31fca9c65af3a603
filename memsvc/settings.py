"""Every MEMSVC_* variable, its default and what it means; the README's table is made from here."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from memsvc.inference.encoders import SHIPPED

# What decides what an index holds; what differs in these is indexed apart.
INDEX_FIELDS = frozenset({"encoder", "encoder_precision", "late_interaction"})


class Settings(BaseSettings):
    """The settings, read once from the environment and from `.env`."""

    model_config = SettingsConfigDict(env_prefix="MEMSVC_", env_file=".env", extra="ignore")

    data_dir: Path = Field(Path("memsvc-data"), description="Folder of the embedded database and index.")
    database_url: str = Field("", description="SQLAlchemy URL of the database; empty means SQLite in the data folder.")
    qdrant_url: str = Field(
        "",
        description="URL of a Qdrant server or cluster; empty means the embedded index in the data folder.",
    )
    qdrant_api_key: SecretStr = Field(SecretStr(""), description="API key of the Qdrant server.")
    qdrant_prefix: str = Field(
        "memsvc",
        pattern="^[A-Za-z0-9_-]{1,64}$",
        description="First part of the names of collections on the server.",
    )
    qdrant_shards: int = Field(1, ge=1, description="Shards of a new collection on the Qdrant server.")
    qdrant_replicas: int = Field(1, ge=1, description="Replicas of each shard on the Qdrant server.")

    encoder: str = Field(
        SHIPPED,
        description="The shipped encoder, `all-MiniLM-L6-v2`, or any sentence-transformers model by name or path.",
    )
    encoder_download: bool = Field(False, description="Allow the encoder to be downloaded from the model hub at start.")
    encoder_dir: Path | None = Field(
        None,
        description="Folder where the encoder's converted form is kept; empty means `encoders` in the data folder.",
    )
    encoder_precision: Literal["int8", "float32"] = Field(
        "int8",
        description="Matrix products of the encoder: 8 bits (the shipped one's), or exact and about half as fast.",
    )
    encoder_threads: int = Field(0, ge=0, description="Threads the encoder may use; 0 means one a core.")

    host: str = Field("127.0.0.1", description="Address that `serve` listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port that `serve` listens on; 0 picks a free one.")
    log_format: Literal["console", "json"] = Field("console", description="Form of the log lines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")

    max_turns: int = Field(10_000, ge=1, description="Most turns in one request.")
    max_turn_chars: int = Field(200_000, ge=1, description="Most characters in one turn.")
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Most bytes in one request body.")

    workers: int = Field(
        -1,
        ge=-1,
        le=16,
        description="Worker threads inside `serve`; -1 means 1 with the embedded index, else 0.",
    )
    lease_s: float = Field(60, gt=0, description="Seconds a worker may be silent before its tasks go to another.")
    max_attempts: int = Field(8, ge=1, description="Attempts before a task rests as failed.")
    poll_s: float = Field(0.5, gt=0, description="Seconds between two looks of an idle worker.")
    grace_s: float = Field(10, ge=0, description="Seconds that requests and tasks in hand get after SIGTERM.")
    busy_s: float = Field(5, gt=0, description="Seconds to wait for a locked database before answering 503.")

    late_interaction: bool = Field(
        True,
        description="Index the vectors of single tokens too, and compare them; `memsvc rebuild` to change it.",
    )
    legs: str = Field(
        "dense,bm25,late",
        pattern="^(dense|bm25|late)(,(dense|bm25|late))*$",
        description="Legs of a recall: sentence vectors, words, and token vectors.",
    )
    fusion: Literal["learned", "ranks"] = Field(
        "learned",
        description="How legs become one ranking: by the encoder's trained network, if any, or by reciprocal ranks.",
    )
    speaker_boost: float = Field(
        1.35,
        ge=1,
        le=10,
        description="Factor for turns of a speaker whom the query names, and the inverse for others'.",
    )
    time_mode: Literal["boost", "filter", "off"] = Field(
        "boost",
        description="What the time that a query speaks of does to turns outside it: rank lower, leave out, nothing.",
    )
    time_boost: float = Field(
        4.0, ge=1, le=100, description="Factor for turns in the time that a query speaks of; it fades with distance."
    )
    time_tolerance_days: float = Field(
        2, ge=0, le=3650, description="Days around that time that count as in it, where it boosts."
    )
    time_llm: bool = Field(
        False, description="Let the language model read which time a query speaks of, before every recall."
    )
    time_llm_timeout_s: float = Field(5, gt=0, description="Seconds that a recall waits for that.")
    facts_boost: float = Field(
        1.0, ge=1, le=100, description="Factor for turns of which a fact matches the query, the best match in full."
    )

    llm_base_url: str = Field(
        "", description="URL of an OpenAI-compatible language model, like http://127.0.0.1:11434/v1; empty means none."
    )
    llm_api_key: SecretStr = Field(SecretStr(""), description="API key of the language model.")
    llm_model: str = Field("", description="Name of the language model.")
    llm_task_models: str = Field(
        "",
        pattern=r"^$|^\s*(extract|reconcile|answer|profile|window)=[^,=]+(,\s*(extract|reconcile|answer|profile|window)=[^,=]+)*$",
        description="Other models for tasks (extract, reconcile, answer, profile, window), like `answer=large`.",
    )
    llm_timeout_s: float = Field(60, gt=0, description="Seconds to wait for one answer of the language model.")
    llm_deadline_s: float = Field(180, gt=0, description="Seconds for one question with all its attempts.")
    llm_attempts: int = Field(4, ge=1, le=20, description="Attempts at one question.")
    llm_concurrency: int = Field(2, ge=1, le=64, description="Questions to the language model at a time.")
    llm_cache: Path | None = Field(
        None, description="Folder where its answers are kept; the same question costs nothing."
    )
    llm_requests: Path | None = Field(
        None, description="File that questions are written to for a batch instead of being asked (needs the cache)."
    )
    llm_daily_tokens: int = Field(
        0, ge=0, description="Tokens of language models a workspace may use a day (UTC); 0 is no limit."
    )
    extract_after_s: float = Field(
        0, ge=0, le=86_400, description="Seconds a session is quiet before facts are drawn; spares calls to a model."
    )
    extract_tokens: int = Field(4000, ge=200, le=100_000, description="Tokens of chat in one question of extraction.")

    recency_half_life_days: float = Field(
        0, ge=0, le=36_500, description="Days after which a turn's odds are halved; 0 means that age changes nothing."
    )
    reranker: str = Field(
        "", description="Cross-encoder that reads the head of a recall's list again, by path or name; empty means none."
    )
    reranker_depth: int = Field(20, ge=1, le=100, description="Items that the reranker reads.")
    depth: int = Field(100, ge=1, le=1000, description="Hits that each leg of a recall brings back.")

    @field_validator("encoder_dir", "llm_cache", "llm_requests", mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        """A path that is left empty is none: as a path it would be this folder."""
        return value or None

    @property
    def converted_dir(self) -> Path:
        """Folder of the encoder's converted form, the default filled in."""
        return self.encoder_dir or self.data_dir.resolve() / "encoders"

    @property
    def embedded_index(self) -> bool:
        """Whether the index lives in this process."""
        return not self.qdrant_url

    @property
    def embedded_database(self) -> bool:
        """Whether the database is the SQLite file in the data folder."""
        return not self.database_url

    @property
    def store_url(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'memsvc.sqlite3'}"

    @property
    def index_dir(self) -> Path:
        """Folder of the embedded index."""
        return self.data_dir.resolve() / "index"

    @property
    def worker_threads(self) -> int:
        """Worker threads inside `serve`, the default filled in."""
        return int(self.embedded_index) if self.workers < 0 else self.workers

    @property
    def threads(self) -> int:
        """Threads of the encoder, the default filled in."""
        return self.encoder_threads or os.cpu_count() or 1
