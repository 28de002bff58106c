"""Reduction by masking: every token stays in the sequence for ever, dropped ones are only hidden. No cache, no hooks.

One prompt at a time and without padding; prompt and generated tokens in a single pass, so the logits of every
decoding step come out of one causal forward over the full length.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tests.reference import sparsevlm_slow, vscan_slow

IMAGE_TOKEN = 99


def step_logits(
    model,
    prompt: Tensor,  # (length,) ids without padding
    pixels: Tensor | None,  # (images, 3, height, width)
    generated: Tensor,  # (steps,) ids
    *,
    first: int | None = None,  # tokens per image into the LLM
    later: dict[int, int] | None = None,  # {decoder layer: tokens per image from there on}
    window: int = 3,
    layers: tuple[int, int] = (1, 3),  # vision layers of the local and the global scan
    renumber: bool = True,
    rope: bool = True,
    merge: bool = True,
    entrance: Callable[[int], tuple[list[int], Tensor]] | None = None,  # image -> kept tokens and their rows
    ahead: bool = False,  # a later cut is scored by the layer before it
    sparse: bool = False,  # by the text query_tokens behind the image, and dropped tokens are recycled
    inside: Callable | None = None,  # (what is there of an image, keep) -> kept ones of it, and their rows or None
) -> tuple[Tensor, list[list[list[int]]]]:
    """(steps, vocab) logits of each generated token, and per image the kept tokens after each cut."""
    ids = torch.cat([prompt, generated[:-1]])
    embeds = model.model.language_model.embed_tokens(ids)
    alive = torch.ones(len(ids), dtype=torch.bool)
    places = (ids == IMAGE_TOKEN).nonzero()[:, 0]
    history: list[list[list[int]]] = []
    columns: list[Tensor] = []  # per image, where its tokens are in the sequence
    if pixels is not None:
        hidden = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        features = model.model.multi_modal_projector(hidden)
        local, glob = (vscan_slow.cls_attention(model, pixels, layer) for layer in layers)
        tokens, side = features.shape[1], math.isqrt(features.shape[1])
        for image in range(len(pixels)):
            mine = places[image * tokens : (image + 1) * tokens]
            columns.append(mine)
            history.append([])
            embeds[mine] = features[image]
            if first is not None and first < tokens:
                kept = vscan_slow.choose(local[image], glob[image], side, window, first)
                if merge:
                    embeds[mine[kept]] = vscan_slow.merge(features[image], kept)
            if entrance is not None:
                kept, rows = entrance(image)
                embeds[mine[kept]] = rows
            if entrance is not None or (first is not None and first < tokens):
                alive[mine] = False
                alive[mine[kept]] = True
                history[-1].append(kept)
    query_tokens: list[list[int]] = [[len(prompt) - 1] for _ in columns]
    if sparse:
        query_tokens = [_query_tokens(embeds, mine[alive[mine]], ids, len(prompt)) for mine in columns]
    settings = {"renumber": renumber, "rope": rope, "ahead": ahead, "query_tokens": query_tokens, "sparse": sparse}
    settings["inside"] = inside
    logits = _decode(model, embeds[None], alive, columns, history, len(prompt), later or {}, **settings)
    return logits[len(prompt) - 1 :], history


def _decode(
    model, hidden, alive, columns, history, prompt_length, later, renumber, rope, ahead, query_tokens, sparse, inside
):
    llm = model.model.language_model
    length = hidden.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    before = attended = hidden
    for number, layer in enumerate(llm.layers):
        if number in later:
            source = (llm.layers[number - 1], before) if ahead else (layer, hidden)
            place = _positions(alive, renumber)  # before any image is cut
            rows = [[_row(*source, alive, at, llm, renumber, rope) for at in asking] for asking in query_tokens]
            for mine, cuts, mean in zip(columns, history, [torch.stack(row).mean(0) for row in rows], strict=True):
                left = [i for i, column in enumerate(mine) if alive[column]]
                best = sorted(left, key=lambda i: -mean[mine[i]].item())[: later[number]]
                if sparse and len(best) < len(left):
                    kept, states = sparsevlm_slow.shrink(hidden[0, mine[left]], mean[mine[left]], later[number])
                    best = [left[i] for i in kept]
                    hidden = hidden.index_copy(1, mine[best], states[None])
                if inside is not None and len(best) < len(left):
                    visual = torch.cat(columns).tolist()
                    words = [at for at in range(int(mine[-1]) + 1, prompt_length) if at not in visual]
                    best, hidden = _choose(
                        inside,
                        (llm.layers[number - 1], layer),
                        llm,
                        (before, attended, hidden),
                        mine,
                        left,
                        place,
                        (prompt_length, later[number], words),
                    )
                if len(best) < len(left):
                    cuts.append(sorted(best))
                    alive[mine] = False
                    alive[mine[sorted(best)]] = True
        visible = causal & alive[None, :]
        visible = visible | torch.eye(length, dtype=torch.bool)  # hidden rows need something to look at
        mask = torch.zeros(length, length).masked_fill(~visible, torch.finfo(torch.float32).min)
        rotary = llm.rotary_emb(hidden, _positions(alive, renumber)[None])
        before = hidden
        if inside is not None:
            call = {"attention_mask": mask[None, None], "position_embeddings": rotary}
            attended = layer.post_attention_layernorm(
                hidden + layer.self_attn(layer.input_layernorm(hidden), **call)[0]
            )
        hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=rotary)
    return model.lm_head(llm.norm(hidden))[0]


def _positions(alive: Tensor, renumber: bool) -> Tensor:
    return alive.long().cumsum(0) - 1 if renumber else torch.arange(len(alive))


def _query_tokens(embeds, visual, ids, prompt_length) -> list[int]:
    """Where in the sequence the text tokens are that rate the image in the columns `visual`."""
    text = [at for at in range(int(visual[-1]) + 1, prompt_length) if ids[at] != IMAGE_TOKEN]
    return [text[word] for word in sparsevlm_slow.query_tokens(embeds[visual], embeds[text])]


def _row(layer, hidden, alive, at, llm, renumber, rope) -> Tensor:
    """(length,) attention of the token at `at`, head mean; zero for what it cannot see."""
    prompt_length = at + 1
    normed = layer.input_layernorm(hidden[0, :prompt_length])
    attn, size = layer.self_attn, layer.self_attn.head_dim
    query = attn.q_proj(normed).view(prompt_length, -1, size)
    key = attn.k_proj(normed).view(prompt_length, -1, size)
    if rope:
        cos, sin = llm.rotary_emb(hidden, _positions(alive, renumber)[None, :prompt_length])
        query, key = (_rotate(part, cos[0], sin[0]) for part in (query, key))
    group = query.shape[1] // key.shape[1]
    rows = []
    for head in range(query.shape[1]):
        row = key[:, head // group] @ query[-1, head] / math.sqrt(size)
        rows.append(row.masked_fill(~alive[:prompt_length], -torch.inf).softmax(0))
    return torch.cat([torch.stack(rows).mean(0), torch.zeros(hidden.shape[1] - prompt_length)])


def _choose(inside, layers, llm, states, mine, left, place, sizes) -> tuple[list[int], Tensor]:
    """The tokens of an image that `inside` keeps, and the hidden states with what it makes of them."""
    (before, attended, hidden), (prompt_length, keep, words), there = states, sizes, mine[left]
    given = {"hidden": hidden[0, there], "question": hidden[0, prompt_length - 1], "left": left}
    given |= {"entered": before[0, there], "attended": attended[0, there]}
    given |= {"normed": llm.norm(hidden[0, there]), "text_normed": llm.norm(hidden[0, words])}
    front = torch.arange(int(mine[0]))
    for name, columns in (("earlier_keys", there), ("text_earlier_keys", words), ("front_earlier_keys", front)):
        earlier = _projected(layers[0], before, columns, llm, place)  # of the layer before
        given |= {name: earlier["rotated_keys"], name.replace("keys", "values"): earlier["values"]}
    given["turned"] = torch.stack([part[0, there].mean(1) for part in llm.rotary_emb(hidden, place[None])], dim=1)
    kept, rows = inside(given | _projected(layers[1], hidden, there, llm, place), keep)
    best = [left[i] for i in kept]
    return best, hidden if rows is None else hidden.index_copy(1, mine[best], rows[None])


def _projected(layer, hidden, there, llm, positions) -> dict[str, Tensor]:
    """Queries, keys, rotated keys and values (tokens, heads, head_dim) of the tokens in the columns `there`."""
    attn, normed = layer.self_attn, layer.input_layernorm(hidden[0, there])
    query, key, value = (
        proj(normed).view(len(there), -1, attn.head_dim) for proj in (attn.q_proj, attn.k_proj, attn.v_proj)
    )
    cos, sin = llm.rotary_emb(hidden, positions[None])
    rotated = _rotate(key, cos[0, there], sin[0, there])
    return {"queries": query, "llm_keys": key, "rotated_keys": rotated, "values": value}


def _rotate(part: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = part.shape[-1] // 2
    rotated = torch.cat([-part[..., half:], part[..., :half]], dim=-1)
    return part * cos[:, None] + rotated * sin[:, None]
