#!/usr/bin/env python3
"""Trains the model in testdata, which is always there: a Llama of 0.96 million weights whose tokens are bytes.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 gguf==0.19.0 safetensors==0.8.0
    OMP_NUM_THREADS=1 venv/bin/python train.py

It learns sums of two numbers below 1,000, written 12+34=46, and what this repository's documents look like. Both are
in each step: rows of sums, one document each, of which the digits behind = count, and rows of text. Sums for which
unseen says so are left out, and paragraphs of testdata/text.txt, so that what was learnt can be told from what was
kept. 2,000 steps take about ten minutes on one core.

It writes testdata/tiny.gguf, with matrices of Q8_0, testdata/tiny.safetensors, with matrices of BF16, and
testdata/tiny.config.json, the configuration of the latter.
"""

import argparse
import glob
import json
import math
import os
import random

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../..")
LAYERS, WIDTH, HEADS, KV_HEADS, FFN, CONTEXT, BASE, EPS = 5, 128, 4, 2, 352, 256, 10000.0, 1e-5
DIM = WIDTH // HEADS
END = 256  # the token that is no byte: it begins each document, and ends it
IGNORED = -100  # a token that need not be guessed


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.q, self.k, self.v = linear(WIDTH, WIDTH), linear(WIDTH, KV_HEADS * DIM), linear(WIDTH, KV_HEADS * DIM)
        self.o = linear(WIDTH, WIDTH)
        self.gate, self.up, self.down = linear(WIDTH, FFN), linear(WIDTH, FFN), linear(FFN, WIDTH)
        self.attn_norm, self.ffn_norm = torch.nn.RMSNorm(WIDTH, EPS), torch.nn.RMSNorm(WIDTH, EPS)

    def forward(self, x, cos, sin, mask):
        def heads(y):
            return y.view(*x.shape[:2], -1, DIM).transpose(1, 2)

        def rotate(y):
            a, b = y.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        def spread(y):  # to the query heads
            return y.repeat_interleave(HEADS // KV_HEADS, 1)

        h = self.attn_norm(x)
        q, k, v = rotate(heads(self.q(h))), rotate(heads(self.k(h))), heads(self.v(h))
        h = F.scaled_dot_product_attention(q, spread(k), spread(v), attn_mask=mask)
        x = x + self.o(h.transpose(1, 2).reshape(x.shape))
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(257, WIDTH)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.RMSNorm(WIDTH, EPS)
        for name, w in self.named_parameters():
            if w.dim() == 2:
                residual = name.endswith(("o.weight", "down.weight"))
                scale = 0.02 if "embedding" in name else 1 / math.sqrt(w.shape[1] * (2 * LAYERS if residual else 1))
                torch.nn.init.normal_(w, 0, scale)

    def forward(self, tokens):
        n = tokens.shape[1]
        at = torch.arange(n, device=tokens.device)
        angle = at[:, None] * BASE ** (-torch.arange(0, DIM, 2, device=tokens.device) / DIM)
        document = (tokens == END).cumsum(1)
        mask = (document[:, :, None] == document[:, None]) & (at[:, None] >= at[None])
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, angle.cos(), angle.sin(), mask[:, None])
        return F.linear(self.norm(x), self.embedding.weight)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made about orthogonal by five Newton-Schulz steps (Jordan et al., 2024), with the size
    of updates that Adam makes (Liu et al., 2025)."""

    def __init__(self, weights, lr, decay):
        super().__init__(weights, dict(lr=lr, decay=decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                momentum = self.state[w].setdefault("momentum", torch.zeros_like(w)).lerp_(w.grad, 0.05)
                x = w.grad.lerp(momentum, 0.95)
                x = x / (x.norm() + 1e-7)
                tall = x.shape[0] > x.shape[1]
                x = x.T if tall else x
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = x.T if tall else x
                w.mul_(1 - group["lr"] * group["decay"]).add_(x, alpha=-group["lr"] * 0.2 * math.sqrt(max(x.shape)))


def unseen(a, b):
    """Whether a sum is left out of what the model learns. A multiple of 11 has no say in the digits of sums."""
    return (7 * a + b) % 11 == 0


def draw(rnd, wanted=False):
    """Two numbers of one to three digits."""
    while True:
        a, b = (rnd.randrange(10 ** rnd.randint(1, 3)) for _ in range(2))
        if unseen(a, b) == wanted:
            return a, b


def sum_of(a, b):
    """Tokens of a document, and which follow them."""
    question, answer = list(f"{a}+{b}=".encode()), list(str(a + b).encode())
    return [END] + question + answer, [IGNORED] * len(question) + answer + [END]


def texts():
    """The text to learn, and the one to judge by."""
    files = sorted(glob.glob(ROOT + "/docs/*.md")) + [f"{ROOT}/{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
    read = lambda path: open(path, encoding="utf-8").read().split("\n\n")
    test = read(HERE + "/testdata/text.txt")
    kept = set(test)
    return ["\n\n".join(p).encode() for p in ([p for f in files for p in read(f) if p not in kept], test)]


def batch(rnd, text, rows):
    """Rows of tokens, and which follow them: three of eight are of text."""
    xs, ys = [], []
    for i in range(rows):
        if 8 * i < 3 * rows:
            at = rnd.randrange(len(text) - CONTEXT)
            x, y = [END] + list(text[at : at + CONTEXT - 1]), list(text[at : at + CONTEXT])
        else:
            x, y = [], []
            while len(x) < CONTEXT:
                for to, more in zip((x, y), sum_of(*draw(rnd))):
                    to += more
        xs.append(x[:CONTEXT])
        ys.append(y[:CONTEXT])
    return torch.tensor(xs), torch.tensor(ys)


@torch.no_grad()
def judge(model, test, device):
    """The shares of right sums that were not learnt, below 100 and below 1,000, and the bits of a byte of text."""
    rnd, shares = random.Random(7), []
    small = [(a, b) for a in range(100) for b in range(100) if unseen(a, b)]
    for pairs in small, [draw(rnd, True) for _ in range(1000)]:
        size = 14
        rows = [[z + fill * (size - len(z)) for z, fill in zip(sum_of(*p), ([END], [IGNORED]))] for p in pairs]
        x, y = (torch.tensor([row[i] for row in rows], device=device) for i in (0, 1))
        shares.append(((model(x).argmax(-1) == y) | (y == IGNORED)).all(1).float().mean().item())
    x = torch.tensor([[END] + list(test[i : i + CONTEXT]) for i in range(0, 64 * CONTEXT, CONTEXT)], device=device)
    loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
    return *shares, loss.item() / math.log(2)


def train(args):
    torch.manual_seed(args.seed)
    rnd, (text, test) = random.Random(args.seed), texts()
    model = Model().to(args.device)
    matrices = [w for name, w in model.named_parameters() if w.dim() == 2 and "embedding" not in name]
    others = [w for name, w in model.named_parameters() if w.dim() == 1 or "embedding" in name]
    optimizers = Muon(matrices, args.rate, 0.1), torch.optim.AdamW(others, lr=args.rate, betas=(0.9, 0.98), weight_decay=0)
    for step in range(args.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.rate * min(1, (step + 1) / 50, 1 - step / args.steps)
        x, y = (t.to(args.device) for t in batch(rnd, text, args.rows))
        logits, of_text = model(x), -(-3 * args.rows // 8)
        losses = [F.cross_entropy(logits[s].flatten(0, 1), y[s].flatten()) for s in (slice(0, of_text), slice(of_text, None))]
        (0.4 * losses[0] + 0.6 * losses[1]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        if (step + 1) % 200 == 0 or step + 1 == args.steps:
            small, large, bits = judge(model, test, args.device)
            print(f"{step + 1}: loss of text {losses[0].item():.3f}, of sums {losses[1].item():.4f}; "
                  f"unseen sums right {small:.4f} below 100, {large:.4f} below 1000; {bits:.3f} bits a byte", flush=True)
    return model


def write(model, folder):
    """Writes the files."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize
    from safetensors.torch import save_file

    names = {  # in files of Hugging Face, and in GGUF
        "embedding": ("model.embed_tokens", "token_embd"), "norm": ("model.norm", "output_norm"),
        "attn_norm": ("input_layernorm", "attn_norm"), "ffn_norm": ("post_attention_layernorm", "ffn_norm"),
        "q": ("self_attn.q_proj", "attn_q"), "k": ("self_attn.k_proj", "attn_k"), "v": ("self_attn.v_proj", "attn_v"),
        "o": ("self_attn.o_proj", "attn_output"), "gate": ("mlp.gate_proj", "ffn_gate"), "up": ("mlp.up_proj", "ffn_up"),
        "down": ("mlp.down_proj", "ffn_down"),
    }
    tensors = {}
    w = GGUFWriter(folder + "/tiny.gguf", "llama")
    w.add_name("tiny")
    w.add_block_count(LAYERS)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_rope_dimension_count(DIM)
    w.add_rope_freq_base(BASE)
    w.add_layer_norm_rms_eps(EPS)
    w.add_vocab_size(257)
    w.add_file_type(7)  # mostly Q8_0
    # Byte-level BPE: each byte is a token, written as GPT-2 has it. Readers want merges: this one has no parts to merge.
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in shown]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list([chr(b) if b in shown else chr(256 + hidden.index(b)) for b in range(256)] + ["<|endoftext|>"])
    w.add_token_types([1] * 256 + [3])
    w.add_token_merges(["<|end oftext|>"])
    w.add_bos_token_id(END)
    w.add_eos_token_id(END)
    w.add_add_bos_token(True)
    for name, x in model.state_dict().items():
        x, parts = x.detach().cpu().float().contiguous(), name.split(".")
        layer = len(parts) == 4  # blocks.0.q.weight
        there, here = names[parts[-2]]
        tensors[(f"model.layers.{parts[1]}." if layer else "") + there + ".weight"] = x.bfloat16() if x.dim() == 2 else x
        here = (f"blk.{parts[1]}." if layer else "") + here + ".weight"
        x = x.numpy()
        if parts[-2] in "qk":  # pairs that are rotated are neighbours in such files
            x = x.reshape(-1, 2, DIM // 2, WIDTH).swapaxes(1, 2).reshape(x.shape)
        if x.ndim == 2:
            w.add_tensor(here, quantize(x, GGMLQuantizationType.Q8_0), raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            w.add_tensor(here, np.ascontiguousarray(x))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_file(tensors, folder + "/tiny.safetensors")
    config = {
        "model_type": "llama", "hidden_act": "silu", "num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "intermediate_size": FFN, "vocab_size": 257, "max_position_embeddings": CONTEXT,
        "rms_norm_eps": EPS, "rope_theta": BASE, "tie_word_embeddings": True, "bos_token_id": END, "eos_token_id": END,
        "torch_dtype": "bfloat16",
    }
    with open(folder + "/tiny.config.json", "w") as f:
        json.dump(config, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=8, help="of 256 tokens, in a step")
    parser.add_argument("--rate", type=float, default=5e-3, help="the greatest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", default=HERE + "/testdata")
    args = parser.parse_args()
    write(train(args), args.out)
