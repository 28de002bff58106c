"""Family: where to find the modules of one kind of model and how to read scores from them. It knows no method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core.dummies.shapes import Ids, Shape
from vscan_core.errors import InputError
from vscan_core.families.entries import HubModel, SmallModel
from vscan_core.families.tiles import Arrange, TiledPicture, Tiles, TokenLayout
from vscan_core.selection import Anatomy, Needs
from vscan_core.trace import View

COMPARES = "this method needs to compare the question with the picture; choose another method."
# (vision layer, how to compute its scores or keys): computed only if they are wanted, and timed as reduction
Recorder = Callable[[int, Callable[[], Tensor]], None]


class Family(ABC):
    """One kind of LVLM on unmodified transformers classes. A family holds no state: its methods take the model."""

    model_type: str  # the config.model_type of its models
    title: str
    hub_models: tuple[HubModel, ...]  # the family's entries in the catalog
    small_models: tuple[SmallModel, ...]
    has_vision_keys = False  # whether `hook_keys` is implemented
    clip: str | None = None  # Hub id of the CLIP that the vision tower is half of; "": not known; None: of no CLIP
    nested_pictures = False  # whether the processor takes one list of pictures per prompt
    pooling = ""  # the method of `base` that pools the projector's rows, for `Tiles` with `pool`
    frames = 0  # number of frames taken from a video by default; 0: videos are not supported

    @property
    def one_row_per_picture(self) -> bool:
        """Whether the LLM gets one row of tokens per picture: no tiles, no packing, one-dimensional positions."""
        return False

    def base(self, model: nn.Module) -> Any:
        """The model without its language-model head; this is the module that combines pixels and text."""
        return model.model

    def language_model(self, model: nn.Module) -> Any:
        """The decoder stack; called with `inputs_embeds` that already hold the visual tokens."""
        return self.base(model).language_model

    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Decoder layers, each called as layer(hidden_states, attention_mask=, position_embeddings=, ...)."""
        layers: nn.ModuleList = self.language_model(model).layers
        return layers

    def attending(self, model: nn.Module) -> list[int]:
        """The decoder layers with attention; others carry a state from token to token instead."""
        return [place for place, layer in enumerate(self.layers(model)) if hasattr(layer, "self_attn")]

    def layer_kinds(self, model: nn.Module) -> list[str]:
        """The kind of each decoder layer, as transformers names it; one kind shares mask and rotary embedding."""
        return [""] * len(self.layers(model))

    def rotary(self, model: nn.Module, hidden: Tensor, positions: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """(cos, sin) of layers of this kind for positions (batch or 1, length), in the type and place of `hidden`."""
        found: tuple[Tensor, Tensor] = self.language_model(model).rotary_emb(hidden, positions)
        return found

    def picture_blocks(self, model: nn.Module, token_kinds: Tensor) -> Tensor | None:
        """(batch, length) the picture of each token, -1 for text, if the tokens of a picture see each other both ways.

        token_kinds: `mm_token_type_ids` of the prompt. None: each token sees only what is before it.
        """
        return None

    def norm_after_attention(self, layer: Any) -> Any:
        """The module of a decoder layer that normalises the sum of its input and its attention."""
        return layer.post_attention_layernorm

    def final_norm(self, model: nn.Module) -> Any:
        """The module that normalises what leaves the last decoder layer."""
        return self.language_model(model).norm

    @abstractmethod
    def vision_tower(self, model: nn.Module) -> nn.Module:
        """The module that turns pixels into vision features."""

    def vision_towers(self, model: nn.Module) -> list[nn.Module]:
        """All vision towers; more than one if pictures and videos have separate ones."""
        return [self.vision_tower(model)]

    def attention(self, model: nn.Module) -> dict[str, str]:
        """The attention implementation of each half, as transformers names them: {"vision": ..., "text": ...}."""
        halves = {"vision": self.vision_tower(model), "text": self.language_model(model)}
        return {name: str(half.config._attn_implementation) for name, half in halves.items()}

    @abstractmethod
    def projector(self, model: nn.Module) -> nn.Module:
        """The module that maps vision features to the LLM's width, token by token."""

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Run the vision side on the processor's image inputs; `pooler_output` holds the projected features."""
        return model.get_image_features(**batch, return_dict=True)

    @abstractmethod
    def tiles(self, model: nn.Module, tower: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """The tiles of a call of one of the `vision_towers`, from its arguments."""

    @abstractmethod
    def anatomy(self, model: nn.Module) -> Anatomy:
        """The sizes of this model and the published settings of its family."""

    @abstractmethod
    def hook_scores(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Hook vision layer `layer` so that each run of the encoder records its scores.

        With CLS: the attention of CLS, (tiles, heads, tokens). Without: attention received, per projector row.
        """

    def hook_received(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """As `hook_scores`, but with CLS too the attention received (tiles, tokens), that from CLS included."""
        return self.hook_scores(model, layer, record)

    def hook_keys(self, model: nn.Module, layer: int, record: Recorder) -> list[RemovableHandle]:
        """Hook vision layer `layer` so that each run of it records head-mean keys (tiles, tokens, head_dim)."""
        raise NotImplementedError

    def vision_blocks(self, tower: Any) -> nn.ModuleList:
        """The blocks of one of the `vision_towers`, each called with hidden states that keep their shape."""
        blocks: nn.ModuleList = getattr(tower, "vision_model", tower).encoder.layers
        return blocks

    def vision_outputs(self, model: nn.Module) -> tuple[int, ...]:
        """The vision layers (0-based) whose output is read by what follows the blocks."""
        return (self.anatomy(model).feature_layer,)

    def encoder_blocks(self, model: nn.Module) -> nn.ModuleList:
        """The blocks of the vision encoder (pre-norm, submodules named as in CLIP, CLS first).

        Raises InputError if tokens cannot be merged inside them.
        """
        raise InputError(f"{self.title} cannot merge tokens inside its vision encoder; choose another method.")

    def check(self, needs: Needs) -> None:
        """Raise InputError if this kind of model cannot provide the signals that a method needs."""
        if needs.keys and not self.has_vision_keys:
            raise InputError(f"{self.title} has no vision keys, which this method needs; choose another method.")
        if needs.joint and self.clip is None:
            raise InputError(f"{self.title} has no CLIP text encoder, which {COMPARES}")

    def image_token_id(self, model: nn.Module) -> int:
        """The id of the placeholder for the visual tokens of images in input_ids."""
        return int(cast(Any, model.config).image_token_id)

    def pictures_in_prompt(self, model: nn.Module, ids: Tensor, per_tile: int) -> list[TiledPicture] | None:
        """How the prompts, ids (batch, length), group tiles into pictures; for families whose tower sees single tiles.

        per_tile: visual tokens of one tile. Returns None if the prompts do not show it; every tile is then an image.
        """
        return None

    def tiles_in_rows(self, model: nn.Module, ids: Tensor, per_tile: int, image_sizes: Any) -> list[int] | None:
        """How many tiles of `per_tile` tokens each of the prompts, ids (batch, length), shows; None: not known."""
        return None

    def hook_arrangement(self, model: nn.Module, record: Callable[[Arrange], None]) -> list[Any]:
        """Record, before the tower runs, how to find every image's layout, if its arguments do not show it."""
        return []

    def picture_layout(self, config: Any, height: int, width: int) -> TokenLayout:
        """The visual tokens of a picture of this size, in pixels, by the configuration; InputError if it is silent."""
        raise InputError(f"how many visual tokens a picture has in {self.title} is known to its processor alone")

    def shorten_kwargs(self, kwargs: Mapping[str, Any], keep: Tensor, index: Tensor) -> dict[str, Any]:
        """The arguments of the decoder stack that cut 0 changes, other than those that every model has.

        keep (batch, length) bool: the columns that are kept; index (batch, kept): where each of them was.
        """
        return {}

    def visual_token_ids(self, model: Any) -> tuple[int, ...]:
        """The ids of all placeholders for visual tokens: of images, and of videos if they are supported."""
        image = self.image_token_id(model)
        return (image, model.config.video_token_id) if self.frames else (image,)

    def visual_mask(self, model: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """(batch, length) bool: positions of visual tokens. Raises InputError for images and videos in one call."""
        tokens = self.visual_token_ids(model)
        if input_ids is not None:
            masks = [input_ids == token for token in tokens]
        elif inputs_embeds is not None:
            # call the embedding instead of reading its weights, which may be on another device until it runs
            rows = self.language_model(model).get_input_embeddings()(torch.tensor(tokens, device=inputs_embeds.device))
            masks = [(inputs_embeds == row.to(inputs_embeds)).all(-1) for row in rows]
        else:
            return None
        if len(masks) == 1:
            return masks[0]
        either = torch.stack(masks)
        if either.shape[-1] > 1 and bool(either.flatten(1).any(1).all()):
            raise InputError("images and videos in one call are not supported; ask about them in separate calls")
        return either.any(0)

    def is_text(self, model: nn.Module, inputs_embeds: Tensor) -> bool:
        """Whether every row of inputs_embeds (batch, length, dim) is the embedding of a text token.

        Compares the first eight numbers of each row. The embedding is called, in chunks, because its weights may be on
        another device until it runs.
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
        """Where the pixels that `processor` makes from a picture of width x height pixels lie in that picture."""

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """A prompt with one video as keyword arguments of the model.

        frames: pictures of one size; times: when each is shown, in seconds. Frames go through the image processor; the
        video processor gives the same result but needs torchvision. Called only if `frames` is not 0.
        """
        raise NotImplementedError

    @abstractmethod
    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """The transformers configuration of a model of this shape with random weights."""

    @abstractmethod
    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """A stock processor for a model of this shape. Raises InputError if a required package is not installed."""
