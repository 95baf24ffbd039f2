"""Fields that a config class got after its first records were written."""

import dataclasses
from typing import Any

ADDED = "added"


def added(default: Any) -> Any:
    """A field that older records lack: stored only where it differs from its default.

    So fingerprints of configs and models, which compressed files and certificates are bound to, stay what they were.
    """
    return dataclasses.field(default=default, metadata={ADDED: True})


def stored(value: Any) -> list[str]:
    """Names of the fields of a dataclass that a record of it holds."""
    return [
        field.name
        for field in dataclasses.fields(value)
        if field.init
        and not (field.metadata.get(ADDED) and getattr(value, field.name) == field.default)
    ]
