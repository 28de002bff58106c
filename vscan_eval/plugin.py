"""The entry point that lmms-eval looks for; nothing else imports this file."""

from typing import Any


def lmms_eval_manifest() -> Any:
    """What lmms-eval asks its entry point for: the name of the model, and where its class is once it is wanted."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vscan", chat_class_path="vscan_eval.lmms_eval.VScanModel")
