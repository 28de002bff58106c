"""CLIP's joint space: where a question can be compared with the patches of a picture.

As TRIM (arXiv 2409.10994) and CDPruner (arXiv 2506.10967) use it, in float32: a patch is the output of the layer that
feeds the projector, after CLIP's last norm and visual projection, which CLIP itself applies to CLS of its last layer
only. The question is CLIP's text embedding. Neither is normalised.

But:
- CLIP reads at most 77 tokens. A longer question is divided, and every segment gets a start and an end token of its own
  (the released code of TRIM truncates it; that of CDPruner cuts every 77 tokens, start and end token included);
- the question comes without the chat template and without the picture's placeholder, as the user typed it (TRIM's code
  encodes all of it; CDPruner's leaves out the request for a short answer that a benchmark appends, too);
- the text embedding is read at the end token, which is the last of a segment. The CLIP of transformers looks for the
  highest token id instead if its configuration says so, which is the same for CLIP's own tokenizer only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vscan_core import geometry


class JointSpace(nn.Module):
    """The text half of CLIP, and what projects patches beside it.

    text_model and text_projection: as in `CLIPModel` of transformers. tokenizer: that of the text model. norm and
    visual_projection: (..., dim) -> (..., dim_joint).
    """

    def __init__(
        self, text_model: Any, text_projection: nn.Module, tokenizer: Any, norm: nn.Module, visual_projection: nn.Module
    ) -> None:
        super().__init__()
        self.text_model, self.text_projection, self.tokenizer = text_model, text_projection, tokenizer
        self.norm, self.visual_projection = norm, visual_projection
        self.float().eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, features: Tensor, question: str) -> tuple[Tensor, Tensor]:
        """Features (..., dim) of the layer that feeds the projector -> (..., dim_joint); (segments, dim_joint)."""
        place = features.device
        self.to(place)
        with geometry.as_written(place):
            patches: Tensor = self.visual_projection(self.norm(features.float()))
            read = [self.text_model(input_ids=torch.tensor([ids], device=place)) for ids in self.segments(question)]
            text: Tensor = self.text_projection(torch.cat([each.last_hidden_state[:, -1] for each in read]))
        return patches, text

    def segments(self, question: str) -> list[list[int]]:
        """Token ids of the question in segments that CLIP can read, each from its start token to its end token."""
        ids = self.tokenizer(question, add_special_tokens=False).input_ids
        most = self.text_model.config.max_position_embeddings - 2
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return [[start, *ids[at : at + most], end] for at in range(0, max(1, len(ids)), most)]
