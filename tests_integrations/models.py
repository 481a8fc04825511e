"""Tiny neural models with random weights: nothing is downloaded."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

# Ids of the models: 60 tokens and 4 that only pad the scores.
TOKENS, SCORES = 60, 64
PAD, BOS, EOS = 0, 1, 2


def llama(seed=0, **options):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=SCORES,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        # (Large weights: what such a model generates repeats itself less.)
        initializer_range=0.5,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        **options,
    )
    return LlamaForCausalLM(config).eval()


def gpt2(seed=0, **options):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=SCORES,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=1024,
        initializer_range=0.5,
        bos_token_id=EOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        **options,
    )
    return GPT2LMHeadModel(config).eval()


MODELS = {"gpt2": gpt2, "llama": llama}


def log_probs_after(model, ids):
    """What the model says of each id after these: float64, shape (SCORES,)."""
    with torch.inference_mode():
        scores = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return torch.log_softmax(scores.double(), dim=0).numpy()
