"""An OpenAI-compatible server with three small models that need no GPU and no download."""
