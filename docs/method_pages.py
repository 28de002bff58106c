"""One page per method, made from its file: what it does, its source, its settings, and the budgets it computes."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields

from field_comments import comment

from app.benchmarks.released import release_of, released_code
from vscan_core.budget import average
from vscan_core.errors import InputError
from vscan_core.families import FAMILIES
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.selection import Anatomy

LLAVA_ANATOMY = Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)  # LLaVA-1.5 7B
LLAVA_TOKENS = 576
RETENTIONS = (1 / 2, 1 / 3, 2 / 9, 1 / 9, 1 / 18)
SIGNALS = {  # fields of Needs
    "projected": "features after the projector",
    "keys": "keys of the vision encoder's output layer, averaged over heads",
    "joint": "patches and question in the joint space of CLIP",
    "blocks": "the blocks of the vision encoder, where it merges tokens",
}
LATER_SIGNALS = {  # names in `Reducer.needs_in_llm`
    "text": "attention of the query tokens to each visual token",
    "hidden": "hidden states that enter the layer of the cut",
    "question": "hidden state of the last prompt token",
    "queries": "queries of the visual tokens, before the rotary embedding",
    "llm_keys": "keys of the visual tokens, before the rotary embedding",
    "rotated_keys": "keys of the visual tokens, after the rotary embedding",
    "normed": "hidden states that enter the layer of the cut, after the LLM's final norm",
    "text_normed": "hidden states of the text behind the image, after the LLM's final norm",
    "text_rotated_keys": "keys of the text behind the image, after the rotary embedding",
    "values": "values of the visual tokens in the layer before the cut",
    "text_values": "values of the text behind the image in the layer before the cut",
    "front_values": "values of what is in front of the image in the layer before the cut",
    "rotary_means": "mean cosine and mean sine of the rotary embedding at the positions of the visual tokens",
    "entered": "hidden states that entered the layer before the cut",
    "attended": "normalised hidden states after the attention of the layer before the cut",
    "places": "places of the visual tokens in the picture",
    "grid": "rows and columns of the visual tokens",
}


def titles() -> dict[str, str]:
    """{page: title} in the order of the table of methods."""
    return {f"methods/{name}.md": cls.title for name, cls in REDUCERS.own.items()}


def pages() -> dict[str, str]:
    """{page: Markdown} of every method, and the overview."""
    return {"methods/index.md": _overview(), **{f"methods/{name}.md": _page(name) for name in REDUCERS.own}}


def _overview() -> str:
    """The table of all methods."""
    rows = [
        f"| [{cls.title}]({name}.md) | `{name}` | {where(cls())} | {cls.summary} |"
        for name, cls in REDUCERS.own.items()
    ]
    return "\n".join(
        [
            "---",
            "hide: [toc]",
            "---",
            "# Methods",
            "",
            "Every method is one file in `vscan_core/reducers/`. It receives tensors and a budget in whole tokens and",
            "returns the tokens to keep; it never sees a model. These pages are generated from those files; budgets",
            "are computed by the methods themselves, for LLaVA-1.5 7B (576 visual tokens, 32 decoder layers).",
            "",
            "| method | name | where tokens are removed | what it does |",
            "|---|---|---|---|",
            *rows,
            "",
            "A method at the entrance of the language model can be followed by one inside it, and their retentions",
            "multiply: `VisPruner(retention=1/3).then(FastV(retention=1/2))` keeps one sixth.",
            "",
            "How to add one: [Contributing](../contributing.md); in a package of your own:",
            "[Methods in other packages](../third_party.md).",
            "",
            "## Released code",
            "",
            "Of the authors of each method, and of those that published tables name: a model answered with it (runs),",
            "a part ran, or a part is missing or fails (partial), it was not tried here (not run), or there is none.",
            "",
            "| method | released code | what was read or run | where |",
            "|---|---|---|---|",
            *(f"| {name} | {each.status} | {each.found} | {each.where} |" for name, each in released_code().items()),
            "",
        ]
    )


def _page(name: str) -> str:
    """The page of one method."""
    cls = REDUCERS[name]
    paper = linked(cls.paper) if cls.paper else "none; a baseline"
    sections = [
        f"# {cls.title}",
        f"{capital(cls.summary)}.",
        f"| | |\n|---|---|\n| Paper | {paper} |\n| Name | `{name}` |\n| Class | `{cls.__module__}.{cls.__name__}` |\n"
        f"| Tokens are removed | {where(cls())} |\n| Families that refuse it | {refusals(cls)} |\n"
        f"| Released code | {release_in_words(cls)} |",
        f'```python\nimport vscan_core as vc\n\nmethod = vc.REDUCERS["{name}"](retention=1 / 3)\n'
        "with vc.reduced(lvlm.model, method) as trace:\n    lvlm.model.generate(**inputs)\n```",
        *described(cls),
        f"## Signals\n\nOn LLaVA-1.5 7B. Models without CLS give the attention that each patch receives instead.\n\n"
        f"{signals(cls())}",
        f"## Budgets\n\nOn {LLAVA_TOKENS} visual tokens and {LLAVA_ANATOMY.text_layers} decoder layers (LLaVA-1.5 7B), "
        f"with default settings. Retention is the average over layers of the share of visual tokens that enter the "
        f"layer.\n\n"
        f"{budgets(cls)}",
        f"## Settings\n\n{settings(cls)}",
    ]
    return "\n\n".join(sections) + "\n"


def release_in_words(cls: type[Reducer]) -> str:
    """What is known of the authors' released code."""
    found = release_of(cls.title)
    return found.told if found else "none; a baseline"


def described(cls: type[Reducer]) -> list[str]:
    """The module's docstring as sections: what follows its first line, "Source:" and "But:"."""
    module = inspect.getmodule(cls)
    assert module is not None and module.__doc__ is not None
    sections: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(module.__doc__))[1:]:
        start = re.match(r"(Source|But)([:,]) *", paragraph)
        if start is None:
            sections.append(bulleted(paragraph))
            continue
        heading = "Source" if start[1] == "Source" else "Differences from the source"
        sections.append(f"## {heading}\n\n{bulleted(linked(capital(paragraph[start.end() :])))}")
    return sections


def bulleted(text: str) -> str:
    """Markdown needs a blank line before a list."""
    return re.sub(r"(?m)(?<=\S)\n(?=- )", "\n\n", text, count=1)


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def linked(text: str) -> str:
    """arXiv numbers as links."""
    return re.sub(r"arXiv[: ](\d{4}\.\d{5})(v\d)?", r"[arXiv \1\2](https://arxiv.org/abs/\1\2)", text)


def where(method: Reducer) -> str:
    """Where a method cuts on LLaVA-1.5 7B."""
    try:
        layers = method.cut_layers(LLAVA_ANATOMY)
    except InputError:
        layers = type(method)(1 / 2).cut_layers(LLAVA_ANATOMY)
    if method.needs(LLAVA_ANATOMY).blocks:
        return "inside the vision encoder"
    later = ", ".join(str(layer) for layer in layers if layer)
    at = f"at layer {later}" if later.isdigit() else f"at layers {later}"
    if 0 not in layers:
        return f"inside the LLM, {at}"
    return "at the entrance of the LLM" + (f" and inside it, {at}" if later else "")


def refusals(cls: type[Reducer]) -> str:
    """Families that lack a signal which the method needs."""
    needs = cls(1 / 2).needs(LLAVA_ANATOMY)
    refusing = []
    for name, family in FAMILIES.items():
        try:
            family.check(needs)
        except InputError:
            refusing.append(f"[{family.title}](../families/{name}.md)")
    return "all" if len(refusing) == len(FAMILIES) else ", ".join(refusing) or "none"


def signals(method: Reducer) -> str:
    """What the method looks at, at each kind of cut."""
    needs = method.needs(LLAVA_ANATOMY)
    first = [
        f"attention of CLS in vision layer {layer} (received attention without CLS)" for layer in needs.cls_attention
    ]
    first += [f"attention that each patch receives in vision layer {layer}" for layer in needs.received]
    first += [phrase for name, phrase in SIGNALS.items() if getattr(needs, name)]
    lines = []
    cuts = type(method)(1 / 2).cut_layers(LLAVA_ANATOMY)
    if 0 in cuts:
        lines.append(f"- At the entrance of the LLM: {'; '.join(first) or 'none'}.")
    if any(cuts):
        later = [LATER_SIGNALS[name] for name in sorted(method.needs_in_llm)]
        lines.append(f"- Inside the LLM: {'; '.join(later) or 'none'}.")
    return "\n".join(lines)


def budgets(cls: type[Reducer]) -> str:
    """The schedule of each retention, or why it cannot be reached."""
    rows = []
    for retention in RETENTIONS:
        try:
            cuts = cls(retention).schedule(LLAVA_TOKENS, LLAVA_ANATOMY)
        except InputError as error:
            rows.append(f"| {retention:.1%} | refused: {error} | |")
            continue
        spent = average(cuts, LLAVA_TOKENS, LLAVA_ANATOMY.text_layers)
        rows.append(f"| {retention:.1%} | {spans(cuts)} | {spent:.1f} |")
    return "\n".join(
        ["| retention | visual tokens that enter the layers | average per layer |", "|---|---|---|", *rows]
    )


def spans(cuts: dict[int, int]) -> str:
    """{0: 96, 16: 32} -> 96 (layers 0-15), 32 (layers 16-31)."""
    steps = sorted({0: LLAVA_TOKENS, **cuts}.items())
    ends = [layer for layer, _ in steps[1:]] + [LLAVA_ANATOMY.text_layers]
    return ", ".join(f"{keep} (layers {layer}-{end - 1})" for (layer, keep), end in zip(steps, ends, strict=True))


def settings(cls: type[Reducer]) -> str:
    """Name, type, default and meaning of every field, those that all methods share last."""
    told = {name: text for base in reversed(cls.__mro__) for name, text in comments(base).items()}
    shared = {field.name for field in fields(Reducer)}
    ordered = sorted((field for field in fields(cls) if field.init), key=lambda field: field.name in shared)
    rows = []
    for field in ordered:
        default = "" if field.default is MISSING else f"`{field.default!r}`"
        if field.name == "retention":
            default = "`1 / 9`"
        kind = str(field.type).replace(" | ", "` or `")
        rows.append(f"| `{field.name}` | `{kind}` | {default} | {told.get(field.name, '').replace('|', 'or')} |")
    return "\n".join(["| name | type | default | meaning |", "|---|---|---|---|", *rows])


def comments(cls: type) -> dict[str, str]:
    """{field: the comment after it} in the source of a class."""
    try:
        lines = inspect.getsource(cls).splitlines()
    except (OSError, TypeError):
        return {}
    starts = [(re.match(r"    (\w+): ", line), line) for line in lines]
    return {start[1]: text for start, line in starts if start and (text := comment(line))}
