"""The text half of the embedded model: a small CLIP text encoder, the projections beside it, and its folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPConfig, CLIPTextConfig, CLIPTextModelWithProjection, LlavaConfig

from training import stage
from training.learning_curve import continuous_clock
from training.model import DIM
from training.packing import EOS
from vscan_core.checkpoints.text_half import TEXT_HALF_FOLDER

JOINT_DIM = 128


class TextHalf(nn.Module):
    """A text encoder, and both projections into the joint space; names of the parts as in `CLIPModel`."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text = CLIPTextModelWithProjection(text_half_config(vocabulary))
        self.post_layernorm = nn.LayerNorm(DIM, eps=1e-5)
        self.visual_projection = nn.Linear(DIM, JOINT_DIM, bias=False)
        self.scale = nn.Parameter(torch.tensor([0.0, 2.0]))  # log, of products and of cosines; only used to train
        self.shift = nn.Parameter(torch.zeros(2))

    def forward(self, features: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of relevance (pictures, questions, patches), from products and from cosines.

        features (pictures, patches, dim); ids and mask (pictures * questions, length), each row ends with EOS, padded
        on the right.
        """
        hidden = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        end = hidden[torch.arange(len(ids)), mask.sum(1) - 1]
        text = self.text.text_projection(end).unflatten(0, (len(features), -1))
        patches = self.visual_projection(self.post_layernorm(features))
        products = text @ patches.transpose(1, 2) * JOINT_DIM**-0.5
        cosines = F.normalize(text, dim=-1) @ F.normalize(patches, dim=-1).transpose(1, 2)
        scale, shift = self.scale.exp(), self.shift
        return shift[0] - scale[0] * products, shift[1] - scale[1] * cosines


def text_half_config(vocabulary: int) -> CLIPTextConfig:
    """Two layers, about a million parameters."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=2,
        num_attention_heads=6,
        projection_dim=JOINT_DIM,
        max_position_embeddings=77,
        hidden_act="gelu",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=EOS,
    )


def export_text_half(model_folder: Path) -> None:
    """Write the newest checkpoint as a `CLIPModel` without the vision tower, in half precision, with the tokenizer."""
    config = LlavaConfig.from_pretrained(model_folder)
    half, folder = TextHalf(config.text_config.vocab_size), model_folder / TEXT_HALF_FOLDER
    half.load_state_dict(torch.load(stage.RUNS_FOLDER / "text_half" / "checkpoint.pt", weights_only=False)["half"])
    named = {**half.text.state_dict(), "visual_projection.weight": half.visual_projection.weight}
    named |= {f"vision_model.post_layernorm.{name}": value for name, value in half.post_layernorm.named_parameters()}
    text, vision = half.text.config.to_dict(), config.vision_config.to_dict()
    made = CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=JOINT_DIM, architectures=["CLIPModel"], dtype="float16"
    )
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    tensors = {name: value.detach().half().contiguous() for name, value in named.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    lines = (stage.RUNS_FOLDER / "text_half" / "log.jsonl").read_text().splitlines()
    text = ",\n".join(json.dumps(line) for line in continuous_clock([json.loads(line) for line in lines]))
    (folder / "training_log.json").write_text(f"[\n{text}\n]\n")
