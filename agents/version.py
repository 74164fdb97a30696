"""The version of the code that decides; every output and journal record quotes it. A test holds it against pyproject.toml."""

CODE_VERSION = "0.4.0"
