"""The keys of the engine's own rows in a state topic, beside those of the agent's brain.

Apart from what the rows hold, so that a process that only reads rows need not load every contract first.
"""

from __future__ import annotations

ENGINE_PREFIX = "\x00"
"""The engine's keys begin with it; a brain's never do."""
POSITIONS, CONTEXT, PAUSED = f"{ENGINE_PREFIX}positions", f"{ENGINE_PREFIX}context", f"{ENGINE_PREFIX}paused"


def is_engine_key(key: str) -> bool:
    r"""Whether the engine, not the brain, owns the row with this key.

    >>> is_engine_key(POSITIONS), is_engine_key("C-1042\x1fi/I-7")
    (True, False)
    """
    return key.startswith(ENGINE_PREFIX)
