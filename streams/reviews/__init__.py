"""Reviews: what waits for a person, and the answer."""
