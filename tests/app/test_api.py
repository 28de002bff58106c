"""The named endpoints, through the official client against a real server with the embedded model."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.stage.view import preview_view, stage_data
from tests.app.conftest import Server


@pytest.fixture(scope="module")
def client(mini_server: Server) -> Client:
    return Client(mini_server.url, verbose=False)


def ask(client: Client, image: str, **other: Any) -> Any:
    return client.predict(handle_file(image), api_name="/compare", **{"question": "What is there?"} | other)


def test_only_the_five_endpoints_are_public_and_documented(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/arena", "/ask", "/compare", "/overlay", "/sweep"}
    compare = endpoints["/compare"]
    names = [parameter["parameter_name"] for parameter in compare["parameters"]]
    assert names == ["image", "question", "retention", "model", "method", "max_new_tokens"]
    assert all(parameter["label"] and parameter["python_type"]["type"] for parameter in compare["parameters"])
    assert "twice" in compare["description"]


def test_compare_answers_twice_with_numbers_of_this_run(client: Client, picture_file: str) -> None:
    baseline, reduced, numbers = ask(client, picture_file, max_new_tokens=8)
    assert isinstance(baseline, str) and isinstance(reduced, str)
    runs = numbers["baseline"], numbers["vscan"]
    assert set(runs[0]["visual_tokens_per_layer"]) == {576}
    layers = len(runs[1]["visual_tokens_per_layer"])
    assert sum(runs[1]["visual_tokens_per_layer"]) / layers == pytest.approx(64, abs=1)
    for name in ("prefill_ms", "kv_bytes", "tflops"):
        assert 0 < runs[1][name] < runs[0][name] or name == "prefill_ms"
    assert runs[0]["reduce_ms"] == 0 < runs[1]["reduce_ms"]


def test_ask_answers_once_as_compare_does(client: Client, picture_file: str) -> None:
    baseline, reduced, _ = ask(client, picture_file, max_new_tokens=8)
    asked = handle_file(picture_file), "What is there?", 1 / 9, "mini"
    text, counts = client.predict(*asked, "vscan", 8, api_name="/ask")
    assert text == reduced and counts["visual_tokens_per_layer"][-1] < 64
    text, counts = client.predict(*asked, "baseline", 8, api_name="/ask")
    assert text == baseline and set(counts["visual_tokens_per_layer"]) == {576}
    for method, limit, sentence in (("nobody", 8, "There is no method"), ("vscan", 0, "from 1 to 64")):
        with pytest.raises(AppError, match=sentence):
            client.predict(*asked, method, limit, api_name="/ask")


def test_compare_streams(client: Client, picture_file: str) -> None:
    job = client.submit(handle_file(picture_file), "Describe the picture.", 0.2, api_name="/compare")
    job.result(timeout=60)
    assert len(job.outputs()) >= 4


def test_arena_streams_the_numbers_of_every_run(client: Client, picture_file: str) -> None:
    endpoint = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/arena"]
    names = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
    assert names == ["image", "question", "retention", "methods", "model"] and "each method" in endpoint["description"]
    job = client.submit(handle_file(picture_file), "What is there?", 0.2, ["vscan"], "mini", api_name="/arena")
    found = job.result(timeout=60)
    baseline, reduced = found["runs"]
    assert found["ended"] and (baseline["method"], reduced["method"]) == ("baseline", "vscan")
    assert reduced["ratios"]["kv_bytes"] > 1 and reduced["visual_token_steps"][0] == 173
    assert found["settings"]["retention"] == 0.2 and found["versions"]["torch"]
    assert len(job.outputs()) == 2


def test_arena_refuses_what_it_does_not_know(client: Client, picture_file: str) -> None:
    for retention, methods in ((0, ["vscan"]), (0.2, []), (0.2, ["magic"])):
        with pytest.raises(Exception, match=r"above 0|at least one method|not in the list"):
            client.predict(handle_file(picture_file), "What?", retention, methods, "mini", api_name="/arena")


def test_sweep_streams_the_numbers_of_every_retention(client: Client, picture_file: str) -> None:
    job = client.submit(handle_file(picture_file), "What is there?", "0.111, 0.5, 0.5", api_name="/sweep")
    found = job.result(timeout=60)
    assert [run["retention"] for run in found["runs"]] == [None, 0.5, 0.111] and found["ended"]
    assert [run["visual_token_steps"] for run in found["runs"][1:]] == [[432, 144], [96, 32]]
    assert {run["method"] for run in found["runs"]} == {"baseline", "vscan"} and found["settings"]["method"] == "vscan"
    assert len(job.outputs()) == 3


@pytest.mark.parametrize(
    ("shares", "method", "sentence"),
    [
        ("0.5, much", "vscan", "numbers with commas"),
        ("0.5, nan", "vscan", "above 0"),
        ("1.5", "vscan", "above 0"),
        (",".join(str(n / 30) for n in range(1, 30)), "vscan", "between 1 and 20"),
        ("0.5", "magic", "no method"),
    ],
)
def test_sweep_refuses_what_it_does_not_know(
    client: Client, picture_file: str, shares: str, method: str, sentence: str
) -> None:
    with pytest.raises(Exception, match=sentence):
        client.predict(handle_file(picture_file), "What?", shares, "mini", method, api_name="/sweep")


def test_overlay_counts_add_up(client: Client, picture_file: str) -> None:
    path, counts = client.predict(handle_file(picture_file), 0.2, api_name="/overlay")
    assert sum(counts["first_cut"].values()) == counts["tokens"] == 576
    assert counts["first_cut"]["global"] + counts["first_cut"]["local"] == counts["schedule"]["0"] == 173
    with Image.open(path) as image:
        assert max(image.size) == 1008


def test_a_second_look_at_a_picture_runs_no_encoder(mini_server: Server, picture_file: str, monkeypatch) -> None:
    """As the slider asks: the preview, and what the stage shows of it."""
    session = mini_server.session
    session.preview("mini", session.open(picture_file), 0.1)
    monkeypatch.setattr(session.engine, "encode", None)  # calling it would fail
    for retention in (0.15, 0.2, 0.25):
        opened = session.open(picture_file)
        drawn = stage_data(opened, preview_view(session.preview("mini", opened, retention), retention))
        assert drawn["retention"] == retention


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"retention": 0}, "retention must be above 0"),
        ({"retention": 1.5}, "retention must be above 0"),
        ({"question": ""}, "question is empty"),
        ({"question": "x" * 5000}, "characters"),
        ({"question": "a <image> b"}, "control token"),
        ({"model": "../../etc/passwd"}, "no such model"),
        ({"method": "magic"}, "no method 'magic'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    client: Client, picture_file: str, other: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Exception, match=sentence) as caught:
        ask(client, picture_file, **other)
    assert "Traceback" not in str(caught.value)


def test_bad_pictures_are_refused(client: Client, tmp_path: Any, picture_file: str) -> None:
    (tmp_path / "a.png").write_bytes(b"this is text")
    with pytest.raises(Exception, match="not a picture"):
        ask(client, str(tmp_path / "a.png"))
    Image.new("RGB", (1, 5000)).save(tmp_path / "thin.png")
    with pytest.raises(Exception, match="1 x 5000"):
        ask(client, str(tmp_path / "thin.png"))
    assert ask(client, picture_file, max_new_tokens=1)


def test_files_of_the_server_and_of_other_servers_stay_closed(mini_server: Server) -> None:
    for path, status in (("file=/etc/passwd", 403), ("file=http://example.org/a.png", 403)):
        assert httpx.get(f"{mini_server.url}gradio_api/{path}").status_code == status
    data = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    answer = httpx.post(f"{mini_server.url}gradio_api/call/overlay", json={"data": [data, 0.2, "mini", "vscan"]})
    assert answer.status_code == 400 and "uploaded files" in answer.text
    assert httpx.get(f"{mini_server.url}healthz").json() == {"status": "ok"}
    assert httpx.get(f"{mini_server.url}monitoring/summary").status_code in (403, 404)
