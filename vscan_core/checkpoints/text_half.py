"""The text half of the CLIP whose vision half is a model's tower: found, checked and loaded when a method asks for it.

It is, in this order: what `load_text_half` was given; the folder `text_half` inside the model's own folder; the CLIP
checkpoint that the model's family names. Checkpoints are those of `CLIPModel`, in safetensors. Only the embedded
model's `text_half` has no vision tower in it: it was trained for this tower.
"""

from __future__ import annotations

import warnings
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import transformers
from huggingface_hub import constants
from torch import Tensor, nn

from vscan_core.checkpoints.folder import UNPICKLED, check_weights, config_of, in_words
from vscan_core.checkpoints.pretrained import quiet
from vscan_core.errors import InputError, first_line
from vscan_core.families import Family, family_of
from vscan_core.joint_space import JointSpace
from vscan_core.measure import ran_out
from vscan_core.resources import asset
from vscan_core.selection import Needs

TEXT_HALF_FOLDER = "text_half"  # folder inside a model's folder
RANDOM = "random"  # in place of a folder or Hub id: random weights, for models whose own are random
SAME, RELATED = 0.02, 0.5  # relative difference of the tower's weights: what rounding does, what fine-tuning does
TOWER_SIZES = ("hidden_size", "num_hidden_layers", "patch_size", "image_size")  # that two towers must have in common
SEVERAL_LAYERS = "several vision layers feed the projector, but CLIP's joint space is for one; choose another method."
_chosen: MutableMapping[nn.Module, str] = WeakKeyDictionary()
_loaded: MutableMapping[nn.Module, JointSpace] = WeakKeyDictionary()


def give_text_half(model: Any, source: str) -> None:
    """Load a text half from a folder or Hub id. Raises InputError if it is not that of the model's tower."""
    family = family_of(model)
    family.check(Needs(joint=True))
    _loaded[model] = _load(model, family, source, own=False)


def choose_text_half(model: Any, source: str) -> Any:
    """The model; where its text half will come from is noted, nothing is loaded yet."""
    _chosen[model] = source
    return model


def joint_space_of(model: Any, family: Family) -> JointSpace:
    """The joint space of a model's tower, loaded at the first call. Raises InputError if there is none to be had."""
    if (known := _loaded.get(model)) is None:
        name = str(getattr(model.config, "_name_or_path", "") or "")
        beside = Path(name) / TEXT_HALF_FOLDER
        own = bool(name) and beside.is_dir()
        source = _chosen.get(model) or (str(beside) if own else family.clip if name else None)
        if not source:
            raise InputError(
                f"this method compares the question with the picture by the text half of CLIP, and none is known for "
                f"this {family.title}; give it one with load_text_half(model, FOLDER)"
            )
        with torch.inference_mode(False), torch.no_grad():
            known = _loaded[model] = _load(model, family, source, own)
    return known


def _load(model: Any, family: Family, source: str, own: bool) -> JointSpace:
    """own: it lies beside the model, so it may leave out the vision tower."""
    tower = family.vision_tower(model)
    if len(family.vision_outputs(model)) > 1:
        raise InputError(SEVERAL_LAYERS)
    if source == RANDOM:
        return _random(tower.config)
    try:
        with quiet():
            config = _config(source)
            _check_sizes(source, config.vision_config, tower.config)
            clip, info = transformers.CLIPModel.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except InputError:
        raise
    except Exception as error:  # tokenizers raises Exception, and settings of a wrong type raise any type
        if ran_out(error):
            raise MemoryError(str(error)) from error
        raise _why(source, error) from error
    absent = set(info["missing_keys"])
    if lacking := {name for name in absent if not (own and _of_tower(name))}:
        raise InputError(f"the CLIP checkpoint {source} lacks {in_words(lacking)}; choose a complete one")
    if not absent:
        _check_same(source, clip.vision_model, tower, family.anatomy(model).feature_layer)
    return JointSpace(
        clip.text_model, clip.text_projection, tokenizer, clip.vision_model.post_layernorm, clip.visual_projection
    )


def _config(source: str) -> Any:
    """The configuration of a CLIP; of a folder, after a check of its files."""
    if Path(source).is_dir():
        kind = config_of(Path(source)).get("model_type")
        if kind != "clip":
            raise InputError(f"the folder {source} holds a {kind!r} model, not a CLIP with both halves; choose another")
        check_weights(Path(source))
    return transformers.CLIPConfig.from_pretrained(source)


def _check_sizes(source: str, theirs: Any, ours: Any) -> None:
    for name in TOWER_SIZES:
        if getattr(theirs, name) != (wanted := getattr(ours, name)):
            raise InputError(
                f"the CLIP checkpoint {source} does not belong to this model's vision tower: its {name} is "
                f"{getattr(theirs, name)}, the tower's {wanted}; give the right one with load_text_half(model, FOLDER)"
            )


def _check_same(source: str, theirs: nn.Module, ours: nn.Module, last: int) -> None:
    """Warn if the layers up to `last` (0-based) differ by more than rounding; InputError if they are unrelated."""
    held, apart, whole = _weights(theirs, last), 0.0, 0.0
    for name, weight in _weights(ours, last).items():
        if name in held and weight.is_floating_point() and weight.shape == held[name].shape and not weight.is_meta:
            reference = held[name].float()
            apart += float((weight.float().cpu() - reference).square().sum())
            whole += float(reference.square().sum())
    if not whole:
        warnings.warn(
            f"this model's vision tower is quantised or offloaded, so it was not compared with that of {source}",
            stacklevel=2,
        )
        return
    difference = (apart / whole) ** 0.5
    if difference > RELATED:
        raise InputError(
            f"the CLIP checkpoint {source} does not belong to this model's vision tower: their weights have nothing in "
            "common; give the right one with load_text_half(model, FOLDER)"
        )
    if difference > SAME:
        warnings.warn(
            f"this model's vision tower was trained further since it left {source} (its weights differ by "
            f"{difference:.0%}), so question and picture are compared only approximately",
            stacklevel=2,
        )


def _weights(tower: nn.Module, last: int) -> dict[str, Tensor]:
    """The weights that the output of layer `last` depends on, by the names that all versions have in common."""
    found = {}
    for name, weight in tower.named_parameters():
        parts = name.removeprefix("vision_model.").split(".")
        if (parts[0] == "encoder" and int(parts[2]) <= last) or parts[0] in ("embeddings", "pre_layrnorm"):
            found[".".join(parts)] = weight.detach()
    return found


def _of_tower(name: str) -> bool:
    return name == "logit_scale" or (name.startswith("vision_model.") and "post_layernorm" not in name)


def _random(tower: Any) -> JointSpace:
    """Random weights in CLIP's proportions: the text half is three quarters as wide as the tower, and half as deep."""
    width, heads = tower.hidden_size * 3 // 4, max(1, tower.num_attention_heads * 3 // 4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(asset("mini"), trust_remote_code=False)
    config = transformers.CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=max(1, tower.num_hidden_layers // 2),
        num_attention_heads=heads,
        projection_dim=width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = transformers.CLIPTextModelWithProjection(config)
        visual = nn.Linear(tower.hidden_size, width, bias=False)
    return JointSpace(text.text_model, text.text_projection, tokenizer, nn.LayerNorm(tower.hidden_size), visual)


def _why(source: str, error: Exception) -> InputError:
    """The InputError for an exception of transformers."""
    use = "this method compares the question with the picture by the text half of CLIP"
    if Path(source).is_dir():
        return InputError(f"{use}, but the folder {source} could not be loaded: {first_line(error)}")
    if "file named model.safetensors" in str(error):
        return InputError(f"{use}, but {source} could not be loaded: {UNPICKLED}, and call load_text_half")
    if constants.HF_HUB_OFFLINE:
        return InputError(
            f"{use}, {source}, which is not in the local cache, and HF_HUB_OFFLINE prevents downloading it; unset that "
            f"variable, download it beforehand with `hf download {source}`, or call load_text_half(model, FOLDER)"
        )
    return InputError(
        f"{use}, {source}, which is not in the local cache and could not be downloaded from the Hugging Face Hub; "
        "check the network, or call load_text_half(model, FOLDER)"
    )
