"""Configuration: frozen pydantic models, one file per section."""
