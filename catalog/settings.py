"""One tree of settings: every field has a default, bounds and a sentence; every value knows where it came from.

Later wins: default, file (`<home>/data/settings.json`), environment, command line; a named scope overlays the
result. The environment's name of `training.x` is X in capitals, as users know it; elsewhere it is
RAGWELD_<SECTION>_<FIELD>. Secrets are never values here: an upstream names the environment variable that holds its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from catalog import files
from catalog.errors import InvalidRequest
from catalog.ids import checked_name

SETTINGS_FILE = Path("data/settings.json")


def _split_commas(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_split_commas)]
"""A list of names; in the environment separated by commas."""

Optimizer = Literal["adamw", "adafactor"]
LrSchedule = Literal["cosine", "linear", "constant"]
Objective = Literal["sft", "dpo", "orpo"]
LoraKind = Literal["lora", "dora"]


class Section(BaseModel):
    """A group of settings. Unknown names are refused, so that a misspelt one is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)


class GatewaySettings(Section):
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port of the OpenAI base URL, the administration and /metrics; 0 takes a free one."""
    allowed_hosts: Names = ["127.0.0.1", "localhost", "::1"]
    """Host headers that are answered (protects against DNS rebinding)."""
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=1 << 30)
    """Largest request body; beyond it 413 before it is read."""
    max_upload_bytes: int = Field(512 * 1024 * 1024, ge=1024, le=1 << 40)
    """Largest upload to /v1/files, form and all; it goes to the disk as it comes."""
    header_deadline_s: float = Field(10.0, gt=0, le=300)
    """A connection that has not sent its whole request head by then is closed."""
    body_deadline_s: float = Field(30.0, gt=0, le=3600)
    """A request whose body has not arrived by then is answered 408."""
    shutdown_grace_s: float = Field(30.0, ge=0, le=3600)
    """How long open streams may go on after SIGTERM."""
    require_keys: bool = False
    """True asks for a key on loopback too; on any other address one is always asked for."""


class EngineSettings(Section):
    enabled: bool = True
    """False answers everything from upstreams."""
    max_rows: int = Field(32, ge=1, le=512)
    """Requests decoded together in one batch."""
    prefill_step_tokens: int = Field(256, ge=16, le=8192)
    """Prompt tokens of one row prefilled between two decode steps."""
    max_context_tokens: int = Field(32768, ge=128, le=1 << 20)
    """Longest prompt plus answer, if the base allows more."""
    max_queued_tokens: int = Field(131072, ge=1024)
    """Prompt plus answer tokens of all admitted requests; beyond it 429 with Retry-After."""
    default_max_tokens: int = Field(1024, ge=1, le=1 << 20)
    """Answer length when the request names none."""
    adapter_slots: int = Field(32, ge=1, le=512)
    """Adapters of one base that can be resident at once; beyond it the one unused for longest leaves."""
    memory_bytes: int = Field(0, ge=0)
    """Memory for all bases and their adapters; 0 is 70 % of the device's. Beyond it the longest unused leave."""
    memory_wait_s: float = Field(30.0, ge=0, le=600)
    """Longest wait in order for memory that bases need while they answer; then 429 with Retry-After."""
    adapter_roots: Names = ["models", "data/agent_train_runs"]
    """Folders, in the home folder or absolute, from which adapters may be added by path."""
    prompt_cache_bytes: int = Field(512 * 1024 * 1024, ge=0)
    """Memory for prefixes of earlier conversations; 0 keeps none."""
    cpu_float32: bool = True
    """On a CPU, dequantise to float32 at load (tens of times faster there) if memory allows."""


class TrainerSettings(Section):
    metrics_host: str = "127.0.0.1"
    """Address of the trainer's own /metrics."""
    metrics_port: int = Field(8001, ge=0, le=65535)
    """Port of the trainer's own /metrics; 0 takes a free one."""
    poll_interval_s: float = Field(0.5, gt=0, le=60)
    """How often an idle trainer looks for a queued run."""
    cpu_float32: bool = True
    """On a CPU, dequantise the base to float32 (tens of times faster) if memory allows; False learns on it as it is."""
    processes: int = Field(0, ge=0, le=64)
    """On a CPU, processes that compute a run's gradients, each with the base in memory; 0 is one for each processor."""
    checkpoint_interval_steps: int = Field(20, ge=1, le=100_000)
    """Steps after which a run is saved, besides at each evaluation."""
    checkpoint_interval_s: float = Field(30.0, gt=0, le=3600)
    """Seconds of work after which a run is saved, besides at each evaluation."""
    memory_bytes: int = Field(0, ge=0)
    """Memory for one run, its base included; 0 is what is free when it starts. A run that needs more is refused."""


class TrainingSettings(Section):
    """Names, defaults and bounds that users of the first version know."""

    ragweld_agent_backend: Literal["mlx_qwen3"] = "mlx_qwen3"
    """What trains and serves the agent."""
    ragweld_agent_base_model: str = "mlx-community/Qwen3-1.7B-4bit"
    """Base model; where its weights are not on this machine, the built-in ragweld-nano answers and says so."""
    ragweld_agent_model_path: str = "models/learning-agent-epstein-files-1"
    """Folder, in the home folder, that holds a copy of the promoted adapter."""
    ragweld_agent_unload_after_sec: int = Field(0, ge=0, le=86400)
    """Idle seconds after which a base leaves memory; 0 is never."""
    ragweld_agent_reload_period_sec: int = Field(60, ge=0, le=600)
    """How often the adapter folder is looked at for changes; 0 is at every request."""
    ragweld_agent_train_dataset_path: str = ""
    """JSONL of conversations; empty uses evaluation.eval_dataset_path, then the shipped sample."""
    ragweld_agent_lora_kind: LoraKind = "lora"
    """lora, or dora: LoRA that learns besides how strong each output is, for about twice the time."""
    ragweld_agent_lora_rank: int = Field(16, ge=1, le=128)
    """Rank of the LoRA matrices."""
    ragweld_agent_lora_alpha: float = Field(32.0, gt=0, le=512)
    """LoRA's alpha; the effect is scaled by alpha / rank."""
    ragweld_agent_lora_dropout: float = Field(0.05, ge=0, le=0.5)
    """Dropout before A, in training only."""
    ragweld_agent_lora_target_modules: Names = Field(["q_proj", "k_proj", "v_proj", "o_proj"], min_length=1)
    """Linear layers of every block that are adapted."""
    ragweld_agent_grad_accum_steps: int = Field(8, ge=1, le=128)
    """Micro-batches summed into one optimizer step."""
    ragweld_agent_telemetry_interval_steps: int = Field(2, ge=1, le=20)
    """Optimizer steps between two telemetry points."""
    ragweld_agent_optimizer: Optimizer = "adamw"
    """What turns gradients into steps; adafactor keeps far less beside the parameters."""
    ragweld_agent_weight_decay: float = Field(0.01, ge=0, le=1)
    """Share of each trainable number that a step of learning rate 1 would take away."""
    ragweld_agent_lr_schedule: LrSchedule = "cosine"
    """How the learning rate goes on after its rise: down a cosine, down a line, or constant."""
    ragweld_agent_max_grad_norm: float = Field(1.0, ge=0, le=1000)
    """A longer gradient is cut to this length; 0 cuts none."""
    ragweld_agent_grad_checkpoint: bool = False
    """True recomputes each block in the backward pass: far less memory for a third more time."""
    ragweld_agent_eval_interval_steps: int = Field(0, ge=0, le=100_000)
    """Optimizer steps between two measurements of all held-out rows; 0 makes ten of them in a run."""
    ragweld_agent_early_stopping_patience: int = Field(0, ge=0, le=1000)
    """Measurements in a row without a new best after which a run is complete; 0 takes every step."""
    ragweld_agent_max_skipped_steps: int = Field(5, ge=0, le=1000)
    """Steps whose loss or gradient is not finite, or leaps, that a run may skip before it ends as diverged."""
    ragweld_agent_objective: Objective = "sft"
    """What is learned: sft says what the data say; dpo and orpo prefer the chosen one of two answers."""
    ragweld_agent_dpo_beta: float = Field(0.1, gt=0, le=100)
    """How dearly dpo pays for leaving the base; lower ones leave it further."""
    ragweld_agent_orpo_lambda: float = Field(0.1, gt=0, le=100)
    """How much orpo weighs preference against imitation of the chosen answer."""
    ragweld_agent_promote_if_improves: int = Field(1, ge=0, le=1)
    """1 promotes a finished run by itself if it beats the active adapter and the base on held-out rows."""
    ragweld_agent_promote_epsilon: float = Field(0.0, ge=0, le=10)
    """How much lower the held-out loss must be: the paired bootstrap's 95 % bound must lie below minus this."""
    ragweld_agent_gate_min_rows: int = Field(5, ge=1, le=100_000)
    """Held-out rows below which nothing is promoted."""
    ragweld_agent_gate_checks_path: str = ""
    """JSONL of prompts and what a good answer to each must be; one bad answer refuses the promotion."""
    ragweld_agent_gate_regression_path: str = ""
    """JSONL of conversations whose loss must not get worse."""
    ragweld_agent_gate_regression_tolerance: float = Field(0.02, ge=0, le=10)
    """By how much it may, in nats per supervised token."""
    ragweld_agent_surface_grid: int = Field(21, ge=0, le=101)
    """Points along each axis of the loss surface under a run's path; 0 measures none."""
    ragweld_agent_surface_share: float = Field(0.05, ge=0, le=1)
    """Most of a run's time that its surface may take; what is missing is measured after the run."""
    ragweld_agent_snapshot_bytes: int = Field(256 * 1024 * 1024, ge=0)
    """Most that the snapshots of a run's path may take on the disk."""


class EvaluationSettings(Section):
    eval_dataset_path: str = ""
    """Dataset used when training names none."""


class Upstream(Section):
    """An OpenAI-compatible server that answers when the local model cannot."""

    name: str
    """Its name in answers and metrics."""
    kind: Literal["local", "openrouter", "cloud_direct"] = "local"
    """What it is: a server nearby, OpenRouter, or OpenAI with a key."""
    base_url: str
    """Its base URL, for example http://127.0.0.1:11434/v1."""
    model: str
    """The model it is asked for when it answers in ragweld's place."""
    models: Literal["discover"] | Names = Field([], union_mode="left_to_right")
    """Other models that it has, each listed and routed to it; `discover` asks it (GET /models) and keeps the answer in
    memory."""
    api_key_env: str = Field("", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    """Name of the environment variable that holds its key; empty sends none."""
    priority: int = Field(100, ge=0, le=1000)
    """Lower is asked first."""
    weight: float = Field(1.0, gt=0, le=1000)
    """Its share of requests among upstreams of equal priority."""
    enabled: bool = True
    """False is never asked."""
    connect_timeout_s: float = Field(5.0, gt=0, le=600)
    """Longest wait for a connection."""
    first_byte_timeout_s: float = Field(60.0, gt=0, le=3600)
    """Longest wait for the first byte of an answer."""
    between_bytes_timeout_s: float = Field(60.0, gt=0, le=3600)
    """Longest silence inside an answer."""
    total_timeout_s: float = Field(600.0, gt=0, le=86400)
    """Longest answer."""

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if "@" in value or "?" in value:
            raise ValueError("must hold no password or query; name the key's variable in api_key_env")
        return value.rstrip("/")


class RoutingSettings(Section):
    strict: bool = False
    """True refuses with 503 instead of letting another model answer."""
    breaker_failures: int = Field(5, ge=1, le=1_000_000)
    """Failures in a row after which an upstream is left in peace, for 30 s at first and up to 300 s."""
    retries: int = Field(1, ge=0, le=5)
    """How often upstreams that all failed are asked again, within a fifth of the open requests."""
    probe_interval_s: float = Field(15.0, gt=0, le=3600)
    """How often each upstream's health is looked at, in the background."""


class ChatLogSettings(Section):
    keep: Literal["nothing", "asked", "all"] = "asked"
    """Which chats stay on this machine's disk to be learned from: none, those whose request says `store: true`, or all
    but those that say `store: false`. Every word of question and answer is kept, for whoever may administrate."""
    max_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024, le=1 << 40)
    """Beyond it the oldest chats are forgotten."""


class Settings(Section):
    gateway: GatewaySettings = GatewaySettings()
    """The HTTP side."""
    engine: EngineSettings = EngineSettings()
    """The in-process model."""
    trainer: TrainerSettings = TrainerSettings()
    """The trainer's process."""
    training: TrainingSettings = TrainingSettings()
    """How runs train and when they are promoted."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What runs are measured on."""
    routing: RoutingSettings = RoutingSettings()
    """Who answers when ragweld cannot."""
    chat_log: ChatLogSettings = ChatLogSettings()
    """Which chats are kept."""
    upstreams: list[Upstream] = []
    """Servers to fall back to, in order of priority."""

    def to_env_dict(self) -> dict[str, str]:
        """Every setting under its environment name; `from_env` of the result gives an equal tree."""
        values = self.model_dump(mode="json")
        return {variable: _to_text(_get(values, key)) for key, variable in ENV_VARS.items()}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Settings from defaults and the environment alone."""
        return cls.model_validate(_nested(_environment_values(environ)))


def _keys() -> list[str]:
    keys = []
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            keys += [f"{section}.{name}" for name in kind.model_fields]
        else:
            keys.append(section)
    return keys


def _environment_name(key: str) -> str:
    section, _, name = key.partition(".")
    if section in ("training", "evaluation"):
        return name.upper()
    return f"RAGWELD_{section}_{name}".rstrip("_").upper()


ENV_VARS: dict[str, str] = {key: _environment_name(key) for key in _keys()}
"""Setting -> name of its environment variable, for every setting."""

PINNED = ("environment", "command line")
"""Sources that last as long as the process and win over the file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for every key, where its value came from: default, file, environment, command line or scope."""

    settings: Settings
    sources: Mapping[str, str]

    def flat(self) -> dict[str, Any]:
        """Every value under its dotted key."""
        values = self.settings.model_dump(mode="json")
        return {key: _get(values, key) for key in ENV_VARS}


def load(
    home: Path,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    scope: str | None = None,
) -> Loaded:
    """Read the settings of `home`, overlaid by environment, command line (`overrides`, dotted keys) and scope.

    Raises InvalidRequest naming the key, its source and what it may be.
    """
    stored = _read(home / SETTINGS_FILE)
    layers = {
        "file": _flat(stored.get("settings", {})),
        "environment": _environment_values(environ),
        "command line": dict(overrides or {}),
    }
    if scope is not None:
        layers[f"scope {scope}"] = _flat(stored.get("scopes", {}).get(checked_name(scope, "scope"), {}))
    return _assemble(layers)


def reload(home: Path, loaded: Loaded, *, scope: str | None = None) -> Loaded:
    """What `load` gives now, where environment and command line are still as they were; raises InvalidRequest."""
    values = loaded.flat()
    stored = _read(home / SETTINGS_FILE)
    layers = {"file": _flat(stored.get("settings", {}))}
    for source in PINNED:
        layers[source] = {key: values[key] for key, came_from in loaded.sources.items() if came_from == source}
    if scope is not None:
        layers[f"scope {scope}"] = _flat(stored.get("scopes", {}).get(checked_name(scope, "scope"), {}))
    return _assemble(layers)


def given(settings: Settings) -> Loaded:
    """Settings made in code; what differs from the defaults is as if the command line had said it."""
    defaults, values = Settings().model_dump(), settings.model_dump()
    changed = (key for key in ENV_VARS if _get(values, key) != _get(defaults, key))
    return Loaded(settings, dict.fromkeys(ENV_VARS, "default") | dict.fromkeys(changed, "command line"))


def from_flat(values: Mapping[str, object]) -> Settings:
    """The tree of dotted keys and their values."""
    return Settings.model_validate(_nested(values))


def _assemble(layers: Mapping[str, Mapping[str, object]]) -> Loaded:
    values: dict[str, object] = {}
    sources = dict.fromkeys(ENV_VARS, "default")
    for source, layer in layers.items():
        values.update(layer)
        sources.update(dict.fromkeys(layer, source))
    try:
        return Loaded(Settings.model_validate(_nested(values)), sources)
    except ValidationError as error:
        raise InvalidRequest(_explain(error, sources), code="invalid_settings") from error


def overlay(settings: Settings, home: Path, scope: str) -> Settings:
    """`settings` with what the file stores for `scope` on top; raises InvalidRequest like `load`."""
    branch = _flat(_read(home / SETTINGS_FILE).get("scopes", {}).get(checked_name(scope, "scope"), {}))
    if not branch:
        return settings
    try:
        return Settings.model_validate(_nested(_flat(settings.model_dump()) | branch))
    except ValidationError as error:
        raise InvalidRequest(
            _explain(error, dict.fromkeys(branch, f"scope {scope}")), code="invalid_settings"
        ) from error


def store(home: Path, changes: Mapping[str, object], *, scope: str | None = None) -> None:
    """Write `changes` (dotted keys) to the settings file, for all or for one scope; None forgets what was stored.

    Validated before it is written: raises InvalidRequest and nothing has changed.
    """
    path = home / SETTINGS_FILE
    with files.exclusive_lock(path.with_suffix(".lock")):
        document = _read(path)
        if scope is None:
            branch = document.setdefault("settings", {})
        else:
            branch = document.setdefault("scopes", {}).setdefault(checked_name(scope, "scope"), {})
        kept = {key: value for key, value in (_flat(branch) | dict(changes)).items() if value is not None}
        merged = _nested(kept)
        try:
            Settings.model_validate(merged)
        except ValidationError as error:
            raise InvalidRequest(_explain(error, {}), code="invalid_settings") from error
        branch.clear()
        branch.update(merged)
        files.write_bytes(path, json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not JSON: {error}.", code="invalid_settings") from error
    if not isinstance(document, dict):
        raise InvalidRequest(f"{path} must hold a JSON object.", code="invalid_settings")
    if unknown := document.keys() - {"settings", "scopes"}:
        raise InvalidRequest(
            f"{path} holds {', '.join(sorted(unknown))}; it may hold 'settings' and 'scopes'.", code="invalid_settings"
        )
    return document


def _flat(tree: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for section, value in tree.items():
        if isinstance(value, dict):
            flat.update({f"{section}.{name}": inner for name, inner in value.items()})
        else:
            flat[section] = value
    return flat


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            tree.setdefault(section, {})[name] = value
        else:
            tree[section] = value
    return tree


def _environment_values(environ: Mapping[str, str]) -> dict[str, object]:
    return {key: from_text(key, environ[variable]) for key, variable in ENV_VARS.items() if variable in environ}


def known_key(key: str) -> str:
    """`key` if it is a setting's; raises InvalidRequest."""
    if key not in ENV_VARS:
        raise InvalidRequest(f"There is no setting {key!r}.", hint="`ragweld config get` lists them.", param=key)
    return key


def schema() -> dict[str, Any]:
    """The tree as JSON schema: default, bounds and a sentence for every setting."""
    return Settings.model_json_schema()


def from_text(key: str, text: str) -> object:
    """A setting's value as the environment says it; what it may be is checked where the tree is put together."""
    if known_key(key) == "upstreams":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidRequest(f"{ENV_VARS[key]} is not JSON: {error}.", code="invalid_settings") from error
    return text


def _to_text(value: object) -> str:
    if isinstance(value, list):
        return json.dumps(value) if not value or isinstance(value[0], dict) else ",".join(map(str, value))
    return str(value)


def _get(tree: Mapping[str, Any], key: str) -> object:
    section, dot, name = key.partition(".")
    return tree[section][name] if dot else tree[section]


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"][:2])
        source = f" (from {sources[key]})" if key in sources else ""
        lines.append(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}{source}")
    return "Invalid settings: " + "; ".join(lines)
