"""How the numbers are measured, at the foot of the page."""

from __future__ import annotations

import gradio as gr

MEASURED = """
- **Exact**: the counts of visual tokens are read from the tensors of the run; FLOPs and the KV cache follow from them.
  Before a run, the same figures come from the method's schedule.
- **Measured**: after both answers, both runs are measured again up to the first token, as often as two seconds allow,
  one right after the other and in alternating order. A factor is the **median of these pairs**, with the smallest and
  the largest beside it; **Repeat** adds more pairs. Where the same work took very different times, the machine was
  busy, and no factor is given. The time axis shows medians up to the first token, and the decoding of the run itself.
- The **vision encoder** runs once for both answers, often before you press Run, and both count that time. The
  baseline's answer to the same question about the same picture is kept from an earlier run, and says so. **Other
  work** is what else passes before the second answer is complete, such as preparing the picture and drawing its tokens;
  no figure of an answer includes it, or the time in the queue.
- While a run goes on, the figures under it come from the server's clock; its own timings replace them at its end.
- **Token selection** is the extra work of the method, wherever it cuts. **Prefill** is the language model's pass over
  the whole prompt. The **first token** comes after the vision encoder, token selection and prefill. **Decode** is the
  time per further token, so that answers of different lengths can be compared.
- The **KV cache** holds the keys and values of all tokens that the language model has processed; its size is that of
  the actual tensors. **Peak memory** includes the weights of the model, so it shrinks only a little.
- **FLOPs** are calculated, not measured, from the number of tokens that entered each layer, with causal attention: each
  token attends to itself and to what is before it. The exports also give them with attention in full, as papers count.
- Fewer tokens always make the prefill cheaper. They speed up decoding only in long conversations, and the vision
  encoder still processes the whole picture.
"""


def about() -> None:
    """A closed accordion; how the method works is told on its own page."""
    with gr.Accordion("How these numbers are measured", open=False):
        gr.Markdown(MEASURED)
