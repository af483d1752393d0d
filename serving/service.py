"""The BentoML service: models that passed the verifier, one front door, people who decide.

Every release is verified before a worker starts, and by each worker again. If a check fails the process ends with a
status other than 0 and one line that names the check; nothing is served.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn, ParamSpec, TypeVar, cast

import bentoml
from bentoml import server_context

from privacy.errors import KithError
from serving import contract, database, recommendations, site_records, value_free_logs
from serving.database import Store
from serving.front_door import TIMEOUT_SECONDS, FrontDoor, unexpected
from serving.identity import TokenVerifier
from serving.launch import REFUSAL
from serving.problems import Problem
from serving.recommendations import Desk, ExplainAnswer, ExplainRequest, RecommendAnswer, RecommendRequest
from serving.settings import Settings
from serving.verified_model import load_all

THREADS: Final = 8
"""BentoML's default of one would let one slow answer hold up all others."""

P = ParamSpec("P")
R = TypeVar("R")


@bentoml.service(
    name="kith",
    workers=1,
    threads=THREADS,
    traffic={"timeout": 2 * TIMEOUT_SECONDS},  # the front door's comes first, as a problem
    # BentoML labels its metrics with whole paths: ids of items, and whatever anybody asks for without a token.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    monitoring={"enabled": False},
)
@bentoml.asgi_app(contract.app, path="/")
class Kith:
    """Recommendations that people decide on, from models with a valid privacy certificate."""

    @bentoml.on_deployment
    @staticmethod
    def prepare() -> None:
        """Before any worker starts: verified releases, token keys, our database's schema, records; or no start."""
        try:
            settings = Settings.from_environment()
            models = load_all(settings.releases, settings.pinned)
            TokenVerifier.from_file(settings.token_keys)
            database.migrate(settings.database)
            for store in site_records.open_all(settings.records, models).values():
                store.close()
        except KithError as error:
            _refuse(error)
        signal.signal(signal.SIGUSR1, _end_with_failure)

    def __init__(self) -> None:
        """One worker: its own verified models and its connections."""
        value_free_logs.install()
        try:
            settings = Settings.from_environment()
            models = load_all(settings.releases, settings.pinned)
            store = Store(settings.database)
            if not store.is_current():
                raise KithError(f"database: expected schema {database.SCHEMA.revision}, got another or none")
            records = site_records.open_all(settings.records, models)
        except KithError as error:
            _refuse(error)
        self.desk = Desk(models, store, records)

    def __is_ready__(self) -> bool:
        """Ready while the database answers."""
        return self.desk.store.is_current()

    @bentoml.on_shutdown
    def close(self) -> None:
        """Give connections back."""
        self.desk.store.close()
        for records in self.desk.records.values():
            records.close()

    @bentoml.api(route="/v1/recommend")
    def recommend(self, request: RecommendRequest, /, ctx: bentoml.Context) -> RecommendAnswer:
        """Make and store a recommendation for one employee; a person decides on it before anything shows."""
        key = ctx.request.headers.get("idempotency-key")
        return _answered(ctx, recommendations.recommend, self.desk, ctx.request.state.identity, request, key)

    @bentoml.api(route="/v1/explain")
    def explain(self, request: ExplainRequest, /, ctx: bentoml.Context) -> ExplainAnswer:
        """Why: exact terms that, with the intercept, sum to the score. Not for the asker if proposed or abstained."""
        return _answered(ctx, recommendations.explanation_of, self.desk, ctx.request.state.identity, request)


Kith.add_asgi_middleware(FrontDoor)


def _answered(ctx: bentoml.Context, operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The operation's answer, or its problem's response: BentoML passes on all of that but the status."""
    try:
        return operation(*args, **kwargs)
    except Problem as told:
        problem = told
    except Exception as error:
        problem = unexpected(error)
    response = problem.response(ctx.request.scope["path"])
    ctx.response.status_code = response.status_code
    return cast("R", response)


def _refuse(error: KithError) -> NoReturn:
    """End with one line. A worker also ends the service, which would start it again and again."""
    sys.stderr.write(f"{REFUSAL}{error}\n")
    sys.stderr.flush()
    if server_context.worker_index is not None:
        os.kill(os.getppid(), signal.SIGUSR1)
        os._exit(error.exit_code)
    raise SystemExit(error.exit_code)


def _end_with_failure(_signal: int, _frame: object) -> None:
    """A worker has refused: stop as for SIGTERM, but with a status that tells a supervisor so."""
    atexit.register(os._exit, 1)
    os.kill(os.getpid(), signal.SIGTERM)
