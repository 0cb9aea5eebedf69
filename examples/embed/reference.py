#!/usr/bin/env python3
"""Makes what tests hold this example against, by programs that are not ours:

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.2 onnx==1.23.1 onnxruntime==1.30.0
    venv/bin/python reference.py embeddings > bert/testdata/embeddings.json
    venv/bin/python reference.py tokens > bert/testdata/tokens.json
    venv/bin/python reference.py speed THREADS

The model is where fetch puts it, and its tokenizer.json, for tokens, comes from the same package.

embeddings  of sentences, by a forward pass in float64, in numpy
tokens      of texts, by the tokenizers package from tokenizer.json, which TOKENIZER in the environment names
speed       sentences a second of ONNX Runtime, whose graph has its own operators for BERT, by batch
"""

import json
import math
import os
import random
import sys
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "../../testdata/models/all-MiniLM-L6-v2")
LAYERS, WIDTH, HEADS, EPS = 6, 384, 12, 1e-12
CLS, SEP = 101, 102


def weights():
    from safetensors.numpy import load_file

    return load_file(MODEL + "/model.safetensors")


def embedding(w, tokens):
    """The embedding of one text."""
    erf = np.vectorize(math.erf)
    n, dim = len(tokens), WIDTH // HEADS

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w[name + ".LayerNorm.weight"] + w[name + ".LayerNorm.bias"]

    e = "embeddings."
    x = w[e + "word_embeddings.weight"][tokens] + w[e + "position_embeddings.weight"][:n] + w[e + "token_type_embeddings.weight"][0]
    x = norm(x, "embeddings")
    for i in range(LAYERS):
        b = f"encoder.layer.{i}."
        q, k, v = (linear(x, b + "attention.self." + p).reshape(n, HEADS, dim).swapaxes(0, 1) for p in ("query", "key", "value"))
        s = q @ k.swapaxes(1, 2) / math.sqrt(dim)
        p = np.exp(s - s.max(-1, keepdims=True))
        h = (p / p.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(n, WIDTH)
        x = norm(x + linear(h, b + "attention.output.dense"), b + "attention.output")
        h = linear(x, b + "intermediate.dense")
        h = h / 2 * (1 + erf(h / math.sqrt(2)))
        x = norm(x + linear(h, b + "output.dense"), b + "output")
    y = x.mean(0)
    return y / math.sqrt(y @ y)


def embeddings():
    w = {name: x.astype(np.float64) for name, x in weights().items()}
    r = random.Random(1)
    texts = [[CLS] + [r.randrange(1000, 30522) for _ in range(n)] + [SEP] for n in (0, 1, 2, 5, 9, 14, 31, 62, 126, 254)]
    rows = [{"tokens": t, "embedding": [round(float(v), 9) for v in embedding(w, np.array(t))]} for t in texts]
    json.dump(rows, sys.stdout, separators=(",", ":"))
    print()


def tokens():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.environ["TOKENIZER"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [
        "", " ", "\n\t ", "a", "Hello, World!", "I'm here; you're there.", "naïve café Ünïcödé ß ẞ Ǆ İstanbul", "日本語のテキスト。中文 漢字㐀𠀀",
        "Привет, мир", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "안녕하세요", "👍🏽 👨‍👩‍👧 🇩🇪", "a\u00a0b\u2003c\u3000d\u200be\u00adf",
        "½ ² ٣ Ⅷ ๓", "x=y+z; // comment\n\tif (a != b) { return; }", "e\u0301 o\u0308 \u0301", "a\x00b\x7fc\ufffdd\x1b", "\ufeffx\r\ny",
        "supercalifragilisticexpialidocious antidisestablishmentarianism", "a" * 100, "a" * 101, "x " * 300, "$1,234.56 #hashtag @user 100% a_b",
        "https://example.com/a?b=c&d=%20", "«quoted» “text” ‘single’ – — …", "…!!??--..", "ΑΒΓ ΣΊΣΥΦΟΣ σς", "ﬁ ﬂ ŉ ǰ", "unaffable ##able [ MASK",
    ]
    r = random.Random(1)
    alphabet = list("  \n\taAzZeEstT0199'.,-_<>|({") + list("éßñжя日本語ñ🙂\u00a0\u2003½٣\u0301ΣÅ") + ["ing", "ation", " the", "un", "##", "\r\n"]
    texts += ["".join(r.choice(alphabet) for _ in range(1 + n)) for n in range(80)]
    texts += [x for x in open(os.path.join(HERE, "../llama/testdata/text.txt"), encoding="utf-8").read().split("\n\n")[:40]]
    json.dump([{"text": t, "ids": tokenizer.encode(t).ids} for t in texts], sys.stdout, separators=(",", ":"))
    print()


def graph():
    """The network as ONNX Runtime runs it best: with its operators for attention, norms with a residual, and GELU."""
    from onnx import TensorProto, helper, numpy_helper

    w, nodes, kept = weights(), [], []

    def const(name, x):
        kept.append(numpy_helper.from_array(np.ascontiguousarray(x), name))
        return name

    def node(op, inputs, out, domain="com.microsoft", **attributes):
        nodes.append(helper.make_node(op, inputs, [out], domain=domain, **attributes))
        return out

    def norm_of(name):
        return [const(name + ".w", w[name + ".LayerNorm.weight"]), const(name + ".b", w[name + ".LayerNorm.bias"])]

    e = "embeddings."
    tables = [const(t, w[e + t + ".weight"]) for t in ("word_embeddings", "position_embeddings", "token_type_embeddings")]
    nodes.append(helper.make_node("EmbedLayerNormalization", ["ids", "", tables[0], tables[1], "", *norm_of("embeddings"), "mask"],
                                  ["x", "lengths"], domain="com.microsoft", epsilon=EPS))
    # The embedding of the type of tokens is added to that of their positions.
    kept[1] = numpy_helper.from_array(w[e + "position_embeddings.weight"] + w[e + "token_type_embeddings.weight"][0], "position_embeddings")
    x = "x"
    for i in range(LAYERS):
        b = f"encoder.layer.{i}."
        three = [b + "attention.self." + p for p in ("query", "key", "value")]
        qkv = const(b + "qkv", np.concatenate([w[p + ".weight"].T for p in three], 1))
        h = node("Attention", [x, qkv, const(b + "qkvb", np.concatenate([w[p + ".bias"] for p in three])), "lengths"], b + "a", num_heads=HEADS)
        o = b + "attention.output"
        h = node("MatMul", [h, const(o, w[o + ".dense.weight"].T)], b + "o", "")
        x = node("SkipLayerNormalization", [h, x, *norm_of(o), const(o + ".db", w[o + ".dense.bias"])], b + "n", epsilon=EPS)
        o = b + "intermediate.dense"
        h = node("MatMul", [x, const(o, w[o + ".weight"].T)], b + "i", "")
        h = node("BiasGelu", [h, const(o + ".b", w[o + ".bias"])], b + "g")
        o = b + "output"
        h = node("MatMul", [h, const(o, w[o + ".dense.weight"].T)], b + "d", "")
        x = node("SkipLayerNormalization", [h, x, *norm_of(o), const(o + ".db", w[o + ".dense.bias"])], b + "m", epsilon=EPS)
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT32, ["batch", "seq"]) for n in ("ids", "mask")]
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "seq", WIDTH])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph(nodes, "bert", inputs, outputs, kept), opset_imports=opsets, ir_version=9)
    return model.SerializeToString()


def speed(threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = ort.InferenceSession(graph(), options, providers=["CPUExecutionProvider"])

    def run(texts):
        size = max(map(len, texts))
        ids, mask = (np.array([t + [0] * (size - len(t)) for t in x], np.int32) for x in (texts, [[1] * len(t) for t in texts]))
        x = session.run(None, {"ids": ids, "mask": mask})[0]
        y = (x * mask[..., None]).sum(1)
        return y / np.sqrt((y * y).sum(-1, keepdims=True))

    for row in json.load(open(os.path.join(HERE, "bert/testdata/embeddings.json"))):
        assert run([row["tokens"]])[0] @ np.array(row["embedding"]) > 0.99999
    all = json.load(open(os.path.join(HERE, "bert/testdata/sentences.json")))
    for texts in all[:1], all:
        best, until = math.inf, time.monotonic() + 4
        while time.monotonic() < until:
            start = time.monotonic()
            run(texts)
            best = min(best, time.monotonic() - start)
        print(f"batch {len(texts)}, {threads} threads: {len(texts) / best:.1f} sentences/s, the best of 4 s")


if __name__ == "__main__":
    commands = {"embeddings": embeddings, "tokens": tokens, "speed": speed}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
