"""What can be said of the image and of what watches it without a container engine."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server.settings import Settings
from deploy.check_space import TEST_TOOLS
from deploy.torch_apart import split_lock

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
LOCKS = ("requirements.lock", "requirements-kernels.lock")


def arguments(instruction: str) -> list[str]:
    """What follows an instruction, each time it is given."""
    return [step.partition(" ")[2].strip() for step in STEPS if step.partition(" ")[0] == instruction]


def loaded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return found


def pins(lock: str) -> dict[str, str]:
    """{package: version}; of a package with several entries the last."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, re.MULTILINE))


def test_every_stage_begins_with_the_one_digest() -> None:
    assert set(arguments("FROM")) == {"${PYTHON_IMAGE} AS packages", "${PYTHON_IMAGE} AS demo"}
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11[\w.-]*@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_as_a_number_and_says_whether_it_is_well() -> None:
    last = DOCKERFILE.partition("AS demo")[2]
    (user,), (health,), (command,) = arguments("USER"), arguments("HEALTHCHECK"), arguments("CMD")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) and last.index("USER") < last.index("CMD")
    assert "/healthz" in health and json.loads(health.partition("CMD ")[2])[0] == "python"
    assert json.loads(command) == ["python", "-m", "app", "--host", "0.0.0.0", "--port", "7860"]


def test_what_is_copied_is_there_and_no_more_is_seen() -> None:
    seen = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [word for step in arguments("COPY") if "--from" not in step for word in step.split()[:-1]]
    assert sorted(sources) == sorted(seen) and all((ROOT / name).exists() for name in sources)
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines(), "all else is hidden"
    assert not any(fnmatch.fnmatch(name, "tests*") for name in sources)


@pytest.mark.parametrize("name", LOCKS)
def test_no_tools_for_tests_and_every_file_by_its_hash(name) -> None:
    lock = (ROOT / name).read_text()
    entries = [entry for entry in re.split(r"\n(?=\S)", lock) if not entry.startswith("#")]
    assert all("--hash=sha256:" in entry for entry in entries) and "://" not in lock
    assert not [package for package in pins(lock) if TEST_TOOLS.match(package)]


def test_packages_come_as_wheels_by_hash_and_torch_alone_by_its_version() -> None:
    installs = re.findall(r"uv pip install [^&;]*", "\n".join(arguments("RUN")))
    assert len(installs) == 3 and all("--no-build" in install for install in installs), "nothing is compiled"
    assert [install.split()[-1] for install in installs if "--require-hashes" not in install] == ["torch.txt"]


def test_both_locks_agree() -> None:
    first, second = (pins((ROOT / name).read_text()) for name in LOCKS)
    shared = first.keys() & second.keys()
    assert shared and {name: first[name] for name in shared} == {name: second[name] for name in shared}
    assert "kernels" in second and "flash-attn" not in second, "flash-attn has to be compiled"


def test_torch_is_taken_apart_with_all_that_only_cuda_needs(tmp_path) -> None:
    rest, torch = tmp_path / "rest", tmp_path / "torch"
    lock = ROOT / "requirements.lock"
    command = [sys.executable, "-S", "torch_apart.py", str(lock), str(rest), str(torch)]
    subprocess.run(command, cwd=ROOT / "deploy", check=True)
    before, after = pins(lock.read_text()), pins(rest.read_text())
    gone = before.keys() - after.keys()
    assert torch.read_text() == f"torch=={before['torch']}\n"
    assert {"torch", "triton", "nvidia-cublas"} <= gone and not gone & {"numpy", "tqdm", "transformers"}
    assert len(rest.read_text().split("--hash")) < len(lock.read_text().split("--hash"))


def test_a_lock_without_torch_is_refused() -> None:
    with pytest.raises(ValueError, match="pins torch 0 times"):
        split_lock("numpy==2.4.6 \\\n    --hash=sha256:00\n")


def test_the_demos_container_can_be_read_only() -> None:
    demo = loaded("compose.yaml")["services"]["demo"]
    assert demo["read_only"] and demo["cap_drop"] == ["ALL"] and demo["mem_limit"] and demo["pids_limit"]
    written = dict(re.findall(r"(HOME|HF_HOME|GRADIO_TEMP_DIR)=(\S+)", DOCKERFILE))
    kept = [volume.split(":")[1] for volume in demo["volumes"]] + [place.split(":")[0] for place in demo["tmpfs"]]
    assert len(written) == 3 and all(any(path.startswith(place) for place in kept) for path in written.values())
    assert f"mkdir {demo['volumes'][0].split(':')[1]} " in DOCKERFILE, "the volume belongs to the user"


def test_settings_in_compose_are_the_demos_own() -> None:
    demo = loaded("compose.yaml")["services"]["demo"]
    names = {name.removeprefix("VSCAN_").lower() for name in demo["environment"]}
    assert names <= Settings.model_fields.keys()
    drain_s = float(demo["environment"]["VSCAN_DRAIN_SECONDS"])
    assert drain_s < float(demo["stop_grace_period"].removesuffix("s")), "docker kills what is not gone by then"


def test_only_the_demo_is_reached_from_outside() -> None:
    services = loaded("compose.yaml")["services"]
    open_ports = {name: service["ports"] for name, service in services.items()}
    assert open_ports.pop("demo") == ["7860:7860"]
    assert all(port.startswith("127.0.0.1:") for ports in open_ports.values() for port in ports)
    assert all(re.search(r":v?\d+\.\d+\.\d+$", services[name]["image"]) for name in open_ports), "a version, not latest"


def test_what_compose_mounts_is_there_and_the_parts_find_each_other() -> None:
    services = loaded("compose.yaml")["services"]
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in loaded("compose.yaml")["volumes"] or (ROOT / source).exists()
    (job,) = loaded("deploy/prometheus.yml")["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["demo:7860"]
    (source,) = loaded("deploy/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090" and {"demo", "prometheus"} < services.keys()
    assert loaded("compose.gpu.yaml")["services"].keys() == {"demo"}


def measured() -> set[str]:
    """The names of all figures that a demo has, as Prometheus sees them."""
    from app.server.metrics import Meters

    meters = Meters()
    meters.watch_models((), lambda _: False)
    families = list(meters.registry.collect())
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{family.name}{end}" for family in families for end in suffixes.get(family.type, ("",))}


def test_the_dashboard_and_the_alerts_ask_for_what_the_demo_measures() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/vscan.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in loaded("deploy/alerts.yml")["groups"] for rule in group["rules"]]
    names = {name for expr in asked for name in re.findall(r"\b(?:vscan|process)_[a-z_]+", expr)}
    assert len(names) >= 9 and names <= measured() | {"process_resident_memory_bytes"}


def test_the_panels_do_not_overlap_and_use_the_one_data_source() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/vscan.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells and max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["datasource"]["uid"] == "prometheus" and panel["title"]
