"""From the file to a `Config`, or to all of its mistakes."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from include.respaldo.config.lines import Document, Unreadable
from include.respaldo.config.mistakes import Mistake, contradictions, from_pydantic
from include.respaldo.config.schema import Config
from include.respaldo.errors import ConfigurationError

VARIABLE = "RESPALDO_CONFIG"
ROOT = Path(__file__).resolve().parents[3]


def load_config(path: Path | None = None) -> Config:
    """Return the configuration: of `path`, else of ``RESPALDO_CONFIG``, else ``respaldo.yaml``.

    :raises ConfigurationError: there is no such file, or it has mistakes; names all of them.
    """
    if path is None:
        path = Path(os.environ.get(VARIABLE) or ROOT / "respaldo.yaml")
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no configuration at {path}",
            hint=f"copy {ROOT / 'respaldo.example.yaml'} there and edit it, "
            f"or set {VARIABLE} to where yours is",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"the configuration at {path} cannot be read: {error.strerror}",
            hint="give the account that runs this read access to it",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the configuration at {path} is not UTF-8 text (byte {error.start})",
            hint="save it as UTF-8",
        ) from None
    return parse_config(text, str(path))


def parse_config(text: str, origin: str = "respaldo.yaml") -> Config:
    """Return the configuration written in `text`.

    :param origin: what messages call the text: ``origin:line``.
    :raises ConfigurationError: it has mistakes; names all of them.
    """
    try:
        document = Document(text)
    except Unreadable as error:
        raise ConfigurationError(
            f"the configuration is not YAML:\n  {origin}:{error.line}: {error.problem}",
            hint="check indentation, quotes and tabs around that line",
        ) from None

    found: list[tuple[int, Mistake]] = [
        (line, Mistake(place, f"written again; the first is on line {first}"))
        for place, line, first in document.repeated
    ]
    config = None
    try:
        config = Config.model_validate({} if document.value is None else document.value)
    except ValidationError as error:
        found += [(document.line(m.place), m) for m in from_pydantic(error)]
    found += [(document.line(m.place), m) for m in contradictions(document.value)]
    if config is not None and not found:
        return config

    found.sort(key=lambda item: item[0])
    lines = "".join(
        f"\n  {origin}:{line}: {m.field + ': ' if m.field else ''}{m.text}" for line, m in found
    )
    count = "1 mistake" if len(found) == 1 else f"{len(found)} mistakes"
    raise ConfigurationError(
        f"the configuration has {count}:{lines}",
        hint="respaldo.example.yaml documents every field",
    )
