"""Request bodies and answers, as pydantic models."""
