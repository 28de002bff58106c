"""Second turns with nothing recalled: the second question goes on with the KV cache that the first one's cuts left.

python -m benchmarks.second_turns [--method vscan] [--retention 1/9] [--limit 400]

Beside it, on the same questions, what the library does instead, and the dense model: `vscan eval --second-turn`, whose
answers are taken from their files where they are there.
"""

from __future__ import annotations

import argparse

import torch

import vscan_core as vc
from vscan_core.reducers import Reducer
from vscan_core.versions import cache_out, with_cache
from vscan_eval.command import task_named
from vscan_eval.replies import DENSE, Condition, Prompt
from vscan_eval.rerun import share_of
from vscan_eval.runner import file_of, run_tasks
from vscan_eval.statistics import interval, p_value


@torch.inference_mode()
def reply_on_cut_cache(lvlm: vc.LVLM, prompt: Prompt, reducer: Reducer | None, max_new_tokens: int) -> str:
    """The reply to a prompt with one earlier turn, whose question alone decided what later cuts left in the cache."""
    ((question, _),) = prompt.history
    first = lvlm.inputs(prompt.picture, question)
    whole = lvlm.inputs(prompt.picture, prompt.question, prompt.history)
    length = first["input_ids"].shape[1]
    assert torch.equal(whole["input_ids"][:, :length], first["input_ids"]), "the first turn is the prompt's beginning"
    text = {name: whole[name] for name in ("input_ids", "attention_mask")}
    with vc.reduced(lvlm.model, reducer):
        cache = cache_out(lvlm.model(**first, use_cache=True, logits_to_keep=1))
        made = lvlm.model.generate(**with_cache(text, cache), do_sample=False, max_new_tokens=max_new_tokens)
    tail = made[0, whole["input_ids"].shape[1] :]
    reply: str = lvlm.processor.tokenizer.decode(tail, skip_special_tokens=True).strip()
    return reply


def main() -> None:
    """Ask, and print accuracy with its interval, and p of the paired tests over pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--method", default="vscan")
    parser.add_argument("--retention", type=share_of, default=1 / 9)
    parser.add_argument("--limit", type=int, default=400)
    options = parser.parse_args()
    lvlm, task = vc.load_model(options.model), task_named("world", None, None)
    task.second_turn = True
    items = task.chosen(options.limit)
    method, pictures = Condition.named(options.method, options.retention), [item.picture for item in items]
    runs = [(each, file_of(lvlm, task, each)) for each in (Condition(DENSE), method)]
    found = run_tasks(lvlm, task, items, runs)
    scores = dict(zip(("dense", "recalled"), ([one.score for one in each] for each in found), strict=True))
    prompts = [Prompt(item.open(), task.prompt(item), item.history) for item in items]
    replies = [reply_on_cut_cache(lvlm, prompt, method.reducer, task.max_new_tokens) for prompt in prompts]
    scores["not recalled"] = [task.score(item, reply) for item, reply in zip(items, replies, strict=True)]
    for name, mine in scores.items():
        low, high = interval(mine, pictures)
        against = {other: p_value(mine, scores[other], pictures) for other in scores if other != name}
        told = ", ".join(f"p {value:.2g} against {other}" for other, value in against.items())
        print(f"{name:13} {sum(mine) / len(mine):.4f} ({low:.3f}-{high:.3f}); {told}")


if __name__ == "__main__":
    main()
