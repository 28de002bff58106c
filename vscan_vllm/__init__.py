"""Visual token reduction inside vLLM: unmodified, out of its tree, with method and rate per request.

Installed with `pip install 'vscan-core[vllm]'`, found by vLLM through its entry points, and started by `vscan-vllm`.
docs/serving.md says what it can and cannot do.
"""

ARCHITECTURES = {  # of this package -> where its class is; the stock architecture has the name without "VScan"
    "VScanLlavaForConditionalGeneration": "vscan_vllm.llava:VScanLlava",
    "VScanLlavaNextForConditionalGeneration": "vscan_vllm.llava_next:VScanLlavaNext",
    "VScanInternVLForConditionalGeneration": "vscan_vllm.internvl:VScanInternVL",
    "VScanQwen2_5_VLForConditionalGeneration": "vscan_vllm.qwen2_5_vl:VScanQwen25VL",
    "VScanQwen3VLForConditionalGeneration": "vscan_vllm.qwen3_vl:VScanQwen3VL",
}


def register() -> None:
    """Make these architectures known to vLLM, which calls this in every process; stock ones stay as they are."""
    from vllm import ModelRegistry

    known = ModelRegistry.get_supported_archs()
    for name, where in ARCHITECTURES.items():
        if name not in known:
            ModelRegistry.register_model(name, where)
