"""The tokenizer: byte-level BPE over the words of the world, lower case, without unknown tokens."""

from __future__ import annotations

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from vscan_eval.world.catalog import (
    BACKGROUNDS,
    COLOUR_NAMES,
    COLUMN_NAMES,
    COUNT_WORDS,
    GROUPS,
    ROW_NAMES,
    SIGN_TEXTS,
    THING_KINDS,
)
from vscan_eval.world.phrasings import PHRASINGS, RELATIONS
from vscan_eval.world.questions import NO_THING

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
VOCABULARY = 1024
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] | upper }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}<image>\n{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% else %} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
# Common words beyond the templates, so that a question in other words is not split into letters.
MORE_WORDS = (
    "user assistant a an the this that of and or with no yes not any image photo scene object please "
    "tell me name their who why when are was has have it its near next between much big small say word"
)


def corpus() -> list[str]:
    """Every word of the world, singular, with the space before it that it has in a sentence."""
    names = [
        *THING_KINDS,
        *COLOUR_NAMES,
        *SIGN_TEXTS,
        *BACKGROUNDS,
        *COUNT_WORDS,
        *ROW_NAMES,
        *COLUMN_NAMES,
        *GROUPS,
        NO_THING,
    ]
    sentences = " ".join(text for texts in PHRASINGS.values() for text in texts)
    for slot in ("{a}", "{group}", "{name}", "{place}", "{relation}", "{names}", "{other}"):
        sentences = sentences.replace(slot, "")
    return [" " + word for word in [*names, *MORE_WORDS.split(), *RELATIONS] for _ in range(20)] + [sentences] * 20


def build_tokenizer() -> PreTrainedTokenizerFast:
    """At most 1024 entries; category, colour and place words are one token each."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    # White space becomes one space, so that the first word after "<image>\n" is the same token as elsewhere.
    core.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), normalizers.Lowercase()]
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(corpus(), trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        clean_up_tokenization_spaces=False,
        padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=1024,
    )


def prompt_text(question: str) -> str:
    """The prompt that the chat template produces for one question about one picture."""
    return f"USER: <image>\n{question} ASSISTANT:"
