"""What ran: every cut of every image, and how many tokens entered each layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """Where the pixels that the model saw lie in the original picture: original = seen * scale + offset.

    For a video, the original is each of its frames, which all have the same size.
    """

    scale: tuple[float, float] = (1.0, 1.0)  # original pixels per seen pixel, x and y
    offset: tuple[float, float] = (0.0, 0.0)  # of the seen area's top left corner, original pixels
    size: tuple[int, int] | None = None  # (width, height) of the original picture; None: not known
    frames: int = 0  # of the video that the model saw; 0: a picture
    cut: tuple[int, int] = (1, 1)  # (rows, cols) of its tiles; if several, one more tile shows the whole picture

    @property
    def tiles(self) -> int:
        """Number of tiles in which the vision encoder sees the picture."""
        pieces = self.cut[0] * self.cut[1]
        return pieces + (pieces > 1)

    def place(self, boxes: Tensor) -> Tensor:
        """Convert boxes (tokens, 4) from seen pixels to original pixels."""
        return boxes * torch.tensor(self.scale * 2) + torch.tensor(self.offset * 2)


@dataclass
class Cut:
    """Visual tokens of one image dropped at one place. Indices count the image's unreduced tokens."""

    layer: int  # 0 = entrance of the LLM, k = entrance of decoder layer k
    kept: Tensor  # (kept,) int64, ascending
    labels: dict[str, Tensor]  # why tokens were kept: name -> ascending indices
    merged_into: Tensor  # (tokens,) int64: the kept token that absorbs this one, -1 if none
    scores: dict[str, Tensor]  # name -> (tokens,), NaN for tokens dropped before


@dataclass
class ImageTrace:
    """What happened to one image."""

    tokens: int  # visual tokens before any cut, as the LLM would see them
    grid: tuple[int, int] | None = None  # (rows, cols) of the tokens of each tile
    boxes: Tensor | None = None  # (tokens, 4) x0, y0, x1, y1 in seen pixels
    view: View = field(default_factory=View)
    cuts: list[Cut] = field(default_factory=list)
    tiles: int = 1  # number of tiles in which the vision encoder saw the image
    tokens_per_tile: int = 0  # visual tokens of each tile, for the budget of cut 0; 0: the same as `tokens`
    origin: Tensor | None = None  # (tokens,) tile * tokens per tile + token in the tile, -1 = newline; None: in order

    @property
    def budget(self) -> tuple[int, int]:
        """(visual tokens per tile, tiles), for `Reducer.schedule`. Padding in tiles counts, newlines do not."""
        return self.tokens_per_tile or self.tokens, self.tiles

    def place(self, token: int) -> tuple[int, int, int] | None:
        """(tile, row, column) of a token, each from 0; None for newlines and where the grid is not known."""
        source = token if self.origin is None else int(self.origin[token])
        per_tile = self.budget[0]
        if self.grid is None or source < 0 or self.grid[0] * self.grid[1] != per_tile:
            return None
        tile, inside = divmod(source, per_tile)
        return tile, *divmod(inside, self.grid[1])

    @property
    def last_is_patch(self) -> bool:
        """Whether the last token shows part of the picture; if it is a newline, cut 0 never drops it."""
        return self.origin is None or int(self.origin[-1]) >= 0

    @property
    def tile_of(self) -> Tensor:
        """(tokens,) the tile of each token; -1 for newlines and the CLS token of a frame, which are in no tile."""
        source = torch.arange(self.tokens) if self.origin is None else self.origin.cpu()
        return source.div(self.budget[0], rounding_mode="floor")

    @property
    def frames(self) -> int:
        """Frames of the video that the model saw; 0: a picture."""
        return self.view.frames

    def frames_of(self, tile: int) -> range:
        """The frames of a video that tile `tile` shows: one, or two in the Qwen families."""
        each = -(-self.frames // self.tiles)
        return range(tile * each, min((tile + 1) * each, self.frames))

    @property
    def kept(self) -> Tensor:
        """(kept,) indices of the tokens that are left after the last cut."""
        return self.cuts[-1].kept if self.cuts else torch.arange(self.tokens)


@dataclass
class Trace:
    """What ran inside `reduced`, recorded from the model's tensors while it runs, not from the schedule.

    Describes the latest prefill. Images are in the order in which the vision encoder saw them.
    """

    images: list[ImageTrace] = field(default_factory=list)
    # of text and pictures, into each decoder layer, or whose keys it reads if it runs on the last of them alone
    tokens_per_layer: list[int] = field(default_factory=list)
    _visual: list[Tensor | int] = field(default_factory=list)
    attention: dict[str, str] = field(default_factory=dict)  # the kernel that ran: {"vision": "sdpa", "text": "sdpa"}
    read_twice: bool = False  # counts are those of two readings (see `cascade`), images those of the second

    def after(self, first: Trace) -> Trace:
        """The trace of a question that was read again: this is the second reading, and counts are added to it."""
        tokens, visual = (
            [sum(counts) for counts in zip(one, other, strict=True)]
            for one, other in (
                (first.tokens_per_layer, self.tokens_per_layer),
                (first.visual_tokens_per_layer, self.visual_tokens_per_layer),
            )
        )
        return replace(self, tokens_per_layer=tokens, _visual=list(visual), read_twice=True)

    @property
    def visual_tokens_per_layer(self) -> list[int]:
        """Visual tokens that entered each decoder layer in prefill, over all images of the batch."""
        return [int(count) for count in self._visual]

    def boxes(self, i: int = 0) -> Tensor:
        """(tokens, 4) pixel boxes x0, y0, x1, y1 of every visual token in the original image i.

        NaN for tokens that cover no pixels (newlines). If the place of the model's pixels in the original is not known,
        boxes are in the model's pixels: see `prepared.PreparedInputs`.
        """
        image = self.images[i]
        if image.boxes is None:
            return torch.full((image.tokens, 4), torch.nan)
        return image.view.place(image.boxes)
