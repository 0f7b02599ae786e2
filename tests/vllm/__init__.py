"""Tests against the genuine vLLM server; see `bin/test-vllm`."""
