"""The shape of ragweld-nano: a small Qwen3. Pure numbers, read by pretraining and by the export alike."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.nano.tokenizer import CONTEXT_TOKENS, VOCABULARY


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes under the names of the Qwen3 configuration file."""

    vocab_size: int = VOCABULARY
    hidden_size: int = 160
    intermediate_size: int = 448
    num_hidden_layers: int = 6
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    head_dim: int = 32
    max_position_embeddings: int = CONTEXT_TOKENS
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
