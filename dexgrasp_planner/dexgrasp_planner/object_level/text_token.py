"""What is said of an object, as numbers for one more token (DexGrasp Anything, Sec. 3.2: its LLM-enhanced features).

A language model describes an object in a few sentences, a text encoder embeds each, and of every number the largest is
taken. Descriptions are kept in a JSON file, so that the language model is asked once, or not at all.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
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
        question = {"model": self.model, "messages": [{"role": "user", "content": _ASKED.format(name=name)}]}
        headers = {"Content-Type": "application/json"}
        if os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {os.environ[self.key]}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        if not address.startswith(("http://", "https://")):
            raise TextError(f"{self.url!r} is no http address of a language model.")
        request = urllib.request.Request(address, json.dumps(question).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                said = json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            raise TextError(f"{address} refuses to describe {name!r}: {error.code} {error.reason}.") from error
        except OSError as error:  # not there, or too slow
            raise TextError(f"{address} does not answer: {error}. Is it running, and the URL right?") from error
        except (ValueError, LookupError, TypeError) as error:
            raise TextError(f"{address} answers, but not as chat completions do ({error!r}).") from error
        if not isinstance(said, str) or not said.strip():
            raise TextError(f"{address} says nothing of {name!r}.")
        return said.strip()


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
            self._texts: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
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
                raise TextError(f"{self._path} says nothing of {name!r}; add it, or give the URL of a language model.")
            self._texts[name] = self._endpoint.describe(name)
            try:
                write_report(self._path, dict(sorted(self._texts.items())))
            except OSError as error:
                raise TextError(f"What is said of {name!r} cannot be kept in {self._path}: {error}") from error
        return self._texts[name]


class TextEncoder:
    """Embeds sentences with a model of the library `transformers`, from a folder on this machine.

    Args:
        folder: With tokenizer and weights (safetensors), as `save_pretrained` writes them.

    Attributes:
        width: Numbers of an embedding.

    Raises:
        TextError: `transformers` is not installed, or the folder cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise TextError("Text needs the library transformers: pip install transformers.") from error
        where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **where)
            self._model = AutoModel.from_pretrained(str(folder), use_safetensors=True, **where).eval()
        except (OSError, ValueError) as error:
            raise TextError(f"{folder} is no text encoder of transformers: {error}") from error
        self.width = int(self._model.config.hidden_size)

    def embed(self, text: str) -> NDArray[np.float32]:
        """The largest of each number over the sentences, one on each line (W,); each is the mean over its tokens.

        Raises:
            TextError: There is no sentence.
        """
        sentences = [line.strip() for line in text.splitlines() if line.strip()]
        if not sentences:
            raise TextError("A description without a sentence cannot be embedded.")
        tokens = self._tokenizer(sentences, padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt")
        with torch.no_grad():
            states = self._model(**tokens).last_hidden_state
        counts = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        means = (counts * states).sum(dim=1) / counts.sum(dim=1).clamp_min(1.0)
        largest: NDArray[np.float32] = means.amax(dim=0).float().numpy()
        return largest
