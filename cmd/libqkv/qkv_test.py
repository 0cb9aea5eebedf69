"""Tests of qkv.py: against float64 in NumPy, and, where PyTorch is installed, against its scaled_dot_product_attention.

    python3 qkv_test.py
"""

import ctypes
import itertools
import types
import unittest

import numpy as np

import qkv

try:
    import torch
except ImportError:
    torch = None


def reference(q, k, v, mask=None, causal=None, scale=None):
    """Attention in float64; mask is added, and True of causal is top left."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[1] // x.shape[1], 1) for x in (k, v))
    s = q @ k.swapaxes(2, 3) * (scale or q.shape[3] ** -0.5)
    if mask is not None:
        s = s + mask
    if causal:
        s = np.where(np.tri(*s.shape[2:], dtype=bool), s, -np.inf)
    most = s.max(3, keepdims=True, initial=-1e30)
    p = np.exp(s - most)
    total = p.sum(3, keepdims=True)
    with np.errstate(divide="ignore"):
        return p @ v / np.where(total == 0, 1, total), (np.log(total) + most)[..., 0]


def random(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


class Arrays(unittest.TestCase):
    def test_attention(self):
        rng = np.random.default_rng(1)
        for batch, heads, kv_heads, n, m, dim in [(1, 1, 1, 1, 1, 1), (2, 4, 2, 5, 5, 64), (1, 8, 2, 33, 70, 40)]:
            q = random(rng, batch, n, heads, dim).swapaxes(1, 2)  # tokens first in memory
            k, v = (random(rng, batch, kv_heads, m, dim) for _ in "kv")
            mask = random(rng, heads, n, m)
            lse = np.empty((batch, heads, n), np.float32)
            got = qkv.attention(q, k[:, :, ::-1], v, bias=mask, lse=lse)
            want, sums = reference(q, k[:, :, ::-1], v, mask)
            np.testing.assert_allclose(got, want, rtol=0, atol=3e-6)
            np.testing.assert_allclose(lse, sums, rtol=1e-6, atol=3e-6)
            keep = rng.random((batch, 1, n, m)) < 0.7
            want, _ = reference(q, k, v, np.where(keep, 0, -np.inf), True)
            got = qkv.attention(q, k, v, keep=keep, causal=True, align="top-left")
            np.testing.assert_allclose(got, want, rtol=0, atol=3e-6)

    def test_matmul(self):
        rng = np.random.default_rng(2)
        x, w, b = random(rng, 7, 65), random(rng, 33, 65), random(rng, 33)
        np.testing.assert_allclose(qkv.matmul(x, w.T, b), x.astype(np.float64) @ w.T + b, rtol=0, atol=2e-5)

    def test_cache(self):
        rng = np.random.default_rng(3)
        heads, dim = 2, 32
        cache = qkv.Cache([dict(kv_heads=heads, dim_qk=dim, dim_v=dim)] * 2, page_tokens=4, pages=16)
        step, text = cache.step(), cache.sequence()
        k, v, q = (random(rng, 1, heads, 9, dim) for _ in "kvq")
        parts = []
        for lo, hi in [(0, 6), (6, 7), (7, 9)]:
            step.begin([(text, hi - lo)])
            for layer in range(2):
                step.write(layer, k[:, :, lo:hi], v[:, :, lo:hi])
                out = step.attend(layer, q[:, :, lo:hi], causal=True)
            step.commit()
            parts.append(out)
        whole = qkv.attention(q, k, v, causal=True)
        np.testing.assert_array_equal(np.concatenate(parts, 2), whole)  # bit for bit
        fork = text.fork()
        fork.truncate(3)
        self.assertEqual((len(text), len(fork)), (9, 3))
        step.begin([(fork, 2)])
        step.rollback()
        fork.free()
        with self.assertRaisesRegex(qkv.Error, "no sequence"):
            len(fork)
        other = cache.step()
        other.begin([(text, 2)])
        with self.assertRaisesRegex(qkv.Error, "has not ended"):
            step.begin([(text, 1)])
        other.free()
        with self.assertRaisesRegex(qkv.Error, "no step"):
            other.free()
        step.begin([(text, 1)])
        cache.free()
        with self.assertRaisesRegex(qkv.Error, "no step"):
            step.begin([(text, 1)])

    def test_value_dim(self):
        cache = qkv.Cache([dict(kv_heads=2, dim_qk=8, dim_v=4)], pages=4)
        step, q, v = cache.step(), np.ones((1, 2, 3, 8), np.float32), np.full((1, 2, 3, 4), 5, np.float32)
        step.begin([(cache.sequence(), 3)])
        step.write(0, q, v)
        np.testing.assert_array_equal(step.attend(0, q), v)
        with self.assertRaisesRegex(qkv.Error, "layer is 1"):
            step.attend(1, q)

    def test_c(self):
        """What only C can pass is an error, and does not end the process."""
        text, q = ctypes.create_string_buffer(1024), np.ones((1, 2, 3, 8), np.float32)
        cache = qkv.Cache([dict(kv_heads=2, dim_qk=8, dim_v=8)], pages=4)
        many, kept = qkv._arguments(q, q.copy(), q, q, lens_kv=[1])
        many.q.shape[:] = (1 << 45, 0, 0, 0)
        sunk, kept_too = qkv._arguments(q, q.copy(), q, q, sinks=[1, 1])
        sunk.q.shape[:] = (0, 1 << 62, 0, 0)
        for name, args, size, want in [
            ("qkv_attention", [None], 2**64 - 1, b"qkv: args is NULL"),
            ("qkv_attention", [None], 8, b"qkv: ar"),
            ("qkv_attention", [None], 1, b""),
            ("qkv_attention", [ctypes.byref(many)], 1024, b"at most"),
            ("qkv_attention", [ctypes.byref(sunk)], 1024, b"heads with sinks, at most"),
            ("qkv_step_begin", [cache.step()._handle, many.lens_kv, many.lens_kv, ctypes.c_int64(1 << 40)], 1024, b"sequences, 0 to"),
            ("qkv_sequence_len", [cache.sequence()._handle, None], 1024, b"NULL"),
        ]:
            self.assertEqual(getattr(qkv._lib, name)(*(ctypes.c_void_p(a) if isinstance(a, int) else a for a in args), text, ctypes.c_size_t(size)), -1)
            self.assertIn(want, text.value)

    def test_step_has_its_own(self):
        q = np.ones((1, 2, 3, 8), np.float32)
        cache = qkv.Cache([dict(kv_heads=2, dim_qk=8, dim_v=8)], pages=4)
        step = cache.step()
        step.begin([(cache.sequence(), 3)])
        step.write(0, q, q)
        for name, given in {
            "k": dict(k=q), "v": dict(v=q), "kScale": dict(k_scale=q[..., :1]), "vScale": dict(v_scale=q[..., :1]),
            "lensKV": dict(lens_kv=[3]), "lensQ": dict(lens_q=[3]), "an alignment of the mask": dict(align="top-left", causal=True),
        }.items():
            with self.assertRaisesRegex(qkv.Error, f"qkv: {name} is given, a step has its own"):
                step.attend(0, q, **given)
        step.attend(0, q)

    def test_kinds(self):
        """What is of another kind is a TypeError that names it."""
        q, rows = np.zeros((1, 2, 3, 8), np.float32), np.zeros((2, 3), np.float32)
        cache = qkv.Cache([dict(kv_heads=2, dim_qk=8, dim_v=8)], pages=4)
        step = cache.step()
        for name, do in {
            "lse is a list": lambda: qkv.attention(q, q, q, lse=[1]),
            "q is a list": lambda: qkv.attention([1], q, q),
            "k is a NoneType": lambda: qkv.attention(q, None, q),
            "v is a int": lambda: qkv.attention(q, q, 3),
            "out is a list": lambda: qkv.attention(q, q, q, out=[1]),
            "keep is a list": lambda: qkv.attention(q, q, q, keep=[[True]]),
            "k_scale is a float": lambda: qkv.attention(q, q.astype(np.int8), q, k_scale=1.5),
            "lens_kv is 3": lambda: qkv.attention(q, q, q, lens_kv=3),
            r"lens_kv\[0\] is 3.5": lambda: qkv.attention(q, q, q, lens_kv=[3.5]),
            r"sinks\[1\] is 'x'": lambda: qkv.attention(q, q, q, sinks=[1, "x"]),
            "scale is 'x'": lambda: qkv.attention(q, q, q, scale="x"),
            "window is 3": lambda: qkv.attention(q, q, q, window=3),
            r"window\[1\] is None": lambda: qkv.attention(q, q, q, window=(3, None)),
            "offset is 1.5": lambda: qkv.attention(q, q, q, offset=1.5),
            "x is a list": lambda: qkv.matmul([1], rows),
            "w is a list": lambda: qkv.matmul(rows, [1]),
            "bias is a list": lambda: qkv.matmul(rows, rows.T, bias=[1]),
            r"layers\[0\] is a list": lambda: qkv.Cache([[1]]),
            r"dim_v of layers\[0\] is 'x'": lambda: qkv.Cache([dict(kv_heads=2, dim_qk=8, dim_v="x")]),
            "pages is 1.5": lambda: qkv.Cache([], pages=1.5),
            r"sequences\[0\] is 7": lambda: step.begin([7]),
            r"the tokens of sequences\[0\] is None": lambda: step.begin([(cache.sequence(), None)]),
            "layer is 'x'": lambda: step.attend("x", q),
            "tokens is 'x'": lambda: cache.sequence().truncate("x"),
        }.items():
            with self.assertRaisesRegex(TypeError, "qkv: " + name):
                do()
        with self.assertRaisesRegex(TypeError, r"^attention\(\) got an unexpected keyword argument 'is_causal'"):
            qkv.attention(q, q, q, is_causal=True)
        self.assertEqual(qkv.attention(q, q, q, lens_kv=np.array([3])).shape, q.shape)

    def test_grad(self):
        """A tensor as PyTorch has them, which requires grad."""

        class Parameter:
            device, requires_grad = types.SimpleNamespace(type="cpu"), True

            def data_ptr(self):
                raise AssertionError("the memory is read")

            def is_neg(self):
                return False

        q = np.zeros((1, 2, 3, 8), np.float32)
        with self.assertRaisesRegex(qkv.Error, "qkv: v requires grad"):
            qkv.attention(q, q, Parameter())
        with self.assertRaisesRegex(qkv.Error, "qkv: sinks requires grad"):
            qkv.attention(q, q, q, sinks=Parameter())
        with self.assertRaisesRegex(qkv.Error, "qkv: w requires grad"):
            qkv.matmul(q[0, 0], Parameter())

    def test_errors(self):
        q = np.zeros((1, 2, 3, 8), np.float32)
        for text, do in {
            "head dim": lambda: qkv.attention(q, np.zeros((1, 2, 3, 4), np.float32), q),
            "heads": lambda: qkv.attention(q, q[:, :1].repeat(3, 1), q[:, :1].repeat(3, 1)),
            "k is of float64": lambda: qkv.attention(q, q.astype(float), q),
            "q has 3 dimensions": lambda: qkv.attention(q[0], q, q, out=q),
            "v has 3 dimensions": lambda: qkv.attention(q, q, q[0]),
            "bias has 5 dimensions": lambda: qkv.attention(q, q, q, bias=q[None]),
            "x is float64": lambda: qkv.matmul(q[0, 0].astype(float), q[0, 0].T),
            "k has strides": lambda: qkv.attention(q, np.zeros((1, 2, 3, 8), [("x", np.float32), ("y", np.int8)])["x"], q),
            "align is 'left'": lambda: qkv.attention(q, q, q, align="left"),
            r"lens_kv\[0\] is 9+, which": lambda: qkv.attention(q, q, q, lens_kv=[10**30 - 1]),
            r"key_type of layers\[0\] is 'int4'": lambda: qkv.Cache([dict(kv_heads=1, dim_qk=8, dim_v=8, key_type="int4")]),
            "align is not said": lambda: qkv.attention(q, q[:, :, :2], q[:, :, :2], causal=True),
            "sinks": lambda: qkv.attention(q, q, q, sinks=[1]),
            "lens_kv": lambda: qkv.attention(q, q, q, lens_kv=[1, 2]),
            "lse": lambda: qkv.attention(q, q, q, lse=np.zeros((1, 2, 4), np.float32)),
            "out is read-only": lambda: qkv.attention(q, q, q, out=np.broadcast_to(q[0, 0, 0, 0], q.shape)),
            "lse is read-only": lambda: qkv.attention(q, q, q, lse=np.broadcast_to(q[0, 0, 0, 0], q.shape[:3])),
            "no kvheads": lambda: qkv.Cache([dict(kvheads=1, dim_qk=8, dim_v=8)]),
            "bias": lambda: qkv.matmul(q[0, 0], q[0, 0].T, bias=np.zeros(4, np.float32)),
        }.items():
            with self.assertRaisesRegex(qkv.Error, text):
                do()


@unittest.skipUnless(torch, "PyTorch is not installed")
class Tensors(unittest.TestCase):
    """The cases of PyTorch's own tests of scaled_dot_product_attention (test/test_transformers.py) that are inference on a CPU.

    Dropout, gradients, nested and sparse tensors, float64 and devices other than the CPU do not apply. Queries
    in 16 bits are not taken: keys and values are.
    """

    def test_matrix(self):
        torch.manual_seed(0)
        for kind, batch, n, m, heads, kv_heads, dim, mask, causal, scale in itertools.product(
            ["float32", "float16", "bfloat16"], [1, 2], [1, 4, 143, 1030], [1, 4, 143, 1030], [1, 8], [1, 8], [4, 8, 64, 128],
            [None, "bool", "float", "heads", "batch"], [False, True], [None, "l1"],
        ):
            if kv_heads > heads or causal and mask or (batch, scale) == (2, "l1") or kind != "float32" and (mask or batch > 1):
                continue
            if n * m > 1000 and (dim != 64 or scale or batch * heads > 1 and (mask not in (None, "bool") or n * m > 143 * 143)):
                continue  # large ones are few
            q = torch.randn(batch, n, heads, dim).transpose(1, 2)
            k, v = (torch.randn(batch, m, kv_heads, dim).to(getattr(torch, kind)).transpose(1, 2) for _ in "kv")
            shape = {None: None, "bool": (n, m), "float": (n, m), "heads": (1, heads, n, m), "batch": (batch, 1, n, m)}[mask]
            bias = keep = None
            if mask == "bool":
                keep = torch.rand(shape) < 0.5
                keep[:, 0] = True  # a row without a key is NaN there, and 0 here
            elif mask:
                bias = torch.randn(shape)
            factor = None if scale is None else 1 / dim
            want = torch.nn.functional.scaled_dot_product_attention(
                q.double(), k.double(), v.double(), keep if bias is None else bias.double(), is_causal=causal, scale=factor, enable_gqa=True)
            got = qkv.attention(q, k, v, keep=keep, bias=bias, causal=causal, align="top-left", scale=factor or 0)
            torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=5e-6)
            self.cases += 1
        self.assertGreater(self.cases, 1000)

    cases = 0

    def test_negated(self):
        q = torch.ones(1, 1, 2, 8)
        with self.assertRaisesRegex(qkv.Error, "qkv: q is a view that negates"):
            qkv.attention(torch._neg_view(q), q, q)

    def test_grad(self):
        q, w = torch.ones(1, 1, 2, 8), torch.nn.Linear(8, 3, bias=False).weight
        with self.assertRaisesRegex(qkv.Error, "qkv: k requires grad"):
            qkv.attention(q, q.clone().requires_grad_(), q)
        with self.assertRaisesRegex(qkv.Error, "qkv: w requires grad"):
            qkv.matmul(q[0, 0], w.T)
        torch.testing.assert_close(qkv.matmul(q[0, 0], w.detach().T), q[0, 0] @ w.detach().T)


if __name__ == "__main__":
    unittest.main()
