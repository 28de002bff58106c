"""The entry point through which lmms-eval finds this library; lmms-eval is imported only when it asks."""

from typing import Any


def lmms_eval_manifest() -> Any:
    """The manifest that lmms-eval expects from its entry points: the model's name, and the path of its class."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="vscan", chat_class_path="vscan_eval.lmms_eval.VScanModel")
