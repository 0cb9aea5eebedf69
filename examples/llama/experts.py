#!/usr/bin/env python3
"""Makes logits of small models by transformers in float64, which TestExperts compares with:

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 torch==2.15.0 transformers==5.24.0
    venv/bin/python experts.py > model/testdata/experts.json
    venv/bin/python experts.py model/testdata/saved    # folders as transformers save them, which TestSaved reads

The models are small, and their weights are those of model.Random, in the same order. Those of folders are in BF16.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GptOssConfig, LlamaConfig, MixtralConfig, Phi3Config, Qwen2Config, Qwen2MoeConfig, Qwen3Config, Qwen3MoeConfig,
)

YARN = {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 16, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}

# What all have, as model.Config names it, and what each has besides.
SHAPE = {"Layers": 3, "Width": 64, "Heads": 4, "KVHeads": 2, "FFN": 48, "Vocab": 64, "Context": 128, "HalfSplit": True, "NormEps": 1e-5}
MODELS = {
    "mixtral": (MixtralConfig, {"Experts": 8, "ExpertsUsed": 2, "Rotary": {"Base": 1e5}}),
    "qwen2_moe": (Qwen2MoeConfig, {"Bias": True, "Experts": 6, "ExpertsUsed": 4, "SoftmaxAll": True, "SharedFFN": 80, "Rotary": {"Base": 1e6}}),
    "qwen3_moe": (Qwen3MoeConfig, {"QKNorm": True, "HeadDim": 32, "Experts": 16, "ExpertsUsed": 4, "Rotary": {"Base": 1e6}}),
    # The same by a step, and by a list of layers without experts.
    "qwen3_moe, by a step": (Qwen3MoeConfig, {
        "QKNorm": True, "HeadDim": 32, "Experts": 6, "ExpertsUsed": 2, "Dense": [0, 2], "DenseFFN": 96, "Rotary": {"Base": 1e6}}),
    "qwen2_moe, by a list": (Qwen2MoeConfig, {
        "Bias": True, "Experts": 4, "ExpertsUsed": 2, "SoftmaxAll": True, "SharedFFN": 40, "Dense": [1], "DenseFFN": 96, "Rotary": {"Base": 1e6}}),
    "gpt_oss": (GptOssConfig, {
        "Bias": True, "OutBias": True, "Sinks": True, "HeadDim": 32, "Experts": 8, "ExpertsUsed": 4, "ExpertBias": True, "Clamp": 1.5,
        "Window": 12, "Period": 2, "Rotary": {"Base": 150000, "Scaling": YARN}, "LocalRotary": {"Base": 150000, "Scaling": YARN},
    }),
}

# What models of folders differ in from those above.
SAVED = {
    "gpt_oss": {"Layers": 2, "Width": 32, "Heads": 2, "KVHeads": 1, "HeadDim": 16, "FFN": 24, "Vocab": 48, "Experts": 4, "ExpertsUsed": 2},
    "qwen2_moe, by a list": {"Layers": 2, "Width": 32, "Heads": 2, "KVHeads": 1, "FFN": 16, "DenseFFN": 40, "SharedFFN": 24, "Vocab": 48},
    "qwen3_moe, by a step": {"Layers": 2, "Width": 32, "Heads": 2, "KVHeads": 1, "HeadDim": 16, "FFN": 16, "Experts": 4, "Dense": [0], "DenseFFN": 40, "Vocab": 48},
}

LONG = {"rope_type": "longrope", "original_max_position_embeddings": 16, "short_factor": [1.0, 1.25, 1.5, 2.0, 2.5, 3.0], "long_factor": [1.0, 1.75, 3.0, 6.5, 12.0, 20.0]}
MODELS["phi3"] = (Phi3Config, {"Window": 12, "Rotary": {"Base": 10000, "Dim": 12, "Scaling": LONG}})
SMALL = {"Layers": 2, "Width": 32, "Heads": 2, "KVHeads": 1, "FFN": 40, "Vocab": 48}
SAVED["phi3"] = SMALL
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
MODELS["llama"] = (LlamaConfig, {"Rotary": {"Base": 5e5, "Scaling": LLAMA3}})
MODELS["qwen2"] = (Qwen2Config, {"Bias": True, "Tied": True, "Rotary": {"Base": 1e6}})
MODELS["qwen3"] = (Qwen3Config, {"QKNorm": True, "HeadDim": 24, "Rotary": {"Base": 1e6}})
GEMMA = {"PostNorm": True, "Tied": True, "HeadDim": 24, "Window": 12, "QueryScale": 0.25}
MODELS["gemma2"] = (Gemma2Config, GEMMA | {"Period": 2, "Softcap": 2.5, "LogitCap": 8.0, "Rotary": {"Base": 1e4}, "LocalRotary": {"Base": 1e4}})
MODELS["gemma3_text"] = (Gemma3TextConfig, GEMMA | {
    "QKNorm": True, "Period": 3, "Rotary": {"Base": 1e6, "Scaling": {"rope_type": "linear", "factor": 8.0}}, "LocalRotary": {"Base": 1e4}})
SAVED |= {name: SMALL for name in ("llama", "qwen2", "qwen3", "gemma2")} | {"gemma3_text": SMALL | {"Layers": 4}}


class Random:
    """rand.New(rand.NewPCG(seed, 0)) of Go's math/rand/v2."""

    def __init__(self, seed):
        self.state = seed << 64

    def float32(self):
        mask = 2**64 - 1
        self.state = (self.state * (2549297995355413924 << 64 | 4865540595714422341) + (6364136223846793005 << 64 | 1442695040888963407)) % 2**128
        hi, lo = self.state >> 64, self.state & mask
        hi ^= hi >> 32
        hi = hi * 0xDA942042E4DD58B5 & mask
        hi ^= hi >> 48
        hi = hi * (lo | 1) & mask
        return np.float32((hi >> 32) & 0xFFFFFF) / np.float32(2**24)

    def fill(self, scale_of, *shape):
        scale = np.float32(np.sqrt(12 / scale_of))
        x = np.array([self.float32() for _ in range(int(np.prod(shape)))], np.float32) - np.float32(0.5)
        return (scale * x).reshape(shape)

    def around(self, n):
        return np.float32(0.75) + np.array([self.float32() for _ in range(n)], np.float32) / np.float32(2)


def weights(c, typ):
    """The parameters of transformers."""
    r, w = Random(1), {}
    width, dim, ffn = c["Width"], c.get("HeadDim", c["Width"] // c["Heads"]), c["FFN"]
    q, kv = c["Heads"] * dim, c["KVHeads"] * dim
    w["model.embed_tokens.weight"] = r.fill(1, c["Vocab"], width)
    for i in range(c["Layers"]):
        layer = f"model.layers.{i}."
        w[layer + "input_layernorm.weight"] = r.around(width)
        for name, out in ("q", q), ("k", kv), ("v", kv):
            w[layer + f"self_attn.{name}_proj.weight"] = r.fill(width, out, width)
        w[layer + "self_attn.o_proj.weight"] = r.fill(q, width, q)
        w[layer + "post_attention_layernorm.weight"] = r.around(width)
        if typ == "phi3":
            w[layer + "self_attn.qkv_proj.weight"] = np.concatenate([w.pop(layer + f"self_attn.{name}_proj.weight") for name in "qkv"])
            w[layer + "mlp.gate_up_proj.weight"], w[layer + "mlp.down_proj.weight"] = r.fill(width, 2 * ffn, width), r.fill(ffn, width, ffn)
            continue
        dense = i in c.get("Dense", []) or "Experts" not in c
        if dense:
            mlp = c.get("DenseFFN", ffn)
            for name, n, of in ("gate", mlp, width), ("up", mlp, width), ("down", width, mlp):
                w[layer + f"mlp.{name}_proj.weight"] = r.fill(of, n, of)
        if c.get("Bias"):
            for name, out in ("q", q), ("k", kv), ("v", kv):
                w[layer + f"self_attn.{name}_proj.bias"] = r.fill(1, out)
        if c.get("OutBias"):
            w[layer + "self_attn.o_proj.bias"] = r.fill(1, width)
        if c.get("Sinks"):
            w[layer + "self_attn.sinks"] = r.fill(1, c["Heads"])
        router = layer + ("mlp.router." if typ == "gpt_oss" else "mlp.gate.")
        if c.get("ExpertBias"):
            w[router + "bias"] = r.fill(1, c["Experts"])
        if c.get("QKNorm"):
            w[layer + "self_attn.q_norm.weight"], w[layer + "self_attn.k_norm.weight"] = r.around(dim), r.around(dim)
        if c.get("PostNorm"):  # Gemmas, which add 1 to the weights of norms
            w[layer + "pre_feedforward_layernorm.weight"], w[layer + "post_feedforward_layernorm.weight"] = r.around(width), r.around(width)
        if dense:
            continue
        w[router + "weight"] = r.fill(width, c["Experts"], width)
        experts = []
        for _ in range(c["Experts"]):
            x = [r.fill(width, ffn, width), r.fill(width, ffn, width), r.fill(ffn, width, ffn)]
            experts.append(x + ([r.fill(1, ffn), r.fill(1, ffn), r.fill(1, width)] if c.get("ExpertBias") else []))
        name = layer + "mlp.experts."
        if typ == "gpt_oss":  # [in, out], gate and up in turns
            w[name + "gate_up_proj"] = np.stack([np.stack([x[0].T, x[1].T], -1).reshape(width, 2 * ffn) for x in experts])
            w[name + "gate_up_proj_bias"] = np.stack([np.stack([x[3], x[4]], -1).reshape(2 * ffn) for x in experts])
            w[name + "down_proj"], w[name + "down_proj_bias"] = np.stack([x[2].T for x in experts]), np.stack([x[5] for x in experts])
        else:
            w[name + "gate_up_proj"] = np.stack([np.concatenate(x[:2]) for x in experts])
            w[name + "down_proj"] = np.stack([x[2] for x in experts])
        if shared := c.get("SharedFFN"):
            name = layer + "mlp.shared_expert."
            w[name + "gate_proj.weight"], w[name + "up_proj.weight"] = r.fill(width, shared, width), r.fill(width, shared, width)
            w[name + "down_proj.weight"] = r.fill(shared, width, shared)
            w[layer + "mlp.shared_expert_gate.weight"] = r.fill(width, 1, width)
    w["model.norm.weight"] = r.around(width)
    if not c.get("Tied"):
        w["lm_head.weight"] = r.fill(width, c["Vocab"], width)
    if c.get("PostNorm"):
        w = {name: x - np.float32(1) if name.endswith("norm.weight") else x for name, x in w.items()}
    return w


def logits(name, tokens, other={}, folder=None):
    """The Config of a model, and its logits. With a folder its weights are rounded to BF16, and saved."""
    config, options = MODELS[name]
    c, typ = SHAPE | options | other, name.split(",")[0]
    kind = {"rope_theta": c["Rotary"]["Base"], "rope_type": "default"} | c["Rotary"].get("Scaling", {})
    more = {}
    if "Experts" in c:
        more = {
            "moe_intermediate_size": c["FFN"], "shared_expert_intermediate_size": c.get("SharedFFN", 0), "num_experts": c["Experts"],
            "num_local_experts": c["Experts"], "num_experts_per_tok": c["ExpertsUsed"], "norm_topk_prob": not c.get("SoftmaxAll"),
        }
    elif typ == "phi3":
        more = {
            "original_max_position_embeddings": kind["original_max_position_embeddings"],
            "sliding_window": c["Window"], "partial_rotary_factor": c["Rotary"]["Dim"] / (c["Width"] // c["Heads"]),
        }
    if "Clamp" in c:
        more |= {"swiglu_limit": c["Clamp"], "sliding_window": c["Window"], "layer_types": ["sliding_attention", "full_attention"] * 2}
        more["layer_types"] = more["layer_types"][: c["Layers"]]
    if typ.startswith("gemma"):
        kinds = ["sliding_attention"] * (c["Period"] - 1) + ["full_attention"]
        more = {
            "sliding_window": c["Window"], "layer_types": (kinds * c["Layers"])[: c["Layers"]], "query_pre_attn_scalar": round(c["QueryScale"] ** -2),
            "attn_logit_softcapping": c.get("Softcap"), "final_logit_softcapping": c.get("LogitCap"),
        }
        if typ == "gemma3_text":
            kind = {"full_attention": kind, "sliding_attention": {"rope_type": "default", "rope_theta": c["LocalRotary"]["Base"]}}
    if name.endswith("by a step"):
        assert c["Dense"] == [i for i in range(c["Layers"]) if (i + 1) % 2]
        more["decoder_sparse_step"] = 2
    elif "Dense" in c:
        more["mlp_only_layers"] = c["Dense"]
    m = AutoModelForCausalLM.from_config(config(
        num_hidden_layers=c["Layers"], hidden_size=c["Width"], num_attention_heads=c["Heads"], num_key_value_heads=c["KVHeads"],
        head_dim=c.get("HeadDim", c["Width"] // c["Heads"]), intermediate_size=c.get("DenseFFN", c["FFN"]),
        vocab_size=c["Vocab"], max_position_embeddings=c["Context"],
        rms_norm_eps=c["NormEps"], rope_parameters=kind, tie_word_embeddings=c.get("Tied", False), pad_token_id=None, **more,
    ), attn_implementation="eager", experts_implementation="eager").double().eval()
    if "Clamp" in c:
        assert all(layer.mlp.experts.limit == c["Clamp"] for layer in m.model.layers)
    parameters, w = dict(m.named_parameters()), weights(c, typ)
    assert parameters.keys() == w.keys(), parameters.keys() ^ w.keys()
    with torch.no_grad():
        for name, x in w.items():
            assert parameters[name].shape == x.shape, (name, x.shape)
            parameters[name].copy_(torch.from_numpy(x.astype(np.float64)))
        if folder:
            for x in m.parameters():
                x.copy_(x.bfloat16())
            m.save_pretrained(folder, state_dict={name: x.bfloat16() for name, x in m.state_dict().items()}, max_shard_size="24KB")
        return c, m(torch.tensor([tokens])).logits[0].numpy()


def reference(c, tokens, all):
    """What tests compare with: a part of the logits."""
    rows = []
    for i in range(2, len(all), 3):
        row = all[i]
        most = row.max()
        at = [(i * 7919 + j * 104729) % len(row) for j in range(6)]
        rows.append({"at": i, "best": int(row.argmax()), "lse": round(float(most + np.log(np.exp(row - most).sum())), 9),
                     "logits": {str(t): round(float(row[t]), 9) for t in at}})
    return {"config": c, "tokens": tokens, "largest": float(np.abs(all).max()), "rows": rows}


def tokens_of(vocab, n):
    return [(i * i * 7 + i * 3 + 1) % vocab for i in range(n)]


def main():
    if len(sys.argv) == 1:
        tokens = tokens_of(SHAPE["Vocab"], 60)
        json.dump({name: reference(c, tokens, all) for name in MODELS if "Experts" in MODELS[name][1] for c, all in [logits(name, tokens)]}, sys.stdout, separators=(",", ":"))
        print()
        return
    for name, other in SAVED.items():
        folder, tokens = pathlib.Path(sys.argv[1]) / name.split(",")[0], tokens_of(other["Vocab"], 40)
        c, all = logits(name, tokens, other, folder)
        (folder / "logits.json").write_text(json.dumps(reference(c, tokens, all), separators=(",", ":")) + "\n")
        if c["Rotary"].get("Scaling") == LONG:  # of a text that has the other factors
            tokens = tokens[: LONG["original_max_position_embeddings"]]
            c, all = logits(name, tokens, other, folder)
            (folder / "logits_short.json").write_text(json.dumps(reference(c, tokens, all), separators=(",", ":")) + "\n")
        (folder / "generation_config.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
