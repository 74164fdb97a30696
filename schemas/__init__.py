"""Every contract, on the wire and at rest: pydantic models are the only source, everything else is generated from them."""
