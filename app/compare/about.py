"""How it works and how the numbers are made, in a few plain sentences at the foot of the page."""

from __future__ import annotations

import gradio as gr

HOW = """
A vision-language model cuts a picture into small squares and turns each into a **visual token**. A language model
then reads all of them before it writes the first word of its answer. Most squares say little, and reading them costs
time and memory. **VScan** drops most of them in two steps, without any training of the model:

1. **Before the language model.** Two layers of the vision encoder say how much attention each square gets. The *global
   scan* keeps squares that matter for the picture as a whole; the *local scan* keeps the best ones in every
   neighbourhood, so that small things in a corner survive. Every square that is dropped is averaged into the kept one
   that is most like it, so that its content is not lost altogether.
2. **Inside the language model.** Halfway through its layers the model has understood the question. Only the squares to
   which the question's last word attends most go on.

The slider sets the **retention**: the share of visual tokens, averaged over all layers of the language model. The
published settings are 11.1 %, 22.2 % and 33.3 %. The method: *VScan*, arXiv 2505.22654.
"""

MEASURED = """
- Every number comes from the two runs that you have just started, one after the other on the same device. Nothing is
  recorded beforehand, and the web page and its queue are not part of any time. It is **a single run, not a benchmark**:
  repeat it, and times will differ a little.
- **Looking** is the vision encoder; **choosing tokens** is the extra work of VScan, in both steps; **reading**
  (*prefill*) is the language model over the whole prompt; the **first word** comes after these three. **Writing**
  (*decode*) is given per word piece, so that answers of different length compare.
- **KV cache** is the memory in which the language model keeps what it has read, counted from the tensors that are
  there. **Peak memory** includes the model itself, which is why it shrinks little.
- **FLOPs** are calculated, not measured, from the number of tokens that entered each layer.
- The counts of visual tokens are read from the tensors that really ran.
- Fewer tokens make reading faster. They make writing faster only when the conversation is long, and the vision encoder
  always looks at the whole picture.
"""


def about() -> None:
    """Two closed accordions."""
    with gr.Accordion("How it works", open=False):
        gr.Markdown(HOW)
    with gr.Accordion("How these numbers are measured", open=False):
        gr.Markdown(MEASURED)
