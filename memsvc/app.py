"""The composition root: builds every object once, wires them, and owns their lives."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from fastapi import FastAPI

from memsvc import __version__
from memsvc.api import (
    admin,
    answer,
    errors,
    extraction,
    facts,
    profile,
    recall,
    sessions,
    timeline,
    usage,
    users,
)
from memsvc.api.answers import Problem
from memsvc.api.deps import UseCases
from memsvc.api.middleware import BodyLimit, RequestContext
from memsvc.api.waiting import Waiting
from memsvc.clock import Clock, SystemClock, utc_now
from memsvc.errors import BadSetting, EncoderMismatch, IndexMissing, IndexUnavailable
from memsvc.facts import Origin
from memsvc.index.base import BM25, DENSE, LATE, Index
from memsvc.index.edge import EdgeIndex
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import FUSION, Encoder, beside, open_encoder
from memsvc.inference.llm import ChatLlm
from memsvc.inference.rerankers import SentenceReranker
from memsvc.intervals import Mode
from memsvc.jobs import Housekeeping, Workers
from memsvc.language_models import has_language_model, hasty_model, language_model
from memsvc.memory import extracting
from memsvc.memory.access import Gatekeeper
from memsvc.memory.answering import Answerer
from memsvc.memory.curating import Curator
from memsvc.memory.duties import Patience
from memsvc.memory.extracting import Extractor
from memsvc.memory.forgetting import Forgetter
from memsvc.memory.indexing import Indexer, Projector, Rebuilder, shape_of
from memsvc.memory.locales import Localizer
from memsvc.memory.metering import Meter
from memsvc.memory.profiling import Profiler
from memsvc.memory.ranking import Fusion, LearnedFusion, RankFusion
from memsvc.memory.rarity import Rarity
from memsvc.memory.reading import Reader
from memsvc.memory.recall import Recaller, Recipe
from memsvc.memory.reconciling import Reconciler
from memsvc.memory.recording import Limits, Recorder
from memsvc.memory.refining import WindowRefiner
from memsvc.memory.timeline import Chronicler
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import Store, make_data_dir

log = logging.getLogger(__name__)

# How long a recall goes by counts of a user's tokens before it looks whether they still stand.
_RARITY_TRUSTED_S = 5.0


@dataclass(frozen=True, slots=True)
class Service:
    """Everything a process of memsvc is made of; `close` ends it."""

    settings: Settings
    store: Store
    index: Index
    encoder: Encoder
    use_cases: UseCases
    workers: Workers
    housekeeping: Housekeeping
    rebuilder: Rebuilder
    models: tuple[ChatLlm, ...] = ()

    def start(self) -> None:
        """Start the workers and the clock."""
        self.workers.start()
        self.housekeeping.start()

    def stop(self) -> bool:
        """Stop them, within the grace period; whether everything in hand was ended."""
        self.housekeeping.stop()
        # Nobody waits for a model any more: what was asked is asked again.
        for llm in self.models:
            llm.close()
        return self.workers.stop(grace_s=self.settings.grace_s)

    def close(self) -> None:
        """Let go of the index and the database."""
        self.index.close()
        self.store.close()
        for llm in self.models:
            llm.close()


def build(
    settings: Settings, *, encoder: Encoder | None = None, threads: int | None = None, to_rebuild: bool = False
) -> Service:
    """Open the database, the encoder and the index, and wire the use cases.

    `encoder` takes the place of the one that the settings name; `threads` is how many workers there will be (by default
    as the settings say); `to_rebuild` admits an index that is missing or was filled by another encoder. Raises
    Misconfigured with what to do.
    """
    store = open_store(settings)
    try:
        if not to_rebuild:
            _require_same_encoder(store, encoder.name if encoder else settings.encoder)
        encoder = encoder or encoder_of(settings)
        if not to_rebuild:
            _claim(store, encoder)
        index = open_index(settings, encoder, to_rebuild=to_rebuild)
    except BaseException:
        store.close()
        raise
    try:
        if not to_rebuild:
            _require_filled(store, index)
        return _wire(settings, store, index, encoder, settings.worker_threads if threads is None else threads)
    except BaseException:
        index.close()
        store.close()
        raise


def variant(service: Service, settings: Settings) -> Service:
    """The same service, recalling as other settings say: it shares store, index, encoder and workers with the first."""
    hasty = hasty_model(settings)
    recaller = _recaller(settings, service.store, service.index, service.encoder, hasty)
    answerer = Answerer(recaller, service.use_cases.meter)
    use_cases = replace(service.use_cases, recaller=recaller, answerer=answerer)
    return replace(service, settings=settings, use_cases=use_cases, models=(hasty,) if hasty is not None else ())


def encoder_of(settings: Settings) -> Encoder:
    """The encoder that the settings name; raises EncoderNotFound."""
    return open_encoder(
        settings.encoder,
        folder=settings.converted_dir,
        precision=settings.encoder_precision,
        late_interaction=settings.late_interaction,
        threads=settings.threads,
        download=settings.encoder_download,
    )


def open_store(settings: Settings) -> Store:
    """The database, with the schema this version knows; a fresh embedded one is given it."""
    if settings.embedded_database or settings.embedded_index:
        make_data_dir(settings.data_dir.resolve())
    store = Store(settings.store_url, busy_s=settings.busy_s)
    try:
        if settings.embedded_database and schema.is_empty(store.engine):
            schema.migrate(store.engine)
        schema.require_current(store.engine)
    except BaseException:
        store.close()
        raise
    return store


def open_index(settings: Settings, encoder: Encoder, *, to_rebuild: bool = False) -> Index:
    """The index that the settings name."""
    if settings.embedded_index:
        return EdgeIndex(settings.index_dir, shape_of(encoder), to_rebuild=to_rebuild)
    # Its client takes most of a second to import; only those who have a server pay for it.
    from memsvc.index.server import ServerIndex, connect

    return ServerIndex(
        connect(settings.qdrant_url, api_key=settings.qdrant_api_key.get_secret_value()),
        shape_of(encoder),
        prefix=settings.qdrant_prefix,
        shards=settings.qdrant_shards,
        replicas=settings.qdrant_replicas,
    )


def extractor_of(settings: Settings, store: Store) -> Extractor:
    """An extractor by itself, without an index: what it draws is owed to the index."""
    clock = SystemClock()
    encoder = encoder_of(settings)
    meter = Meter(store, language_model(settings), clock, daily_tokens=settings.llm_daily_tokens)
    return _extractor(settings, store, encoder, meter, Reconciler(store, encoder, meter, clock), clock)


def owe_extraction(settings: Settings, store: Store, workspace: str | None) -> int:
    """Owe the extraction of what was not extracted, or by rules only; how many sessions."""
    origin = Origin.LLM if has_language_model(settings) else Origin.RULES
    return extracting.owe(store, SystemClock(), workspace, by=origin)


def create_app(service: Service) -> FastAPI:
    """The HTTP application around a service; the service starts and ends with it."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()
        service.close()

    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (400, 401, 403, 404, 409, 413, 422, 429, 502, 503, 507)
    }
    app = FastAPI(title="memsvc", version=__version__, lifespan=lifespan, responses=problems)
    app.state.use_cases = service.use_cases
    app.state.waiting = Waiting()
    for room in (sessions, recall, answer, facts, extraction, profile, timeline, users, usage, admin):
        app.include_router(room.router)
    errors.install(app)
    app.add_middleware(BodyLimit, max_bytes=service.settings.max_body_bytes)
    app.add_middleware(RequestContext)
    return app


def _wire(settings: Settings, store: Store, index: Index, encoder: Encoder, threads: int) -> Service:
    clock: Clock = SystemClock()
    lexicon = Lexicon()
    projector = Projector(encoder, lexicon)
    patience = Patience(settings.lease_s, settings.max_attempts)
    llm = language_model(settings)
    meter = Meter(store, llm, clock, daily_tokens=settings.llm_daily_tokens)
    reconciler = Reconciler(store, encoder, meter, clock)
    extractor = _extractor(settings, store, encoder, meter, reconciler, clock, owed=lambda: workers.wake())
    workers = Workers(
        {Indexer(store, index, projector, clock, patience): threads, extractor: _extracting(settings, threads)},
        poll_s=settings.poll_s,
    )
    quiet = timedelta(seconds=settings.extract_after_s)
    limits = Limits(turns=settings.max_turns, turn_chars=settings.max_turn_chars, extract_after=quiet)
    recorder = Recorder(store, clock, limits, owed=workers.wake)
    hasty = hasty_model(settings)
    recaller = _recaller(settings, store, index, encoder, hasty)
    return Service(
        settings=settings,
        store=store,
        index=index,
        encoder=encoder,
        use_cases=UseCases(
            recorder=recorder,
            reader=Reader(store, clock, has_llm=llm is not None),
            recaller=recaller,
            forgetter=Forgetter(store, index, clock),
            localizer=Localizer(store, clock, owed=workers.wake),
            chronicler=Chronicler(store),
            gatekeeper=Gatekeeper(store, clock),
            extractor=extractor,
            curator=Curator(store, recorder, reconciler, clock, owed=workers.wake),
            profiler=Profiler(store, meter, clock),
            answerer=Answerer(recaller, meter),
            meter=meter,
            index=index,
        ),
        models=tuple(model for model in (llm, hasty) if isinstance(model, ChatLlm)),
        workers=workers,
        housekeeping=Housekeeping(store, clock),
        rebuilder=Rebuilder(store, index, projector, clock),
    )


def _extractor(
    settings: Settings,
    store: Store,
    encoder: Encoder,
    meter: Meter,
    reconciler: Reconciler,
    clock: Clock,
    *,
    owed: Callable[[], None] = lambda: None,
) -> Extractor:
    # A model may take its time; while it is asked, its task must not go to another.
    lease_s = settings.lease_s + (settings.llm_deadline_s if meter.has_llm else 0)
    return Extractor(
        store,
        reconciler,
        meter,
        clock,
        Patience(lease_s, settings.max_attempts),
        count_tokens=encoder.count_tokens,
        chunk_tokens=settings.extract_tokens,
        owed=owed,
    )


def _recaller(
    settings: Settings, store: Store, index: Index, encoder: Encoder, hasty: ChatLlm | None = None
) -> Recaller:
    legs = frozenset(settings.legs.split(","))
    if not encoder.token_dimension:
        legs -= {LATE}
    if not legs:
        raise BadSetting("MEMSVC_LEGS names the late leg alone, but no token vectors are indexed: add dense or bm25.")
    half_life = settings.recency_half_life_days
    recipe = Recipe(
        legs=legs,
        depth=settings.depth,
        fusion=_fusion(settings, legs),
        speaker_named=settings.speaker_boost,
        speaker_other=1 / settings.speaker_boost,
        time_mode=Mode(settings.time_mode),
        time_boost=settings.time_boost,
        time_tolerance=timedelta(days=settings.time_tolerance_days),
        facts_boost=settings.facts_boost,
        recency_half_life=timedelta(days=half_life) if half_life else None,
        reranked=settings.reranker_depth,
    )
    reranker = None
    if settings.reranker:
        reranker = SentenceReranker(settings.reranker, threads=settings.threads, download=settings.encoder_download)
    rarity = Rarity(store, trusted_s=_RARITY_TRUSTED_S)
    return Recaller(
        store, index, encoder, Lexicon(), rarity, recipe, reranker, WindowRefiner(hasty) if hasty is not None else None
    )


def _extracting(settings: Settings, threads: int) -> int:
    """Threads that extract: with a language model they mostly wait for it."""
    return (settings.llm_concurrency if has_language_model(settings) else 1) if threads else 0


def _fusion(settings: Settings, legs: frozenset[str]) -> Fusion:
    """The network, where there is one that was trained with these legs of this encoder; else fusion by ranks."""
    path = beside(settings.encoder) / FUSION
    if settings.fusion == "ranks" or not legs >= {DENSE, BM25} or not path.is_file():
        return RankFusion()
    return LearnedFusion(path, late=LATE in legs)


def _require_same_encoder(store: Store, configured: str) -> None:
    with store.read() as tx:
        live = tx.rounds.live_index()
    if live is not None and live.encoder != configured:
        raise EncoderMismatch(str(live), configured, keep=live.encoder)


def _require_filled(store: Store, index: Index) -> None:
    """Refuse an index that has lost what the database says it holds; one that does not answer may come back."""
    with store.read() as tx:
        _, indexed, _ = tx.rounds.counts()
    try:
        is_lost = indexed > 0 and index.count() == 0
    except IndexUnavailable as exc:
        log.warning("the index does not answer yet", extra={"detail": str(exc)})
        return
    if is_lost:
        raise IndexMissing(indexed)


def _claim(store: Store, encoder: Encoder) -> None:
    """Note which encoder fills the index, if none is noted; the model behind a name may not change its dimension."""
    with store.begin() as tx:
        live = tx.rounds.live_index()
        if live is None:
            tx.rounds.set_live_index(shape_of(encoder), now=utc_now())
        elif live != shape_of(encoder):
            raise EncoderMismatch(str(live), str(shape_of(encoder)))
