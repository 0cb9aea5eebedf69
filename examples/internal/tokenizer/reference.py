"""Writes small files like those of Hugging Face's models, trained on this repository's documents, and the tokens that the
package tokenizers makes of some texts by each: testdata/huggingface/NAME.json and testdata/huggingface.json.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python reference.py
    venv/bin/python reference.py marks      # texts with many marks in form NFC, and their tokens by qwen.json: testdata/marks.json
"""

import glob
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "", " ", "  ", "Hello, world!", "  two  spaces  ", "tab\tand\n\nlines\r\n \n x", "The keys and values of a cache.", "12345 a1B2 3.14 ½ ٣٤",
    "don't I'LL 'REal we've", "naïve café e\u0301E\u0301 Å \u1e9b\u0323", "日本語Text と 中文", "emoji 😀👩‍👩‍👧 end", "a\u00a0b\u2003c", "x = f(y)[0]; // ok\n/path/to",
    "<|start|>user\nHi <|end|>  there", "<|start|>", " <|end|> x", "▁ a▁b", "<s> is </s>", "\x00\x7f\u0080\uffff", "HTTPServer helloWorld ABC日本", "....!!!\n\n  ???",
]


def byte_level(split, **options):
    t = Tokenizer(models.BPE(**options))
    t.pre_tokenizer = split
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return t, alphabet


def isolated(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def characters(normalizer, pre=None):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    return t, []


PREPEND = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
KINDS = {
    "gpt2": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "smollm": lambda: byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
    "llama3": lambda: byte_level(isolated(LLAMA3), ignore_merges=True),
    "qwen": lambda: byte_level(isolated(LLAMA3.replace("{1,3}", ""))),
    "gpt-oss": lambda: byte_level(isolated(O200K)),
    "llama2": lambda: characters(normalizers.Sequence(PREPEND)),
    "mistral": lambda: characters(None, pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)),
    "gemma": lambda: characters(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
}

if sys.argv[1:] == ["marks"]:
    texts = [
        "a" + "\u0301" * n + "b" for n in (29, 30, 31, 32, 64)
    ] + [
        "x" + "\u0316\u0301" * 20, "\u0301" * 40, "\u1100\u1161" + "\u0301" * 35, "\u1100" + "\u0301" * 31 + "\u1161", "\u1100\u1161\u11a8" + "\u0316" * 31,
        "e\u0301" + "\u0316" * 33 + "\u0327" * 33, "a" + "\u0316" * 31 + "\u0302\u0301\u0323", "\u00e2" + "\u0316" * 40 + "\u0323 \u00c5\u0301\u1e69",
        "e\u034f" + "\u0301" * 31 + "\u034f\u0301", "\u0344" * 31, "\u0958" * 3 + "\u093c" * 31, "\u0b47" + "\u0301" * 31 + "\u0b3e", "\u212b" + "\u0301" * 31 + "\uac01\u11a8",
    ]
    t = Tokenizer.from_file(os.path.join(HERE, "testdata/huggingface/qwen.json"))
    with open(os.path.join(HERE, "testdata/marks.json"), "w") as f:
        json.dump([{"text": x, "nfc": t.normalizer.normalize_str(x), "ids": t.encode(x).ids} for x in texts], f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    sys.exit()

documents = [open(p, encoding="utf-8").read() for p in sorted(glob.glob(os.path.join(HERE, "../../../docs/*.md")))]
os.makedirs(os.path.join(HERE, "testdata/huggingface"), exist_ok=True)
results = {}
for name, make in KINDS.items():
    t, alphabet = make()
    by_bytes = bool(alphabet)
    first = ["<unk>", "<s>", "</s>"] + ([] if by_bytes else [f"<0x{i:02X}>" for i in range(256)])
    # Words for training are those between spaces, wherever a model merges across these.
    pre = t.pre_tokenizer
    if not by_bytes:
        t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never")
    t.train_from_iterator((d for d in documents), trainers.BpeTrainer(vocab_size=len(first) + 256 + 120, special_tokens=first, initial_alphabet=alphabet, show_progress=False, limit_alphabet=300))
    if not by_bytes:
        t.pre_tokenizer = pre if pre is not None else pre_tokenizers.Sequence([])
    if name == "qwen":
        t.normalizer = normalizers.NFC()
    t.add_special_tokens([AddedToken("<|start|>", special=True, normalized=False), AddedToken("<|end|>", special=True, rstrip=name == "llama2", normalized=False)])
    t.add_tokens([AddedToken("Hello, w", normalized=False, special=False)])
    if name in ("llama2", "mistral", "gemma", "llama3"):
        t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", t.token_to_id("<s>"))])
    file = json.loads(t.to_str())
    if file["pre_tokenizer"] == {"type": "Sequence", "pretokenizers": []}:
        file["pre_tokenizer"] = None
    if not by_bytes:  # of tokens of bytes, none is special
        file["added_tokens"] = [x for x in file["added_tokens"] if not x["content"].startswith("<0x")]
    if name in ("llama2", "smollm"):  # as older files have them
        file["model"]["merges"] = [" ".join(x) for x in file["model"]["merges"]]
    text = json.dumps(file, ensure_ascii=True, separators=(",", ":"))
    open(os.path.join(HERE, f"testdata/huggingface/{name}.json"), "w").write(text + "\n")
    t = Tokenizer.from_str(text)
    results[name] = [{"text": x, "ids": t.encode(x).ids, "decoded": t.decode(t.encode(x).ids, skip_special_tokens=True) if by_bytes else None} for x in TEXTS + [documents[0][:1500]]]
with open(os.path.join(HERE, "testdata/huggingface.json"), "w") as f:
    json.dump(results, f, ensure_ascii=True, separators=(",", ":"))
    f.write("\n")
