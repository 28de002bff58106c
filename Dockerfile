# The demo in a container. On a CPU, with the embedded model:
#   docker build -t vscan . && docker run --rm -p 7860:7860 vscan
# On an NVIDIA GPU, with attention kernels that were compiled elsewhere:
#   docker build -t vscan:cuda --build-arg TORCH_BACKEND=cu130 --build-arg KERNELS=yes .

# Tag and digest name the same image; the digest decides. `docker buildx imagetools inspect TAG` prints a newer one.
ARG PYTHON_IMAGE=python:3.11.16-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

FROM ${PYTHON_IMAGE} AS packages
# cpu, or what the GPU's driver supports: cu126, cu130
ARG TORCH_BACKEND=cpu
# an index of torch's wheels to use in place of the public one of TORCH_BACKEND
ARG TORCH_INDEX=""
# yes: the package that fetches compiled attention kernels from the Hugging Face Hub
ARG KERNELS=no
ENV UV_NO_CACHE=1 UV_NO_PROGRESS=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/opt/venv
RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.9 && uv venv --python /usr/local/bin/python /opt/venv
WORKDIR /build
COPY requirements.lock requirements-kernels.lock deploy/torch_apart.py ./
# Every package by its hash, then torch, of which each backend has its own. Nothing is ever compiled here.
RUN python torch_apart.py requirements.lock packages.lock torch.txt \
    && uv pip install --no-build --no-deps --require-hashes -r packages.lock \
    && if [ -n "${TORCH_INDEX}" ]; then from="--index=${TORCH_INDEX}"; else from="--torch-backend=${TORCH_BACKEND}"; fi \
    && uv pip install --no-build "${from}" -r torch.txt \
    && if [ "${KERNELS}" = yes ]; then uv pip install --no-build --no-deps --require-hashes -r requirements-kernels.lock; fi \
    && uv pip check

FROM ${PYTHON_IMAGE} AS demo
# everything that is written lies in /data (keep it) and /tmp (forget it): the rest may be read-only
ENV PATH=/opt/venv/bin:${PATH} HOME=/tmp HF_HOME=/data/huggingface GRADIO_TEMP_DIR=/tmp/gradio \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRADIO_ANALYTICS_ENABLED=False
RUN mkdir /data && chown 1000:1000 /data
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY assets assets
COPY vscan_core vscan_core
COPY vscan_eval vscan_eval
COPY app app
RUN python -m compileall -q app vscan_core vscan_eval
USER 1000:1000
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "7860"]
