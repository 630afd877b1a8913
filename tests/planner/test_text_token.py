"""Descriptions kept and asked for over HTTP, and their embeddings against what they are by definition."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dexgrasp_planner.object_level.text_token import Descriptions, Endpoint, TextEncoder, TextError


class Model:
    """A language model's server: what it answers, and what it was asked."""

    def __init__(self) -> None:
        self.status, self.delay, self.asked = 200, 0.0, list[tuple[str, str | None, Any]]()
        self.body: bytes = json.dumps({"choices": [{"message": {"content": "A can.\nRound and tall.\n"}}]}).encode()
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.asked.append((self.path, self.headers["Authorization"], content))
                time.sleep(model.delay)
                self.send_response(model.status)
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
    with pytest.raises(TextError, match="says nothing of 'mug_0'.*URL"):
        Descriptions(path).of("mug_0")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"", "refuses to describe 'can_0': 500"),
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
    with pytest.raises(TextError, match="no http address"):
        Endpoint("file:///etc", "m").describe("can_0")


@pytest.mark.parametrize("content", ["{", "[1]", '{"can_0": 3}'])
def test_damaged_files_are_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "said.json").write_text(content)
    with pytest.raises(TextError, match=r"said\.json"):
        Descriptions(tmp_path / "said.json")


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
    with pytest.raises(TextError, match="no text encoder"):
        TextEncoder(tmp_path / "nothing")
