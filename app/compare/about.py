"""How the method works and how the numbers are measured, at the foot of the page."""

from __future__ import annotations

import gradio as gr

HOW = """
A vision-language model splits a picture into small square patches and turns each of them into a **visual token**. The
language model reads all of these tokens before it writes the first word of its answer. Most of them say little, and
reading them takes time and memory. **VScan** drops most of them in two steps; the model itself is not retrained:

1. **Before the language model.** Two layers of the vision encoder show how much attention each patch gets. The *global
   scan* keeps the patches that matter for the picture as a whole; the *local scan* keeps the best ones of every
   neighbourhood, so that small objects in a corner survive. Each dropped token is averaged into the kept token that is
   most similar to it, so its content is not lost completely.
2. **Inside the language model.** Halfway through its layers, the model has processed the question. Only the visual
   tokens that get the most attention from the last token of the question go on to the remaining layers.

The slider sets the **retention**: the share of visual tokens, averaged over all layers of the language model. The
published settings are 11.1 %, 22.2 % and 33.3 %. The method: *VScan*, arXiv 2505.22654.
"""

MEASURED = """
- All numbers come from the two runs that you have just started, one after the other on the same device. Only the
  baseline's answer to the same question about the same picture is not computed again: it is kept from an earlier run,
  with its figures as measured then, and says so. It is **a single run, not a benchmark**: times vary a little from run
  to run.
- The **vision encoder** runs once for both answers, often before you press Run, and both count that time. **Other
  work** is what else passes before the second answer is complete, such as preparing the picture and drawing its tokens;
  no figure of an answer includes it, or the time in the queue.
- **Token selection** is the extra work of VScan, in both steps. **Prefill** is the language model's pass over the whole
  prompt. The **first token** comes after the vision encoder, token selection and prefill. **Decode** is the time per
  further token, so that answers of different lengths can be compared.
- The **KV cache** holds the keys and values of all tokens that the language model has processed; its size is that of
  the actual tensors. **Peak memory** includes the weights of the model, so it shrinks only a little.
- **FLOPs** are calculated, not measured, from the number of tokens that entered each layer, with causal attention: each
  token attends to itself and to what is before it. The exports also give them with attention in full, as papers count.
- The counts of visual tokens are read from the tensors of the run.
- Fewer tokens always make the prefill cheaper. They speed up decoding only in long conversations, and the vision
  encoder still processes the whole picture.
"""


def about() -> None:
    """Two closed accordions."""
    with gr.Accordion("How it works", open=False):
        gr.Markdown(HOW)
    with gr.Accordion("How these numbers are measured", open=False):
        gr.Markdown(MEASURED)
