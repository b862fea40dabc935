"""What every group of settings is."""

from pydantic import BaseModel, ConfigDict

AT_START = object()
"""Marks a setting that holds from the start of the process to its end; all others can change while it runs."""


class Group(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=False,
        hide_input_in_errors=True,
    )
