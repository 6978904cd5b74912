"""Settings: the table users know, where each value came from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog import settings
from catalog.errors import InvalidRequest
from catalog.settings import ENV_VARS, Section, Settings

KNOWN_TABLE = {
    "ragweld_agent_backend": ("mlx_qwen3", None, None),
    "ragweld_agent_base_model": ("mlx-community/Qwen3-1.7B-4bit", None, None),
    "ragweld_agent_model_path": ("models/learning-agent-epstein-files-1", None, None),
    "ragweld_agent_unload_after_sec": (0, -1, 86401),
    "ragweld_agent_reload_period_sec": (60, -1, 601),
    "ragweld_agent_train_dataset_path": ("", None, None),
    "ragweld_agent_lora_rank": (16, 0, 129),
    "ragweld_agent_lora_alpha": (32.0, 0, 513),
    "ragweld_agent_lora_dropout": (0.05, -0.1, 0.6),
    "ragweld_agent_lora_target_modules": (["q_proj", "k_proj", "v_proj", "o_proj"], [], None),
    "ragweld_agent_grad_accum_steps": (8, 0, 129),
    "ragweld_agent_telemetry_interval_steps": (2, 0, 21),
    "ragweld_agent_promote_if_improves": (1, -1, 2),
    "ragweld_agent_promote_epsilon": (0.0, -1, 11),
    "ragweld_agent_optimizer": ("adamw", "sgd", None),
    "ragweld_agent_weight_decay": (0.01, -0.1, 1.1),
    "ragweld_agent_lr_schedule": ("cosine", "step", None),
    "ragweld_agent_max_grad_norm": (1.0, -1, 1001),
    "ragweld_agent_grad_checkpoint": (False, "perhaps", None),
    "ragweld_agent_eval_interval_steps": (0, -1, 100_001),
    "ragweld_agent_early_stopping_patience": (0, -1, 1001),
    "ragweld_agent_max_skipped_steps": (5, -1, 1001),
}


@pytest.mark.parametrize("name", KNOWN_TABLE)
def test_the_known_table_keeps_its_defaults_and_bounds(name: str, tmp_path: Path) -> None:
    default, below, above = KNOWN_TABLE[name]
    assert getattr(Settings().training, name) == default
    for outside in (below, above):
        if outside is not None:
            with pytest.raises(InvalidRequest, match=name):
                settings.load(tmp_path, {}, {f"training.{name}": outside})


def test_every_setting_has_a_sentence() -> None:
    sections = [kind.annotation for kind in Settings.model_fields.values()]
    fields = [field for section in sections if isinstance(section, type) for field in section.model_fields.items()]
    assert [name for name, field in fields if not field.description] == []


def test_the_environment_covers_every_key_and_takes_effect() -> None:
    changed = Settings.model_validate(
        {
            "gateway": {"port": 9000, "allowed_hosts": ["a", "b"]},
            "engine": {"enabled": False, "max_rows": 4},
            "training": {"ragweld_agent_lora_rank": 8, "ragweld_agent_lora_target_modules": ["q_proj", "v_proj"]},
            "evaluation": {"eval_dataset_path": "eval.jsonl"},
            "upstreams": [{"name": "ollama", "base_url": "http://127.0.0.1:11434/v1", "model": "qwen3:8b"}],
        }
    )
    environ = changed.to_env_dict()
    assert set(environ) == set(ENV_VARS.values())
    assert environ["RAGWELD_AGENT_LORA_RANK"] == "8"
    assert Settings.from_env(environ) == changed


def test_later_layers_win_and_say_so(tmp_path: Path) -> None:
    settings.store(tmp_path, {"training.ragweld_agent_lora_rank": 4, "gateway.port": 1111})
    settings.store(tmp_path, {"training.ragweld_agent_lora_rank": 64}, scope="legal")
    environ = {"RAGWELD_AGENT_LORA_ALPHA": "64"}
    loaded = settings.load(tmp_path, environ, {"gateway.port": 2222})
    assert (loaded.settings.training.ragweld_agent_lora_rank, loaded.settings.gateway.port) == (4, 2222)
    assert loaded.sources["training.ragweld_agent_lora_rank"] == "file"
    assert loaded.sources["training.ragweld_agent_lora_alpha"] == "environment"
    assert loaded.sources["gateway.port"] == "command line"
    assert loaded.sources["gateway.host"] == "default"
    assert settings.load(tmp_path, environ, scope="legal").settings.training.ragweld_agent_lora_rank == 64


def test_an_unknown_or_wrong_setting_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    settings.store(tmp_path, {"gateway.port": 1111})
    before = (tmp_path / settings.SETTINGS_FILE).read_bytes()
    for wrong in ({"gateway.prot": 1}, {"gateway.port": 70000}, {"trainign.x": 1}):
        with pytest.raises(InvalidRequest, match=next(iter(wrong)).split(".")[0]):
            settings.store(tmp_path, wrong)
    assert (tmp_path / settings.SETTINGS_FILE).read_bytes() == before


def test_settings_hold_no_secret() -> None:
    names = [name for section in Section.__subclasses__() for name in section.model_fields]
    assert [name for name in names if name.endswith(("key", "token", "secret", "password"))] == []
