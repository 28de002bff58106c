"""Family: where the parts of one kind of model are, and how to read scores off them. It knows no method."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.dummies.shapes import Ids, Shape
from vscan_core.errors import InputError
from vscan_core.families.entries import HubModel, SmallModel
from vscan_core.families.scores import head_rows, query_rows
from vscan_core.families.tiles import TiledPicture, Tiles, TokenLayout
from vscan_core.selection import Anatomy, Needs
from vscan_core.trace import View

Record = Callable[[int, Tensor], None]  # (vision layer, scores of all images)


class Family(ABC):
    """One kind of LVLM on unmodified transformers classes. Methods take the model; a family holds no state."""

    model_type: str  # config.model_type it serves
    title: str
    hub_models: tuple[HubModel, ...]  # the family's entries in the catalog
    small_models: tuple[SmallModel, ...]
    gives_keys = False  # whether `tap_keys` is there
    pictures_by_prompt = False  # whether the processor wants the pictures of each prompt in a list of their own
    frames = 0  # of a video that are looked at unless told otherwise; 0: it takes no videos here

    @property
    def one_row_per_picture(self) -> bool:
        """Whether the projector gives the LLM one row of tokens per picture: no tiles, no packing, plain positions."""
        return False

    def base(self, model: nn.Module) -> Any:
        """The model without its language-model head; it joins pixels and text."""
        return model.model

    def language_model(self, model: nn.Module) -> Any:
        """The decoder stack; called with `inputs_embeds` that already hold the visual tokens."""
        return self.base(model).language_model

    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Decoder layers, each called as layer(hidden_states, attention_mask=, position_embeddings=, ...)."""
        layers: nn.ModuleList = self.language_model(model).layers
        return layers

    def norm_after_attention(self, layer: Any) -> Any:
        """The module of a decoder layer that normalises the sum of its input and its attention."""
        return layer.post_attention_layernorm

    @abstractmethod
    def vision_tower(self, model: nn.Module) -> nn.Module:
        """The module that turns pixels into vision features."""

    def vision_towers(self, model: nn.Module) -> list[nn.Module]:
        """All of them, where pictures and videos have their own."""
        return [self.vision_tower(model)]

    def attention(self, model: nn.Module) -> dict[str, str]:
        """The attention that each half is set to run: {"vision": ..., "text": ...}, by transformers' names."""
        halves = {"vision": self.vision_tower(model), "text": self.language_model(model)}
        return {name: str(half.config._attn_implementation) for name, half in halves.items()}

    @abstractmethod
    def projector(self, model: nn.Module) -> nn.Module:
        """The module that maps vision features to the LLM's width, token by token."""

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Run the vision side on what the processor's image half made."""
        return model.get_image_features(**batch, return_dict=True)

    @abstractmethod
    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """The tiles of a call of the vision tower, from its arguments."""

    def see_in(self, tower: nn.Module, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """As `see`, for families whose towers differ in what they pass on."""
        return self.see(model, args, kwargs)

    @abstractmethod
    def anatomy(self, model: nn.Module) -> Anatomy:
        """Plain numbers about this model and its family's published settings."""

    @abstractmethod
    def tap(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Hook vision layer `layer` so that each encode records its scores.

        With CLS: its row, (tiles, heads, tokens). Without: attention received, one number per projector row.
        """

    def tap_keys(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Hook vision layer `layer` so that each encode records its head-mean keys (tiles, tokens, head_dim)."""
        raise NotImplementedError

    def encoder_blocks(self, model: nn.Module) -> nn.ModuleList:
        """The vision encoder's blocks, if tokens can merge in them: pre-norm, named like CLIP's, CLS first."""
        raise InputError(f"{self.title} cannot merge tokens inside its vision encoder; choose another one.")

    def check(self, needs: Needs) -> None:
        """Raise InputError if this kind of model cannot give what is needed."""
        if needs.keys and not self.gives_keys:
            raise InputError(f"{self.title} does not give the vision keys that this method needs; choose another one.")
        if needs.joint:
            raise InputError(
                f"{self.title} comes without the text half of CLIP, which this method needs to compare the question "
                "with the picture; choose another one."
            )

    @abstractmethod
    def image_token_id(self, model: nn.Module) -> int:
        """The placeholder that stands for visual tokens in input_ids."""

    def pictures(self, model: nn.Module, ids: Tensor, per_tile: int) -> list[TiledPicture] | None:
        """For families of loose tiles: which of them make a picture, read off the prompts; ids (batch, length).

        None: the prompt does not show it, so every tile is an image of its own.
        """
        return None

    def watch_packing(self, model: nn.Module, record: Callable[[list[TokenLayout]], None]) -> list[Any]:
        """For families that pack: report the layout of every image after each encode. Things with `.remove()`."""
        return []

    def shorten_kwargs(self, kwargs: Mapping[str, Any], keep: Tensor, index: Tensor) -> dict[str, Any]:
        """What cut 0 changes in the decoder stack's arguments beyond those that every model has.

        keep (batch, length) says which columns stay; index (batch, shorter) where each one left came from.
        """
        return {}

    def visual_token_ids(self, model: nn.Module) -> tuple[int, ...]:
        """Every placeholder that stands for visual tokens: of images, and of videos where there are any."""
        return (self.image_token_id(model),)

    def visual_mask(self, model: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """(batch, length) bool: which prompt positions hold visual tokens."""
        tokens = self.visual_token_ids(model)
        if input_ids is not None:
            masks = [input_ids == token for token in tokens]
        elif inputs_embeds is not None:
            # called, not read: the weights of a model spread over devices may be elsewhere until then
            rows = self.language_model(model).get_input_embeddings()(torch.tensor(tokens, device=inputs_embeds.device))
            masks = [(inputs_embeds == row.to(inputs_embeds)).all(-1) for row in rows]
        else:
            return None
        if len(masks) > 1 and masks[0].shape[-1] > 1 and all(bool(mask.any()) for mask in masks):
            raise InputError("images and videos in one call are not supported; ask about them in separate calls")
        return torch.stack(masks).any(0)

    def is_text(self, model: nn.Module, inputs_embeds: Tensor) -> bool:
        """Whether every row of (batch, length, dim) is some word's embedding, so that none is a picture's feature.

        The first few numbers of a row tell; the table is read piece by piece, since its weights may be elsewhere.
        """
        embed: Any = self.language_model(model).get_input_embeddings()
        rows, place = inputs_embeds.flatten(0, 1)[:, None, :8], inputs_embeds.device
        known = torch.zeros(len(rows), dtype=torch.bool, device=place)
        for start in range(0, embed.num_embeddings, 4096):
            ids = torch.arange(start, min(start + 4096, embed.num_embeddings), device=place)
            known |= (rows == embed(ids).to(inputs_embeds)[None, :, :8]).all(-1).any(-1)
        return bool(known.all())

    @abstractmethod
    def view(self, processor: Any, width: int, height: int) -> View:
        """Where the pixels that `processor` makes of a width x height picture lie in that picture."""

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """A prompt and the video in it as keyword arguments of the model.

        frames: pictures of one size; times: when each is shown, in seconds. They are prepared by the processor's
        picture half: its video half would need torchvision for the same result.
        """
        raise InputError(f"{self.title} takes pictures only; for videos choose Video-LLaVA, Qwen2.5-VL or Qwen3-VL.")

    def text_scores(
        self,
        layer: Any,
        hidden: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        valid: Tensor | None,
        asking: Tensor | None = None,
    ) -> Tensor:
        """(batch, tokens): attention of the last token to every token, with the weights of decoder layer `layer`.

        hidden (batch, tokens, dim) is what enters the layer; rotary is (cos, sin), None for scores without
        position; valid (batch, tokens) masks padding. One query row; softmax over all tokens, then head mean.
        With asking (batch, queries): the mean over these tokens' attention instead, each to what comes before it.
        """
        attn = layer.self_attn
        normed = layer.input_layernorm(hidden)
        query = head_rows(attn, "q", query_rows(normed, asking))  # (batch, heads, queries, head_dim)
        key = head_rows(attn, "k", normed)  # (batch, kv_heads, tokens, head_dim)
        if rotary is not None:
            rotate = vars(sys.modules[type(attn).__module__])["apply_rotary_pos_emb"]
            cos, sin = rotary
            query, _ = rotate(query, query, query_rows(cos, asking), query_rows(sin, asking))
            key, _ = rotate(key, key, cos, sin)
        # grouped queries share a key head: fold the group into the query axis instead of repeating keys
        query = query.reshape(key.shape[0], key.shape[1], -1, key.shape[-1])
        weights: Tensor = (
            geometry.precise(query @ key.transpose(-1, -2)) * attn.scaling
        )  # (batch, kv_heads, group, tokens)
        if asking is not None:
            later = torch.arange(hidden.shape[1], device=asking.device) > asking[..., None]  # (batch, queries, tokens)
            weights = weights.masked_fill(later.repeat(1, weights.shape[2] // asking.shape[1], 1)[:, None], -torch.inf)
        if valid is not None:
            weights = weights.masked_fill(~valid[:, None, None, :], -torch.inf)
        return weights.softmax(-1).mean((1, 2))

    def projections(
        self, layer: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and rotated keys (tokens, heads, head_dim) of rows that enter decoder layer `layer`.

        hidden (tokens, dim); rotary is their (cos, sin), (1, tokens, head_dim) each; None leaves keys unrotated.
        """
        attn = layer.self_attn
        normed = layer.input_layernorm(hidden[None])
        query, key = head_rows(attn, "q", normed), head_rows(attn, "k", normed)
        rotated = key
        if rotary is not None:
            rotated, _ = vars(sys.modules[type(attn).__module__])["apply_rotary_pos_emb"](key, key, *rotary)
        return query[0].transpose(0, 1), key[0].transpose(0, 1), rotated[0].transpose(0, 1)

    @abstractmethod
    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """The transformers configuration of a model of this shape with random weights."""

    @abstractmethod
    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """A stock processor for such a model. Raises InputError if a package that it needs is not installed."""
