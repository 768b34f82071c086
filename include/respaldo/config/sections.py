"""What every section of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen; lets nothing unknown through."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
