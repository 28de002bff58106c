"""What a token costs in each decoder layer, from a transformers configuration; layers may differ from one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LayerWork:
    """One decoder layer."""

    products: int  # multiply-adds per token, those of attention maps apart
    attention: int = 0  # width of all queries; 0: it has no attention map
    kv_numbers: int = 0  # numbers per token in the KV cache
    window: int | None = None  # how many tokens each one attends to at most; None: all before it
    last_token_only: bool = False  # it reuses the keys of another layer, so the prompt's other tokens are left out

    def pairs(self, tokens: int, causal: bool) -> int:
        """Queries times keys of a prompt; causal: without those that the mask hides."""
        if self.last_token_only:
            return min(tokens, self.window or tokens) if causal else tokens
        if not causal:
            return tokens * tokens
        near = min(tokens, self.window or tokens)
        return near * (near + 1) // 2 + (tokens - near) * near


def layer_work(config: Any, layers: int) -> list[LayerWork]:
    """Of each of `layers` decoder layers; config: of the LLM."""
    return [_layer(config, layer, layers) for layer in range(layers)]


def _layer(config: Any, layer: int, layers: int) -> LayerWork:
    width, heads = config.hidden_size, config.num_attention_heads
    kinds = list(getattr(config, "layer_types", None) or ())
    kind, hybrid = kinds[layer] if kinds else "", "linear_attention" in kinds
    mlp = 3 * width * config.intermediate_size
    if kind == "linear_attention":
        return LayerWork(_linear_products(config) + mlp)
    own = config.per_layer_config[layer] if getattr(config, "is_heterogeneous", False) else config
    head = getattr(own, "head_dim", None) or width // heads
    attention, keys = heads * head, (getattr(own, "num_key_value_heads", None) or heads) * head
    window = config.sliding_window if kind == "sliding_attention" else None
    through = 3 if hybrid else 2  # matrices as wide as all queries: with a gate in hybrids
    reuses = layer >= layers - (getattr(config, "num_kv_shared_layers", None) or 0)
    if reuses:
        mlp *= 2 if config.use_double_wide_mlp else 1
        matrices = 0
    else:
        matrices = 1 if getattr(config, "attention_k_eq_v", False) and window is None else 2  # keys may be values, too
    products = through * width * attention + matrices * width * keys + mlp + _of_gemma(config)
    return LayerWork(products, attention, 0 if reuses else 2 * keys, window, reuses)


def _of_gemma(config: Any) -> int:
    """Multiply-adds per token of a layer's experts and of its own embeddings of the token."""
    width, products = config.hidden_size, 0
    if getattr(config, "enable_moe_block", False):
        products = width * (config.num_experts + 3 * config.moe_intermediate_size * config.top_k_experts)
    return int(products + 3 * width * (getattr(config, "hidden_size_per_layer_input", None) or 0))


def _linear_products(config: Any) -> int:
    """Multiply-adds per token of a layer's gated linear attention."""
    heads, each = config.linear_num_value_heads, config.linear_key_head_dim
    keys, values = config.linear_num_key_heads * each, heads * config.linear_value_head_dim
    products: int = config.hidden_size * (2 * keys + 3 * values + 2 * heads) + 3 * each * values
    return products
