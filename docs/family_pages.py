"""One page per model family, made from its class, its catalog entries and its architecture without weights."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
import transformers

from vscan_core.catalog import MODELS
from vscan_core.dummies import model_of
from vscan_core.dummies.processors import add_vision_tokens, ids_of
from vscan_core.engine.layer_arguments import check_cuts
from vscan_core.engine.score_layers import score_layers
from vscan_core.errors import InputError
from vscan_core.families import FAMILIES, Family
from vscan_core.reducers import REDUCERS
from vscan_core.resources import asset
from vscan_core.selection import Anatomy

PICTURE_SIZE = (1200, 800)  # width and height of the picture that tiles are counted on


def titles() -> dict[str, str]:
    """{page: title} in the order of the catalog."""
    return {f"families/{name}.md": family.title for name, family in FAMILIES.items()}


def pages() -> dict[str, str]:
    """{page: Markdown} of every family, and the overview."""
    return {"families/index.md": _overview(), **{f"families/{name}.md": _page(name) for name in FAMILIES}}


@cache
def built(name: str) -> tuple[Any, Any]:
    """(model, processor) of the family's first checkpoint: its architecture without weights, nothing is loaded."""
    family = FAMILIES[name]
    shape = family.hub_models[0].shape
    tokenizer = add_vision_tokens(transformers.AutoTokenizer.from_pretrained(asset("mini")))
    processor = family.dummy_processor(shape, tokenizer)
    config = family.dummy_config(shape, ids_of(processor))
    return model_of(config, torch.device("meta"), torch.bfloat16, "sdpa"), processor


def anatomy(name: str) -> Anatomy:
    """The plain numbers of the family's first checkpoint."""
    return FAMILIES[name].anatomy(built(name)[0])


def tiles(name: str) -> str:
    """Into how many tiles the model cuts PICTURE_SIZE."""
    family = FAMILIES[name]
    if hasattr(built(name)[1].image_processor, "image_grid_pinpoints"):
        return "yes, packed into one sequence with newlines"
    count = family.view(built(name)[1], *PICTURE_SIZE).tiles
    return f"yes, {count} for {PICTURE_SIZE[0]} x {PICTURE_SIZE[1]} pixels" if count > 1 else "no"


def _overview() -> str:
    """The table of all families."""
    rows = []
    for name, family in FAMILIES.items():
        facts = anatomy(name)
        scores = "CLS" if facts.has_cls else "received attention"
        rows.append(
            f"| [{family.title}]({name}.md) | `{name}` | {scores} | {tiles(name).split(',')[0]} "
            f"| {videos(family)} "
            f"| {facts.positions} | {'yes' if facts.rope_in_scores else 'no'} | {facts.first_cut} |"
        )
    return "\n".join(
        [
            "---",
            "hide: [toc]",
            "---",
            "# Families",
            "",
            "`reduced` works on unmodified transformers models of these families; each is one file in",
            "`vscan_core/families/`. The table is generated from the code.",
            "",
            "| family | `model_type` | importance from | tiles | video | position ids of kept tokens "
            "| rotary embedding in scores | first layer of a later cut |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "**Importance from**: the attention of the CLS token where the vision encoder has one; otherwise the",
            "attention that each patch receives from all others. **Position ids**: *renumbered* closes the gaps that",
            "removed tokens leave, *original* keeps them. Both can be changed for every method (`positions`,",
            "`rope_in_scores`). Which ways of calling a model are supported is on [Calling a model](../ways.md).",
            "",
            "How to add one: [Contributing](../contributing.md).",
            "",
        ]
    )


def videos(family: Family) -> str:
    """How many frames it takes of a video."""
    return f"{family.frames} frames" if family.frames else "no"


def _page(name: str) -> str:
    """The page of one family."""
    family, facts = FAMILIES[name], anatomy(name)
    module = inspect.getmodule(type(family))
    assert module is not None and module.__doc__ is not None
    about = inspect.cleandoc(module.__doc__)
    rows = {
        "`config.model_type`": f"`{name}`",
        "Class": f"`{type(family).__module__}.{type(family).__name__}`",
        "Vision layers; the LLM sees the output of": f"{facts.vision_layers}; layer {facts.feature_layer}",
        "Vision layer of the local scan": str(facts.shallow_layer),
        "Vision layer in the middle": str(facts.middle_layer),
        "Decoder layers": str(facts.text_layers),
        "Importance of a token": "attention of CLS" if facts.has_cls else "attention received from all patches",
        "Position ids of kept tokens": facts.positions,
        "Rotary embedding in scores of later cuts": "yes" if facts.rope_in_scores else "no",
        "First decoder layer of a later cut": str(facts.first_cut),
        "Last decoder layer of a later cut": str(facts.text_layers - 1 if facts.last_cut is None else facts.last_cut),
        "Tiles": tiles(name),
        "Video": videos(family),
        "Methods that it refuses, with default settings": refused(name),
    }
    cards = [card for card in MODELS.values() if card.family == name and card.defaults is not None]
    models = [
        f"| `{card.name}` | {card.weights_gb(torch.bfloat16):.3g} GB | {card.licence} | `{card.dummy}` "
        f"| {card.defaults.prune_layer} | {card.defaults.source} |"
        for card in cards
        if card.defaults is not None
    ]
    small = ", ".join(f"`dummy:{model.name}`" for model in family.small_models)
    return "\n".join(
        [
            f"# {family.title}",
            "",
            about,
            "",
            inspect.getdoc(type(family)) or "",
            "",
            f"Layers count from 0. Numbers are those of `{family.hub_models[0].source}`.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {label} | {value} |" for label, value in rows.items()),
            "",
            "## Models",
            "",
            "| name | weights in bfloat16 | licence | random weights | second cut of VScan at layer | settings |",
            "|---|---|---|---|---|---|",
            *models,
            "",
            "*Settings*: `published` in the paper or the authors' code, or chosen by this project (`ours`).",
            f"Scaled down, with random weights, for a CPU: {small}.",
            "",
        ]
    )


def refused(name: str) -> str:
    """The methods that need a signal which this family does not have, or not where they cut by default."""
    family, facts, found = FAMILIES[name], anatomy(name), []
    for key, cls in REDUCERS.own.items():
        reducer = cls(1 / 2)
        needs, later = reducer.needs(facts), [layer for layer in reducer.cut_layers(facts) if layer]
        try:
            family.check(needs)
            check_cuts(later, facts)
            score_layers(reducer, later, family.attending(built(name)[0]))
            if needs.blocks:
                family.encoder_blocks(built(name)[0])
        except InputError:
            found.append(f"[{cls.title}](../methods/{key}.md)")
    return ", ".join(found) or "none"
