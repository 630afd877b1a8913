"""Descriptions kept and asked for over HTTP, and their embeddings against what they are by definition."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dexgrasp_planner.object_level.text_token import Descriptions, Endpoint, TextEncoder, TextError, sentences
from safetensors.torch import load_file, save_file


class Model:
    """A language model's server: what it answers, and what it was asked."""

    def __init__(self) -> None:
        self.status, self.delay, self.asked = 200, 0.0, list[tuple[str, str | None, Any]]()
        self.elsewhere = ""  # where it sends whoever asks
        self.body: bytes = json.dumps({"choices": [{"message": {"content": "A can.\nRound and tall.\n"}}]}).encode()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.asked.append((self.path, self.headers["Authorization"], content))
                time.sleep(model.delay)
                self.send_response(model.status)
                if model.elsewhere:
                    self.send_header("Location", model.elsewhere)
                self.end_headers()
                self.wfile.write(model.body)

            def do_GET(self) -> None:
                model.asked.append((self.path, self.headers["Authorization"], None))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(model.body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_an_object_is_asked_for_once_and_then_known(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    path = tmp_path / "folder" / "said.json"
    endpoint = Endpoint(model.url, "some-model", "SOME_KEY")
    assert Descriptions(path, endpoint).of("can_0") == "A can.\nRound and tall."
    ((address, key, question),) = model.asked
    assert (address, key, question["model"]) == ("/v1/chat/completions", "Bearer secret", "some-model")
    assert "can_0" in question["messages"][0]["content"]
    assert Descriptions(path).of("can_0") == "A can.\nRound and tall.", "from the file alone"
    with pytest.raises(TextError, match="says nothing of 'mug_0'.*add \"mug_0\":.*URL"):
        Descriptions(path).of("mug_0")


def test_what_is_added_stays_beside_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "said.json"
    path.write_text('{"can_0": "Gr\u00fcn."}', encoding="utf-8")
    known = Descriptions(path)
    known.add("mug_0", "A mug.")
    known.add("mug_0", "A big mug.")
    assert json.loads(path.read_text()) == {"can_0": "Gr\u00fcn.", "mug_0": "A big mug."}
    assert [file.name for file in tmp_path.iterdir()] == ["said.json"], "no temporary file stays"
    (tmp_path / "file").write_text("")
    nowhere = Descriptions(tmp_path / "file" / "said.json")
    with pytest.raises(TextError, match="cannot be kept"):
        nowhere.add("mug_0", "A mug.")
    with pytest.raises(TextError, match="says nothing of 'mug_0'"):
        nowhere.of("mug_0")


def test_a_key_goes_to_its_address_alone_and_is_not_printed(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(model.url, "m", "SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "secret\n")  # as from a file
    model.status, model.elsewhere = 302, f"{model.url}/elsewhere"
    assert endpoint.describe("can_0").startswith("A can.")
    assert [key for _, key, _ in model.asked] == ["Bearer secret", None]
    for odd in ("sec\nret", "s\u00e9cret"):
        monkeypatch.setenv("SOME_KEY", odd)
        with pytest.raises(TextError, match="SOME_KEY is no key") as caught:
            endpoint.describe("can_0")
        assert odd not in str(caught.value)
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "refuses to describe 'can_0': 500"),
        (404, b'{"error": "no model m"}', "refuses to describe 'can_0': 404 Not Found .*no model m"),
        (200, b"\xff", "not as chat completions do"),
        (200, b'["choices"]', "not as chat completions do"),
        (200, b"not JSON", "not as chat completions do"),
        (200, b'{"choices": []}', "not as chat completions do"),
        (200, b'{"choices": [{"message": {"content": null}}]}', "says nothing of"),
    ],
)
def test_what_is_no_answer_is_said_and_not_kept(
    model: Model, tmp_path: Path, status: int, body: bytes, said: str
) -> None:
    model.status, model.body = status, body
    with pytest.raises(TextError, match=said):
        Descriptions(tmp_path / "said.json", Endpoint(model.url, "m")).of("can_0")
    assert not (tmp_path / "said.json").exists()


def test_nobody_there_too_slow_and_no_address(model: Model, tmp_path: Path) -> None:
    model.delay = 1.0
    with pytest.raises(TextError, match="does not answer"):
        Endpoint(model.url, "m", timeout=0.1).describe("can_0")
    with pytest.raises(TextError, match="does not answer"):
        Endpoint("http://127.0.0.1:9/v1", "m", timeout=5.0).describe("can_0")
    for address in ("http://127.0.0.1:port/v1", "http://a b/v1"):
        with pytest.raises(TextError, match="does not answer"):
            Endpoint(address, "m", timeout=5.0).describe("can_0")
    with pytest.raises(TextError, match="no http address"):
        Endpoint("file:///etc", "m").describe("can_0")
    with pytest.raises(TextError, match="Which model"):
        Endpoint(model.url).describe("can_0")


def test_what_is_no_http_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(TextError, match="does not answer"):
            Endpoint(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "m", timeout=5.0).describe("can_0")


@pytest.mark.parametrize("content", ["{", "[1]", '{"can_0": 3}'])
def test_damaged_files_are_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "said.json").write_text(content)
    with pytest.raises(TextError, match=r"said\.json"):
        Descriptions(tmp_path / "said.json")


def test_sentences_end_with_lines_or_marks_and_are_without_those_of_lists() -> None:
    text = "1. A mug, 9.5 cm tall.\n\n- One handle! Is it round?  Yes\n* Steel\n"
    assert sentences(text) == ["A mug, 9.5 cm tall.", "One handle!", "Is it round?", "Yes", "Steel"]
    assert sentences(" \n ") == []


def test_embeddings_are_the_largest_over_sentences_of_means_over_tokens(text_encoder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    encoder = TextEncoder(text_encoder)
    sentences = ["a can", "round and tall and round"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(text_encoder)
    bare = transformers.AutoModel.from_pretrained(text_encoder).eval()
    with torch.no_grad():
        alone = [bare(**tokenizer(one, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for one in sentences]
    found = encoder.embed("\n a can \n\nround and tall and round\n")
    assert found.shape == (encoder.width,)
    np.testing.assert_allclose(found, torch.stack(alone).amax(dim=0).numpy(), atol=1e-5)
    with pytest.raises(TextError, match="without a sentence"):
        encoder.embed(" \n ")
    with pytest.raises(TextError, match="no folder with a text encoder"):
        TextEncoder(tmp_path / "nothing")
    damaged = tmp_path / "damaged"
    shutil.copytree(text_encoder, damaged)
    (damaged / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(TextError, match="holds no text encoder"):
        TextEncoder(damaged)


def test_weights_have_a_digest_whatever_lies_beside_them(text_encoder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(text_encoder, copied)
    (copied / "README.md").write_text("A copy.")
    assert TextEncoder(copied).digest == TextEncoder(text_encoder).digest
    weights = load_file(copied / "model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1.0}, copied / "model.safetensors", {"format": "pt"})
    assert TextEncoder(copied).digest != TextEncoder(text_encoder).digest


def test_without_the_library_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TextError, match="pip install transformers"):
        TextEncoder(tmp_path)
