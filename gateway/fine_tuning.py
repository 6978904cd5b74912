"""OpenAI's fine-tuning jobs as requests for runs: what is asked for becomes a `RunRequest`, or is refused by name.

`auto` is what ragweld recommends for the base and the rows. A job makes a model and promotes nothing: `ragweld` goes on
answering as before. `tests/gateway/test_fine_tuning_api.py`. Source: OpenAI API reference, "Create fine-tuning job".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog import models
from catalog.base import locate
from catalog.errors import InvalidRequest, NotFound
from catalog.ids import BARE_BASE, parse_model
from catalog.plan import Profile, RunRequest
from catalog.run_life import Labels, Run
from catalog.runs import RunStore
from catalog.settings import Objective, Settings
from catalog.uploads import FileStore
from gateway import errors, files, training
from gateway.metadata import Metadata

MOST_ACCUMULATED = 128

Auto = Literal["auto"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Hyperparameters(_Shape):
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Rows of one optimizer step."""
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1000)] = "auto"
    """Times the rate that is recommended for the base and the method."""
    n_epochs: Auto | Annotated[int, Field(ge=1, le=1000)] = "auto"


class DpoHyperparameters(Hyperparameters):
    beta: Auto | Annotated[float, Field(gt=0, le=100)] = "auto"
    """How dearly leaving the base is paid for."""


class Supervised(_Shape):
    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(_Shape):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class Method(_Shape):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Any = None


class JobRequest(_Shape):
    """Body of `POST /v1/fine_tuning/jobs`."""

    model: str = Field(max_length=512)
    training_file: str
    validation_file: str | None = None
    """Its rows are what the run is measured on; without one, a tenth of the training file."""
    hyperparameters: Hyperparameters | None = None
    """The older place of `method.supervised.hyperparameters`."""
    method: Method | None = None
    suffix: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int | None = Field(None, ge=0, lt=1 << 31)
    metadata: Metadata | None = None
    integrations: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Where jobs are taken in."""

    home: Path
    settings: Settings
    files: FileStore
    runs: RunStore


def create(wanted: JobRequest, desk: Desk) -> Run:
    """Queue a run; raises InvalidRequest or NotFound with the field at fault. Blocking."""
    asked = hyperparameters(wanted)
    if wanted.integrations:
        raise _unsupported("integrations", "metrics go to Prometheus and the job's own events")
    base = _base_of(wanted.model, desk.settings)
    rows = files.dataset_of(wanted.training_file, "training_file", desk.files)
    measured_on = wanted.validation_file and files.dataset_of(wanted.validation_file, "validation_file", desk.files)
    profile = training.recommend(rows, base, desk.settings)
    try:
        request = RunRequest(
            dataset_path=str(rows),
            validation_path=str(measured_on) if measured_on else None,
            base=base,
            seed=wanted.seed,
            promote_if_improves=False,
            **settings_of(asked, profile),
        )
    except ValidationError as error:
        fault = errors.from_validation(error)
        raise InvalidRequest(fault.message, param="hyperparameters", code="invalid_value") from error
    multiplier = asked.learning_rate_multiplier
    labels = Labels(
        suffix=wanted.suffix or "",
        metadata=wanted.metadata,
        learning_rate_multiplier=1.0 if multiplier == "auto" else multiplier,
    )
    try:
        return training.start(request, desk.settings, desk.home, desk.runs, labels)
    except InvalidRequest as error:
        if error.param != "objective":
            raise
        hint = "Preference pairs need method.type dpo, conversations supervised."
        raise InvalidRequest(error.message, hint=hint, param="method.type", code="invalid_value") from error


def hyperparameters(wanted: JobRequest) -> Hyperparameters:
    """Those of the method, or of the older field; raises InvalidRequest for both, or a method that is not here."""
    method = wanted.method
    if method is None:
        return wanted.hyperparameters or Hyperparameters()
    if wanted.hyperparameters is not None:
        raise InvalidRequest("hyperparameters and method are given.", hint="Give method.", param="hyperparameters")
    for name in ("supervised", "dpo", "reinforcement"):
        if name != method.type and getattr(method, name) is not None:
            raise InvalidRequest(f"method.{name} is given, but the type is {method.type}.", param=f"method.{name}")
    match method.type:
        case "supervised":
            return (method.supervised or Supervised()).hyperparameters
        case "dpo":
            return (method.dpo or Dpo()).hyperparameters
        case "reinforcement":
            raise _unsupported("method.type", "ragweld has no graders to reinforce by")


def settings_of(asked: Hyperparameters, profile: Profile) -> dict[str, Any]:
    """What OpenAI's numbers are to a run; what is `auto` is left to the settings and the profile."""
    objective: Objective = "dpo" if isinstance(asked, DpoHyperparameters) else "sft"
    chosen: dict[str, Any] = {"objective": objective}
    if isinstance(asked, DpoHyperparameters) and asked.beta != "auto":
        chosen["dpo_beta"] = asked.beta
    if asked.n_epochs != "auto":
        chosen["epochs"] = asked.n_epochs
    if asked.batch_size != "auto":
        micro = micro_batch(asked.batch_size, profile.batch_size)
        chosen |= {"batch_size": micro, "grad_accum_steps": asked.batch_size // micro}
    if asked.learning_rate_multiplier != "auto":
        chosen["lr"] = profile.lr_for(objective) * asked.learning_rate_multiplier
    return chosen


def micro_batch(rows: int, fitting: int) -> int:
    """Rows of a micro-batch: the most that divide a step's rows evenly and fit at once."""
    most = max(fitting, math.ceil(rows / MOST_ACCUMULATED))
    return next((size for size in range(min(most, rows), 0, -1) if rows % size == 0 and _few(rows, size)), rows)


def _few(rows: int, size: int) -> bool:
    return rows // size <= MOST_ACCUMULATED


def _base_of(model: str, settings: Settings) -> str:
    """The base to train; raises NotFound for one that is not here, InvalidRequest for a model that is no base."""
    ref = parse_model(model, models.known_bases(settings.training))
    if ref is None:
        raise _unknown(model)
    if ref.adapter not in (None, BARE_BASE):
        raise InvalidRequest(
            f"{model!r} is an adapter; a run starts from a base.",
            hint=f"Give {ref.base or 'ragweld'} and all rows.",
            param="model",
            code="unsupported_value",
        )
    if ref.base is not None and not locate.choose(ref.base).is_wanted:
        raise _unknown(model, locate.download_hint(ref.base))
    return ref.base or settings.training.ragweld_agent_base_model


def _unknown(model: str, hint: str = "GET /api/models lists bases.") -> NotFound:
    return NotFound(f"The model {model!r} cannot be trained here.", hint=hint, param="model", code="model_not_found")


def _unsupported(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{param} is not supported here: {why}.", param=param, code="unsupported_parameter")
