"""What pytest leaves alone here: the quixstreams peer, whose library lies in an environment of its own."""

from __future__ import annotations

collect_ignore = ["quix_app.py"]
