#!/usr/bin/env python3
"""Makes what tests hold this example against, by programs that are not ours:

    python3 -m venv venv && venv/bin/pip install numpy==2.4.6 gguf==0.19.0
    venv/bin/python reference.py tokens LLAMA > ../internal/tokenizer/testdata/tokens.json
    venv/bin/python reference.py logits > model/testdata/logits.json
    venv/bin/python reference.py tiny > model/testdata/tiny.json
    venv/bin/python reference.py perplexity LLAMA NAME THREADS
    venv/bin/python reference.py speed LLAMA FILE THREADS WORKS [FLASH]
    venv/bin/python reference.py quantize LLAMA FILE TYPE OUT
    venv/bin/python reference.py continue LLAMA FILE PROMPT [TOKENS]
    venv/bin/python reference.py random FILE OUT

LLAMA is the folder with llama.cpp's libraries, which bench/peers/setup puts below
bench/peers/lib/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64. Models are where fetch puts them.

tokens      texts, and the ids that llama.cpp makes of them by the vocabulary of each model
logits      a forward pass in float64, in numpy, of the values that the gguf package reads: of each
            position the most likely token, the log of the sum of exponentials, and some logits; and by how
            much llama.cpp's are off, on stderr
tiny        the same of testdata/tiny.gguf and testdata/tiny.safetensors
speed       llama.cpp's, in the works of llama -speed; FLASH is auto, on or off
quantize    writes a model in another type, as llama.cpp's llama-quantize does: F32, F16, BF16, Q8_0, Q4_0,
            Q4_1, Q4_K_M, Q5_K_M or Q6_K. Where rows are no whole blocks of 256, another type takes the place of
            K-quants, and output matrices have types of more bits, as in published files
continue    prints the most likely tokens that follow a prompt, by llama.cpp
random      writes a Llama of random weights in F16, 16 layers, 1,024 wide, whose rows are whole blocks of all
            types, with the tokenizer of FILE
perplexity  llama.cpp's, of testdata/text.txt in parts of 512 tokens, as llama -perplexity has it
"""

import ctypes as C
import glob
import inspect
import json
import math
import os
import random
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "../../testdata/models")
FILES = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf"}


def path(name):
    return os.path.join(MODELS, FILES[name])


class Params(C.Structure):
    """The parameters of a model or a context, more than there are in any version. The first of a context are
    n_ctx, n_batch, n_ubatch."""

    _fields_ = [("words", C.c_uint32 * 128)]


class Batch(C.Structure):
    _fields_ = [
        ("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.c_void_p), ("pos", C.POINTER(C.c_int32)),
        ("n_seq_id", C.POINTER(C.c_int32)), ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8)),
    ]


class Library:
    """llama.cpp."""

    def __init__(self, lib):
        C.CDLL(lib + "/libggml-base.so", mode=C.RTLD_GLOBAL)
        ggml = C.CDLL(glob.glob(lib + "/libggml.*so*")[0], mode=C.RTLD_GLOBAL)
        self.lib = C.CDLL(glob.glob(lib + "/libllama.*so*")[0], mode=C.RTLD_GLOBAL)
        self.silent = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)(lambda level, text, data: None)
        self.f("llama_log_set", None, C.c_void_p, C.c_void_p)(C.cast(self.silent, C.c_void_p), None)
        load = ggml.ggml_backend_load_all_from_path
        load.argtypes, load.restype = [C.c_char_p], None
        load(lib.encode())

    def f(self, name, result, *args):
        f = getattr(self.lib, name)
        f.restype, f.argtypes = result, args
        return f


class Llama(Library):
    """A model in llama.cpp."""

    def __init__(self, lib, file):
        super().__init__(lib)
        params = self.f("llama_model_default_params", Params)()
        self.model = self.f("llama_model_load_from_file", C.c_void_p, C.c_char_p, Params)(file.encode(), params)
        self.vocab = self.f("llama_model_get_vocab", C.c_void_p, C.c_void_p)(self.model)
        self.size = self.f("llama_vocab_n_tokens", C.c_int32, C.c_void_p)(self.vocab)

    def tokens(self, text, special):
        data = text.encode()
        f = self.f("llama_tokenize", C.c_int32, C.c_void_p, C.c_char_p, C.c_int32, C.POINTER(C.c_int32), C.c_int32, C.c_bool, C.c_bool)
        buf = (C.c_int32 * (2 * len(data) + 8))()
        n = f(self.vocab, data, len(data), buf, len(buf), True, special)
        assert n >= 0
        return list(buf[:n])

    def context(self, size, batch, threads, flash=-1):
        """flash is -1 where llama.cpp chooses whether to use ggml's flash attention."""
        params = self.f("llama_context_default_params", Params)()
        assert list(params.words[10:14]) == [2**32 - 1] * 4  # kinds of scaling, pooling and attention, and flash
        params.words[0], params.words[1], params.words[2] = size, batch, min(batch, 512) if size > batch else batch
        params.words[13] = flash % 2**32
        context = self.f("llama_init_from_model", C.c_void_p, C.c_void_p, Params)(self.model, params)
        self.threads(context, threads)
        return context

    def threads(self, context, n):
        self.f("llama_set_n_threads", None, C.c_void_p, C.c_int32, C.c_int32)(context, n, n)

    def decode(self, context, tokens, at, all):
        """Reads tokens from a position on, and has logits for all or the last."""
        n = len(tokens)
        seq = (C.c_int32 * 1)(0)
        batch = Batch(
            n, (C.c_int32 * n)(*tokens), None, (C.c_int32 * n)(*range(at, at + n)), (C.c_int32 * n)(*[1] * n),
            (C.POINTER(C.c_int32) * n)(*[C.cast(seq, C.POINTER(C.c_int32))] * n), (C.c_int8 * n)(*[int(all)] * (n - 1), 1),
        )
        code = self.f("llama_decode", C.c_int32, C.c_void_p, Batch)(context, batch)
        assert code == 0, code

    def logits(self, tokens, threads=2):
        """Yields the logits of each token, from one part of the text."""
        n = len(tokens)
        context = self.context(n, n, threads)
        self.decode(context, tokens, 0, True)
        get = self.f("llama_get_logits_ith", C.POINTER(C.c_float), C.c_void_p, C.c_int32)
        import numpy as np

        for i in range(n):
            yield np.ctypeslib.as_array(get(context, i), (self.size,)).astype(np.float64)
        self.f("llama_free", None, C.c_void_p)(context)


def texts():
    """Texts that tell tokenizers apart."""
    all = [
        "", " ", "  ", "\n", "\n\n\n", "\t", " \n ", "a", " a", "  a", "a ", "Hello world", "Hello, world! It's 2024.",
        "I'M we'LL they've he'd don't 'tis 'S", "1234567890 12 345 3.14 1e-9", "x=y+z; // comment\n\tif (a != b) { return; }\n",
        "naïve café Ünïcödé ß ẞ", "日本語のテキスト。中文", "Привет, мир", "مرحبا", "שלום", "नमस्ते", "👍🏽 👨‍👩‍👧 🇩🇪", "a\u00a0b\u2003c\u3000d",
        "½ ² ٣ Ⅷ ๓", "<|im_start|>user\nHi<|im_end|>\n", "<bos><start_of_turn>user\nHi<end_of_turn>", "\r\n\r\n x\r\n", "a\x00b\x7f", "\ufeffx",
        "supercalifragilisticexpialidocious", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "                                  x", "....!!!???---", "\"'`´’‘“”",
        "▁▁ under▁score", "e\u0301 combining", "https://example.com/a?b=c&d=%20", "   \n   \n\t\t x", "don't 'quote' ''s 're",
    ]
    r = random.Random(1)
    alphabet = list("  \n\taAzZeEstT0199'.,-_<>|({") + list("éßñжя日本語ñ🙂\u00a0\u2003½٣\u0301") + ["'s", "'re", " the", "ing", "\r\n", "   "]
    for n in range(60):
        all.append("".join(r.choice(alphabet) for _ in range(1 + n)))
    return all + [open(os.path.join(HERE, "testdata/text.txt"), encoding="utf-8").read()[:6000]]


def tokens(lib):
    result = {}
    for name in FILES:
        m = Llama(lib, path(name))
        result[name] = [{"text": t, "special": s, "ids": m.tokens(t, s)} for t in texts() for s in ((False, True) if "<" in t else (False,))]
    json.dump(result, sys.stdout, ensure_ascii=True, indent=None, separators=(",", ":"))
    print()


class Reference:
    """A forward pass in float64, in numpy, one matrix at a time, as the architectures are described."""

    def __init__(self, file):
        import numpy as np
        from gguf import GGUFReader
        from gguf.quants import dequantize

        self.np, reader = np, GGUFReader(file)
        self.get = lambda key, default=None: reader.fields[key].contents() if key in reader.fields else default
        tensors = {t.name: t for t in reader.tensors}
        self.has = lambda name: name in tensors
        self.tensor = lambda name: dequantize(tensors[name].data, tensors[name].tensor_type).astype(np.float64)
        self.arch = self.get("general.architecture")
        self.half_split = self.arch != "llama"

    def logits(self, tokens):
        np, get, tensor, has = self.np, self.get, self.tensor, self.has
        a, gemma = self.arch, self.arch.startswith("gemma")
        layers, width, heads = get(a + ".block_count"), get(a + ".embedding_length"), get(a + ".attention.head_count")
        kv_heads, dim = get(a + ".attention.head_count_kv"), get(a + ".attention.key_length", width // heads)
        eps, n = get(a + ".attention.layer_norm_rms_epsilon"), len(tokens)
        at = np.arange(n)

        def norm(x, name):
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * tensor(name)

        def rotate(x, base):  # [tokens, heads, dim]
            angle = at[:, None] * base ** (-np.arange(0, dim, 2) / dim)
            cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
            y = np.empty_like(x)
            first, second = (slice(0, dim // 2), slice(dim // 2, dim)) if self.half_split else (slice(0, dim, 2), slice(1, dim, 2))
            y[..., first] = x[..., first] * cos - x[..., second] * sin
            y[..., second] = x[..., second] * cos + x[..., first] * sin
            return y

        embedding = tensor("token_embd.weight")
        x = embedding[tokens]
        if gemma:
            x = x * float(np.float32(math.sqrt(width)))
        for i in range(layers):
            b = f"blk.{i}."
            local = gemma and (i + 1) % 6 != 0
            base = 10000.0 if local else get(a + ".rope.freq_base")
            h = norm(x, b + "attn_norm.weight")
            q, k, v = (h @ tensor(b + f"attn_{p}.weight").T + (tensor(b + f"attn_{p}.bias") if has(b + f"attn_{p}.bias") else 0) for p in "qkv")
            q, k, v = q.reshape(n, heads, dim), k.reshape(n, kv_heads, dim), v.reshape(n, kv_heads, dim)
            if has(b + "attn_q_norm.weight"):
                q, k = norm(q, b + "attn_q_norm.weight"), norm(k, b + "attn_k_norm.weight")
            q, k = rotate(q, base), rotate(k, base)
            keep = at[:, None] >= at[None]
            if local:
                keep &= at[:, None] - at[None] < get(a + ".attention.sliding_window")
            out = np.empty((n, heads, dim))
            for head in range(heads):
                kv = head // (heads // kv_heads)
                s = np.where(keep, q[:, head] @ k[:, kv].T / math.sqrt(dim), -np.inf)
                p = np.exp(s - s.max(-1, keepdims=True))
                out[:, head] = p / p.sum(-1, keepdims=True) @ v[:, kv]
            h = out.reshape(n, heads * dim) @ tensor(b + "attn_output.weight").T
            x = x + (norm(h, b + "post_attention_norm.weight") if gemma else h)
            h = norm(x, b + "ffn_norm.weight")
            g = h @ tensor(b + "ffn_gate.weight").T
            if gemma:
                g = 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3)))
            else:
                g = g / (1 + np.exp(-g))
            h = (g * (h @ tensor(b + "ffn_up.weight").T)) @ tensor(b + "ffn_down.weight").T
            x = x + (norm(h, b + "post_ffw_norm.weight") if gemma else h)
        out = tensor("output.weight") if has("output.weight") else embedding
        return norm(x, "output_norm.weight") @ out.T


class HuggingFace(Reference):
    """A Llama of a file of safetensors, in BF16 and F32, and its configuration."""

    names = {
        "token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    keys = {
        "block_count": "num_hidden_layers", "embedding_length": "hidden_size", "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads", "attention.layer_norm_rms_epsilon": "rms_norm_eps", "rope.freq_base": "rope_theta",
    }

    def __init__(self, file, config):
        import numpy as np

        config = json.load(open(config))
        data = open(file, "rb").read()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        self.np, self.arch, self.half_split = np, config["model_type"], True
        self.get = lambda key, default=None: config.get(self.keys.get(key.split(".", 1)[1]), default)

        def stored(name):  # blk.0.attn_q.weight is model.layers.0.self_attn.q_proj.weight
            *layer, name, kind = name.removeprefix("blk.").split(".")
            return (f"model.layers.{layer[0]}." if layer else "") + self.names.get(name, name) + "." + kind

        def tensor(name):
            x = header[stored(name)]
            begin, end = (8 + size + n for n in x["data_offsets"])
            bits = np.frombuffer(data[begin:end], "<u4" if x["dtype"] == "F32" else "<u2").astype(np.uint32)
            return (bits if x["dtype"] == "F32" else bits << 16).view(np.float32).astype(np.float64).reshape(x["shape"])

        self.has, self.tensor = lambda name: stored(name) in header, tensor


def rows_of(all, every):
    """What tests compare with, of each so many positions."""
    import numpy as np

    rows = []
    for i in range(0, len(all), every):
        row = all[i]
        at = [(i * 7919 + j * 104729) % len(row) for j in range(6)]
        most = row.max()
        rows.append({"at": i, "best": int(row.argmax()), "lse": round(float(most + np.log(np.exp(row - most).sum())), 7),
                     "logits": {str(t): round(float(row[t]), 7) for t in at}})
    return {"largest": float(np.abs(all).max()), "rows": rows}


def tiny():
    """Of 256 tokens, which is all that the model reads: a sum, and the text behind it."""
    text = b"123+456=579" + open(os.path.join(HERE, "testdata/text.txt"), "rb").read()
    end = 256
    tokens = ([end] + list(text))[:256]
    file = os.path.join(HERE, "testdata/tiny.")
    result = {}
    for name, model in ("gguf", Reference(file + "gguf")), ("safetensors", HuggingFace(file + "safetensors", file + "config.json")):
        result[name] = {"tokens": tokens, **rows_of(model.logits(tokens), 1)}
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


def logits(lib=None):
    """Of 320 tokens of the text, and 640 for Gemma: they go across parts of prompts and pages, and across Gemma's window of 512."""
    import numpy as np

    text = open(os.path.join(HERE, "testdata/text.txt"), encoding="utf-8").read()
    ids = json.load(open(os.path.join(HERE, "../internal/tokenizer/testdata/tokens.json")))
    result = {}
    for name, count in ("smollm2", 320), ("gemma3", 640):
        tokens = max((x["ids"] for x in ids[name]), key=len)[:count]
        all = Reference(path(name)).logits(tokens)
        if lib:
            m = Llama(lib, path(name))
            off = [np.abs(x - y).max() for x, y in zip(all, m.logits(tokens))]
            print(f"{name}: largest logit {np.abs(all).max():.3f}; llama.cpp is off by {max(off):.3g}, {np.mean(off):.3g} in the mean of positions", file=sys.stderr)
        result[name] = {"tokens": tokens, **rows_of(all, 1 if count < 400 else 4)}
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


def speed(lib, file, threads, works, flash="auto"):
    m = Llama(lib, FILES.get(file) and path(file) or file)
    for work in works.split(","):
        name, _, behind = work.partition("@")
        prompt, tokens, behind = name.startswith("pp"), int(name[2:]), int(behind or 0)
        ids = [i * 7919 % m.size for i in range(behind + tokens)]
        context = m.context(behind + tokens, 512, int(threads), {"auto": -1, "off": 0, "on": 1}[flash])
        memory = m.f("llama_get_memory", C.c_void_p, C.c_void_p)(context)
        remove = m.f("llama_memory_seq_rm", C.c_bool, C.c_void_p, C.c_int32, C.c_int32, C.c_int32)

        def read(begin, end, step):
            for at in range(begin, end, step):
                m.decode(context, ids[at : min(at + step, end)], at, False)

        def fill():  # with all processors, since this is not timed
            m.threads(context, os.cpu_count())
            read(0, behind, 512)
            m.threads(context, int(threads))

        fill()
        best, rounds, start = math.inf, 0, time.monotonic()
        while rounds < 3 or rounds < 20 and time.monotonic() - start < 3:
            if not remove(memory, 0, behind, -1):  # of a model with windows, which has lost some
                m.f("llama_memory_clear", None, C.c_void_p, C.c_bool)(memory, True)
                fill()
            begin = time.monotonic()
            read(behind, behind + tokens, 512 if prompt else 1)
            best, rounds = min(best, time.monotonic() - begin), rounds + 1
        m.f("llama_free", None, C.c_void_p)(context)
        print(f"{work:12} {tokens / best:9.1f} tokens/s", flush=True)


# The numbers of llama_ftype.
KINDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "BF16": 32}


def quantize(lib, file, kind, out):
    """The parameters begin with four numbers: the threads, the kind, and the types of the output and the embedding,
    where the count of types means that the kind chooses. Then come bytes: whether quantised tensors may be quantised
    again, whether the output is quantised, whether all is copied, whether all have one type."""
    if kind not in KINDS:
        sys.exit(f"there is no type {kind}; there are {', '.join(KINDS)}")
    m = Library(lib)
    params = m.f("llama_model_quantize_default_params", Params)()
    words, flags = params.words, C.cast(C.byref(params), C.POINTER(C.c_uint8))
    if words[0] != 0 or words[2] != words[3] or not 30 < words[2] < 100 or flags[16:20] != [0, 1, 0, 0]:
        sys.exit("the parameters of this version of llama.cpp have another layout")
    words[1], flags[16] = KINDS[kind], 1
    code = m.f("llama_model_quantize", C.c_uint32, C.c_char_p, C.c_char_p, C.POINTER(Params))(file.encode(), out.encode(), C.byref(params))
    if code != 0:
        sys.exit(f"{file} cannot be written as {kind}: llama.cpp returns {code}")


def continuation(lib, file, prompt, tokens="24"):
    import numpy as np

    m = Llama(lib, file)
    ids, n = m.tokens(prompt, True), int(tokens)
    context = m.context(len(ids) + n, 512, os.cpu_count())
    get = m.f("llama_get_logits_ith", C.POINTER(C.c_float), C.c_void_p, C.c_int32)
    piece = m.f("llama_token_to_piece", C.c_int32, C.c_void_p, C.c_int32, C.c_char_p, C.c_int32, C.c_int32, C.c_bool)
    text, new = b"", ids
    for at in range(n):
        m.decode(context, new, len(ids) + at - len(new) if at else 0, False)
        new = [int(np.ctypeslib.as_array(get(context, -1), (m.size,)).argmax())]
        buf = C.create_string_buffer(256)
        size = piece(m.vocab, new[0], buf, len(buf), 0, True)
        text += buf.raw[: max(0, size)]
    print(prompt + text.decode(errors="replace"))


def random_model(file, out):
    import numpy as np
    from gguf import GGUFReader, GGUFWriter

    layers, width, heads, kv_heads, ffn, context = 16, 1024, 16, 8, 3072, 8192
    reader, w = GGUFReader(file), GGUFWriter(out, "llama")
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            w.add_key_value(name, field.contents(), kind, sub_type=field.types[-1] if len(field.types) > 1 else None)
    vocab = len(reader.fields["tokenizer.ggml.tokens"].data)
    for f, x in (
        (w.add_block_count, layers), (w.add_embedding_length, width), (w.add_head_count, heads), (w.add_head_count_kv, kv_heads),
        (w.add_feed_forward_length, ffn), (w.add_context_length, context), (w.add_layer_norm_rms_eps, 1e-5), (w.add_vocab_size, vocab),
        (w.add_rope_dimension_count, width // heads), (w.add_file_type, KINDS["F16"]),
    ):
        f(x)
    r = np.random.default_rng(1)

    def matrix(name, rows, cols):
        w.add_tensor(name + ".weight", (r.standard_normal((rows, cols), np.float32) / math.sqrt(cols)).astype(np.float16))

    def norm(name):
        w.add_tensor(name + ".weight", np.ones(width, np.float32))

    matrix("token_embd", vocab, width)
    norm("output_norm")
    kv = kv_heads * (width // heads)
    for i in range(layers):
        b = f"blk.{i}."
        norm(b + "attn_norm"), norm(b + "ffn_norm")
        for name, rows, cols in (
            ("attn_q", width, width), ("attn_k", kv, width), ("attn_v", kv, width), ("attn_output", width, width),
            ("ffn_gate", ffn, width), ("ffn_up", ffn, width), ("ffn_down", width, ffn),
        ):
            matrix(b + name, rows, cols)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file()
    w.close()


def perplexity(lib, name, threads):
    import numpy as np

    m = Llama(lib, path(name))
    text = open(os.path.join(HERE, "testdata/text.txt"), encoding="utf-8").read()
    ids, size, sum, count = m.tokens(text, False), 512, 0.0, 0
    first = m.tokens("", False)
    for begin in range(0, len(ids) - size + 1, size):
        part = first + ids[begin + len(first) : begin + size]
        for i, row in enumerate(m.logits(part, int(threads))):
            if size // 2 <= i < size - 1:
                most = row.max()
                sum += most + np.log(np.exp(row - most).sum()) - row[part[i + 1]]
                count += 1
    print(f"{name}: perplexity {math.exp(sum / count):.4f} of {count} tokens")


if __name__ == "__main__":
    commands = {
        "tokens": tokens, "logits": logits, "tiny": tiny, "perplexity": perplexity, "speed": speed, "quantize": quantize,
        "continue": continuation, "random": random_model,
    }
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    command, args = commands[sys.argv[1]], sys.argv[2:]
    try:
        inspect.signature(command).bind(*args)
    except TypeError as e:
        sys.exit(f"{sys.argv[1]}: {e}\n\n{__doc__}")
    command(*args)
