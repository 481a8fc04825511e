"""Classes that other programs take: for transformers, lm-evaluation-harness and vLLM."""
