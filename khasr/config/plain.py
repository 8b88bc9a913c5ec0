"""YAML files and saved options as plain values: bounded in size, and without interpolation."""

import re
from pathlib import Path
from typing import Any

import yaml

_MOST_BYTES = 1_000_000


class _PlainLoader(yaml.SafeLoader):
    """Loads YAML without aliases, which khasr does not write and which can expand to any size."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


def read_plain_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        ValueError: it is not UTF-8 or YAML, has aliases, holds no mapping, or is larger than 1 MB; the message does
            not name the file.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {_MOST_BYTES:,}.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"{' '.join(str(error).split()).rstrip('.')}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"a mapping is expected, not {type(content).__name__}.")
    return content


def escape_interpolations(value: Any) -> Any:
    """The value with `${...}` in its strings escaped, so that OmegaConf reads it as text and does not resolve it."""
    if isinstance(value, str):
        # A backslash directly before the bracket would escape it, so those are doubled.
        return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", value)
    if isinstance(value, dict):
        return {key: escape_interpolations(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [escape_interpolations(inner) for inner in value]
    return value
