"""What is said of an object, as numbers for one more token (DexGrasp Anything, Sec. 3.2: its LLM-enhanced features).

A language model describes an object in a few sentences, a text encoder embeds each, and of every number the largest is
taken. Descriptions are kept in a JSON file, so that the language model is asked once, or not at all.

The authors' files (`<dataset>_gpt4o_mini.json`) are such files. Their code parts texts at line ends alone, and takes
the first token of each part; here it is the mean over all tokens, as in sentence-transformers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dexgrasp_common.parameters import param
from dexgrasp_common.report import write_report
from numpy.typing import NDArray

from dexgrasp_planner.errors import PlannerError

_ASKED = (
    "Describe the object '{name}' for a robot hand that is to grasp it. Write five short sentences, one on each line: "
    "its overall shape and size, its parts, what it is made of, how its weight is spread, and where and how a human "
    "hand would hold it. Write nothing else."
)
_MOST_TOKENS = 128  # of a sentence
_MARK = re.compile(r"^[ \t]*(?:[-*•]|\d+[.)])[ \t]+", re.MULTILINE)  # of a list
_END = re.compile(r"\n|(?<=[.!?])\s+")  # of a sentence
_QUOTED = 200  # characters of an answer that is an error


class TextError(PlannerError):
    """A description or an embedding cannot be had."""


@dataclass(frozen=True)
class Endpoint:
    """Anything that speaks OpenAI's chat completions."""

    url: str = param("", "up to /v1, as in http://localhost:8000/v1; empty: nobody is asked")
    model: str = param("", "name of the language model there")
    key: str = param("OPENAI_API_KEY", "environment variable that holds the key, if one is wanted")
    timeout: float = param(60.0, "how long to wait for an answer [s]", range=(0.01, 3600.0))

    def describe(self, name: str) -> str:
        """What the language model says of an object, a sentence on each line.

        Raises:
            TextError: It cannot be reached in time, refuses, or answers something else.
        """
        address = f"{self.url.rstrip('/')}/chat/completions"
        if not address.startswith(("http://", "https://")):
            raise TextError(f"{self.url!r} is no http address of a language model.")
        if not self.model:
            raise TextError(f"Which model of {self.url} is to describe objects? Give its name beside the URL.")
        question = {"model": self.model, "messages": [{"role": "user", "content": _ASKED.format(name=name)}]}
        try:
            request = urllib.request.Request(
                address, json.dumps(question).encode(), {"Content-Type": "application/json"}
            )
            if key := self._secret():  # which goes nowhere that this address may point to
                request.add_unredirected_header("Authorization", f"Bearer {key}")
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason} {_beginning(error)}".strip()
            raise TextError(f"{address} refuses to describe {name!r}: {reason}") from error
        except (OSError, HTTPException, ValueError) as error:  # not there, too slow, no HTTP, or no address at all
            raise TextError(f"{address} does not answer: {error}. Is it running, and the URL right?") from error
        try:
            said = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise TextError(f"{address} answers, but not as chat completions do ({error!r}).") from error
        if not isinstance(said, str) or not said.strip():
            raise TextError(f"{address} says nothing of {name!r}.")
        return said.strip()

    def _secret(self) -> str:
        """The key, empty if there is none. It is looked at here, as errors of the HTTP library would print it."""
        key = os.environ.get(self.key, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise TextError(f"What stands in the environment variable {self.key} is no key: it has odd characters.")
        return key


class Descriptions:
    """Descriptions by object's name, in a JSON file.

    Args:
        path: The file; it may not be there yet.
        endpoint: Who describes what is not in it; without a URL: nobody.

    Raises:
        TextError: The file is damaged, or holds anything but text by name.
    """

    def __init__(self, path: Path, endpoint: Endpoint | None = None) -> None:
        self._path, self._endpoint = path.expanduser(), endpoint or Endpoint()
        try:
            self._texts: dict[str, str] = (
                json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
            )
        except (OSError, ValueError) as error:
            raise TextError(f"{self._path} cannot be read as JSON ({error}); mend it or remove it.") from error
        if not isinstance(self._texts, dict) or not all(isinstance(text, str) for text in self._texts.values()):
            raise TextError(f"{self._path} is to hold one text for each object's name, and nothing else.")

    def of(self, name: str) -> str:
        """What is said of an object. What had to be asked is written to the file at once.

        Raises:
            TextError: Nothing is known of it, and nobody can be asked, or answers, or the answer cannot be kept.
        """
        if name not in self._texts:
            if not self._endpoint.url:
                raise TextError(
                    f'{self._path} says nothing of {name!r}; add "{name}": "its description" to it, or give the URL '
                    "of a language model."
                )
            self.add(name, self._endpoint.describe(name))
        return self._texts[name]

    def add(self, name: str, text: str) -> None:
        """Say something of an object, in place of what was said before, and write it to the file.

        Raises:
            TextError: The file cannot be written.
        """
        texts = self._texts | {name: text}
        try:
            write_report(self._path, dict(sorted(texts.items())))
        except OSError as error:
            raise TextError(f"What is said of {name!r} cannot be kept in {self._path}: {error}") from error
        self._texts = texts


class TextEncoder:
    """Embeds sentences with a model of the library `transformers`, from a folder on this machine.

    Args:
        folder: With tokenizer and weights (safetensors), as `save_pretrained` writes them.

    Attributes:
        width: Numbers of an embedding.
        digest: Sixteen hexadecimal digits that stand for the weights.

    Raises:
        TextError: `transformers` is not installed, or the folder is not there, cannot be read, or holds something else.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise TextError("Text needs the library transformers: pip install transformers.") from error
        if not folder.is_dir():  # else it would be looked for by this name among what was once downloaded
            raise TextError(f"{folder} is no folder with a text encoder.")
        where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **where)
            self._model = AutoModel.from_pretrained(str(folder), use_safetensors=True, **where).eval()
            self.width = len(self.embed("An object.\nIt has sentences of unequal length."))
        except Exception as error:  # errors of transformers, of tokenizers and of weights share no base class
            raise TextError(f"{folder} holds no text encoder that transformers can run: {error}") from error
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        self.digest = digest.hexdigest()[:16]

    def embed(self, text: str) -> NDArray[np.float32]:
        """The largest of each number over the sentences (W,), each of which is the mean over its tokens.

        Raises:
            TextError: There is no sentence.
        """
        parts = sentences(text)
        if not parts:
            raise TextError("A description without a sentence cannot be embedded.")
        most = min(_MOST_TOKENS, self._tokenizer.model_max_length)
        tokens = self._tokenizer(parts, padding=True, truncation=True, max_length=most, return_tensors="pt")
        with torch.no_grad():
            states = self._model(**tokens).last_hidden_state.float()
        counts = tokens["attention_mask"].unsqueeze(-1).float()
        means = (counts * states).sum(dim=1) / counts.sum(dim=1).clamp_min(1.0)
        largest: NDArray[np.float32] = means.amax(dim=0).numpy()
        return largest


def sentences(text: str) -> list[str]:
    """The sentences of a description: they end with a line, or with a mark and a space. Marks of lists are left out."""
    return [part.strip() for part in _END.split(_MARK.sub("", text)) if part.strip()]


def _beginning(error: urllib.error.HTTPError) -> str:
    """Of what a server says beside its status, where it mostly tells what it lacks; empty where it does not."""
    try:
        return " ".join(error.read(_QUOTED).decode(errors="replace").split())
    except (OSError, HTTPException):
        return ""
