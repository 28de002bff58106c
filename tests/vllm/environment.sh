#!/bin/sh
# From nothing, the environment in which vLLM and this library run on CPUs: tests/vllm/environment.sh [folder] [python]
# Takes minutes and 3.6 GB. vLLM wants other versions of transformers and pillow than the demo: never install both in one.
set -eu
folder=${1:-.venv-vllm}
here=$(cd "$(dirname "$0")" && pwd)
test -x "$folder/bin/python" || "${2:-python3}" -m venv "$folder"
pip="$folder/bin/python -m pip"
$pip install --progress-bar off -r "$here/requirements.txt"
# built for CUDA, they do not load beside a torch for CPUs; vLLM works without
$pip uninstall --quiet --yes torchaudio torchcodec
# so is torchvision, but LLaVA's processors need its pure Python parts
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cp "$here/torchvision_on_cpu.py" "$site/"
echo "import torchvision_on_cpu" >"$site/torchvision_on_cpu.pth"
$pip install --quiet --no-deps --editable "$here/../.."
touch "$folder/ready"
