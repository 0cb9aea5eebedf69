"""Computes one work with OpenVINO's CPU plugin. The Go program that starts this puts serve.py before it."""

import numpy as np
import openvino as ov
from openvino import Model, PartialShape, Type, op
from openvino import opset13 as ops

CORE = ov.Core()
TYPES = {"float32": Type.f32, "float16": Type.f16, "bfloat16": Type.bf16}
ROUNDING = {"f32": "float32", "bf16": "bfloat16"}
BLOCKS = {
    "q8_0": np.dtype([("scale", "<f2"), ("codes", "i1", 32)]),
    "q4_0": np.dtype([("scale", "<f2"), ("codes", "u1", 16)]),
}
BLOCK = 32  # values that share a scale
BLOCK_TOKENS = 32  # of a block of the cache


def file(fd, dtype):
    return np.memmap("/dev/fd/%d" % fd, dtype=dtype, mode="r+")


def floats(x, kind):
    """Returns numbers of 16 or 32 bits as float32."""
    if kind == "bfloat16":
        return (x.astype(np.uint32) << 16).view(np.float32)
    return x.astype(np.float32)


def codes_of(blocks):
    """Returns the integers of blocks and their scales."""
    codes = blocks["codes"]
    if codes.dtype == np.uint8:  # 4 bits
        codes = np.concatenate([codes & 15, codes >> 4], axis=-1).astype(np.int8) - 8
    return codes, blocks["scale"].astype(np.float32)


def parameter(name, kind, *dims):
    p = op.Parameter(kind, PartialShape(list(dims)))
    p.set_friendly_name(name)
    p.output(0).get_tensor().set_names({name})
    return p


def compiled(model, threads, precision, **properties):
    properties.update(INFERENCE_PRECISION_HINT=precision, INFERENCE_NUM_THREADS=threads, NUM_STREAMS=1, PERFORMANCE_HINT="LATENCY")
    return CORE.compile_model(model, "CPU", properties)


def bytes_of(tensor):
    return tensor.data.reshape(-1).view(np.uint8)


class Attention:
    def __init__(self, w):
        for name, value in w.items():
            setattr(self, name, value)
        self.rows = self.batch * self.keys
        self.q = file(3, "f4").reshape(self.batch, self.heads, self.queries, self.dim)
        self.out = file(8, "f4").reshape(self.batch, self.heads, self.queries, self.dim_v)
        self.k, self.v = self.read(4, 6, self.dim), self.read(5, 7, self.dim_v)

    def read(self, fd, scales, dim):
        """Returns rows of keys or values as [batch, KV heads, keys, groups, values]: codes with scales, or numbers."""
        shape = (self.batch, self.kv_heads, self.keys)
        if self.type == "int8":
            return file(fd, "i1").reshape(*shape, 1, dim), file(scales, "f4").reshape(*shape, 1)
        if self.type in BLOCKS:
            codes, scales = codes_of(file(fd, BLOCKS[self.type]))
            return codes.reshape(*shape, dim // BLOCK, BLOCK), scales.reshape(*shape, dim // BLOCK)
        return file(fd, "f4" if self.type == "float32" else "f2" if self.type == "float16" else "u2").reshape(*shape, 1, dim), None

    def numbers(self, x):
        """Returns keys or values as float32, [batch, KV heads, keys, dim]."""
        codes, scales = x
        y = floats(codes, self.type) if scales is None else codes.astype(np.float32) * scales[..., None]
        return y.reshape(*y.shape[:3], -1)

    def ways(self):
        quantised = self.k[1] is not None
        list = []
        # Of one query the weights of thousands of keys are rounded to bfloat16, and so are their sums.
        plain = not quantised and not (self.queries == 1 and self.type == "bfloat16")
        if plain and (self.queries == 1 or self.heads == self.kv_heads) and (not self.causal or self.queries == self.keys):
            kinds = ["f32", "bf16"] if self.type == "bfloat16" else ["f32"]
            for kind in kinds:
                list.append(("ScaledDotProductAttention, %s, computed in %s" % (self.type, kind), ROUNDING[kind], lambda kind=kind: self.fused(kind)))
        if self.queries == 1 or self.causal:
            if not quantised:
                kind = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}[self.type]
                precision = "bf16" if kind == "bf16" else "f32"
                name = "PagedAttention, cache %s, computed in %s" % (kind, precision)
                list.append((name, self.type, lambda: self.paged(kind, precision, {})))
            else:
                kind = "u4" if self.type == "q4_0" else "u8"
                groups = {} if self.type == "int8" else {"KEY_CACHE_GROUP_SIZE": BLOCK, "VALUE_CACHE_GROUP_SIZE": BLOCK}
                for precision in ("f32", "bf16"):
                    # Keys of u4 by channels are other numbers, and far from these.
                    for mode in ("TOKEN",) if kind == "u4" else ("TOKEN", "CHANNEL"):
                        name = "PagedAttention, cache %s, keys by %ss, computed in %s" % (kind, mode.lower(), precision)
                        options = dict(groups, KEY_CACHE_QUANT_MODE="BY_" + mode)
                        list.append((name, "bfloat16", lambda p=precision, o=options: self.paged(kind, p, o)))
        return list

    def fused(self, precision):
        """One operation on keys and values as they are. Of one query, heads that share a KV head are its rows."""
        kind = TYPES[self.type]
        heads, rows = (self.kv_heads, self.heads // self.kv_heads) if self.queries == 1 else (self.heads, self.queries)
        given = [
            parameter("q", Type.f32, self.batch, heads, rows, self.dim),
            parameter("k", kind, self.batch, heads, self.keys, self.dim),
            parameter("v", kind, self.batch, heads, self.keys, self.dim_v),
        ]
        q, k, v = given
        if kind != Type.f32:  # all of a call have one type
            q = ops.convert(q, kind)
        y = ops.scaled_dot_product_attention(q, k, v, causal=self.causal)
        if kind != Type.f32:
            y = ops.convert(y, Type.f32)
        r = compiled(Model([ops.result(y)], given, "attention"), self.threads, precision).create_infer_request()
        q = np.empty((self.batch, heads, rows, self.dim), np.float32)
        r.set_tensor("q", ov.Tensor(q, shared_memory=True))
        for name, x, dim in (("k", self.k, self.dim), ("v", self.v, self.dim_v)):
            t = ov.Tensor(kind, ov.Shape([self.batch, heads, self.keys, dim]))
            bytes_of(t)[:] = np.ascontiguousarray(x[0]).reshape(-1).view(np.uint8)
            r.set_tensor(name, t)
        load = lambda: np.copyto(q, self.q.reshape(q.shape))
        finish = lambda: np.copyto(self.out, r.get_output_tensor(0).data.reshape(self.out.shape))
        return load, r.infer, finish

    def paged(self, kind, precision, properties):
        """The operation on a cache in blocks, which has all tokens but the last, those of the queries. A call stores these."""
        hq, hkv = self.heads * self.dim, self.kv_heads
        given = [
            parameter("query", Type.f32, -1, hq), parameter("key", Type.f32, -1, hkv * self.dim), parameter("value", Type.f32, -1, hkv * self.dim_v),
            parameter("key_cache.0", Type.dynamic, -1, -1, -1, -1), parameter("value_cache.0", Type.dynamic, -1, -1, -1, -1),
            parameter("past_lens", Type.i32, -1), parameter("subsequence_begins", Type.i32, -1),
            parameter("block_indices", Type.i32, -1), parameter("block_indices_begins", Type.i32, -1),
        ]
        context = parameter("max_context_len", Type.i32)
        constant = lambda x, kind=Type.i32: ops.constant(np.array(x), kind)
        none, zero = lambda kind=Type.i32: constant([], kind), lambda: constant(0)
        options = [
            none(), none(), none(), none(Type.f32),  # scores, rotation of keys
            none(Type.f32), zero(), zero(), none(Type.f32),  # sparse attention, sinks
            zero(), none(), none(), none(),  # eviction
            none(), none(Type.u8), none(),  # kinds of tokens, a bias
        ]
        inputs = given + [constant(self.dim**-0.5, Type.f32), zero(), none(Type.f32), context] + options
        node = op._PagedAttentionExtension([x.output(0) for x in inputs])
        for name, value in dict(num_k_heads=hkv, k_head_size=self.dim, num_v_heads=hkv, v_head_size=self.dim_v).items():
            node.get_rt_info()[name] = value
        properties = dict(properties, KEY_CACHE_PRECISION=kind, VALUE_CACHE_PRECISION=kind)
        model = compiled(Model([ops.result(node.output(0))], given + [context], "attention"), self.threads, precision, **properties)
        r = model.create_infer_request()

        each = -(-self.keys // BLOCK_TOKENS)
        for name, x in (("key_cache.0", self.k), ("value_cache.0", self.v)):
            port = model.input(name)
            shape = [self.batch * each] + [d.get_length() for d in list(port.get_partial_shape())[1:]]
            cache = ov.Tensor(port.get_element_type(), ov.Shape(shape))
            if name == "key_cache.0" and properties.get("KEY_CACHE_QUANT_MODE") == "BY_CHANNEL":
                self.fill_channels(bytes_of(cache), self.numbers(x), each)
            else:
                self.fill(bytes_of(cache), port.get_element_type(), x, each)
            r.set_tensor(name, cache)
        n = self.queries
        r.set_tensor("query", self.newest(self.q))
        q = r.get_tensor("query").data
        r.set_tensor("key", self.newest(self.numbers(self.k)))
        r.set_tensor("value", self.newest(self.numbers(self.v)))
        for name, x in dict(
            past_lens=[self.keys - n] * self.batch,
            subsequence_begins=np.arange(self.batch + 1) * n,
            block_indices=np.arange(self.batch * each),
            block_indices_begins=np.arange(self.batch + 1) * each,
            max_context_len=self.keys,
        ).items():
            r.set_tensor(name, ov.Tensor(np.array(x, np.int32)))
        load = lambda: np.copyto(q, self.newest(self.q).data)

        def finish():
            y = r.get_output_tensor(0).data.reshape(self.batch, n, self.heads, self.dim_v)
            np.copyto(self.out, y.transpose(0, 2, 1, 3))

        return load, r.infer, finish

    def newest(self, x):
        """Returns what the tokens of the queries have, [tokens, heads * dim]."""
        x = np.asarray(x)[:, :, -self.queries :].transpose(0, 2, 1, 3)
        return ov.Tensor(np.ascontiguousarray(x).reshape(self.batch * self.queries, -1))

    def fill(self, to, kind, x, each):
        """Fills a cache, [blocks, KV heads, tokens, row]. A quantised group has its scale and its zero point before it."""
        codes, scales = x
        if scales is None:
            y = floats(codes, self.type)
            if kind == Type.bf16:
                y = (y.view(np.uint32) >> 16).astype(np.uint16)
            elif kind == Type.f16:
                y = y.astype(np.float16)
            row = y.reshape(*y.shape[:3], -1).view(np.uint8)
        else:
            zero = 8 if kind == Type.u4 else 128
            u = (codes.astype(np.int16) + zero).astype(np.uint8)
            if kind == Type.u4:
                u = u[..., 0::2] << 4 | u[..., 1::2]
            head = np.stack([scales, np.full_like(scales, zero)], axis=-1).view(np.uint8)
            row = np.concatenate([head, u], axis=-1).reshape(*u.shape[:3], -1)
        self.put(to, self.blocks(row, each))

    def fill_channels(self, to, x, each):
        """Fills a cache of u8 whose blocks have a scale and a zero point for each dim before their tokens."""
        blocks = self.blocks(x, each)
        valid = self.blocks(np.ones((*x.shape[:3], 1), bool), each)
        least = np.min(blocks, axis=3, keepdims=True, where=valid, initial=np.inf)
        scale = (np.max(blocks, axis=3, keepdims=True, where=valid, initial=-np.inf) - least) / 255
        scale[scale == 0] = 1
        zero = -least / scale
        codes = np.clip(np.rint(blocks / scale + zero), 0, 255).astype(np.uint8)
        head = np.concatenate([scale, zero], axis=3).astype(np.float32)
        n = head.shape[:3]
        self.put(to, np.concatenate([head.reshape(*n, -1).view(np.uint8), codes.reshape(*n, -1)], axis=-1))

    def blocks(self, rows, each):
        """Returns rows of a head as blocks of tokens, [batch, blocks, KV heads, tokens, row]."""
        whole = np.zeros((self.batch, self.kv_heads, each * BLOCK_TOKENS, rows.shape[-1]), rows.dtype)
        whole[:, :, : self.keys] = rows
        return whole.reshape(self.batch, self.kv_heads, each, BLOCK_TOKENS, -1).transpose(0, 2, 1, 3, 4)

    @staticmethod
    def put(to, blocks):
        if blocks.size != to.size:
            raise RuntimeError("the cache has %d bytes, not %d" % (to.size, blocks.size))
        to[:] = blocks.reshape(-1)


class Product:
    def __init__(self, w):
        for name, value in w.items():
            setattr(self, name, value)
        self.x = file(3, "f4").reshape(self.m, self.k)
        self.out = file(5, "f4").reshape(self.m, self.n)

    def ways(self):
        if self.type not in BLOCKS:
            kinds = ["f32", "bf16"] if self.type == "bfloat16" else ["f32"]
            return [("MatMul, %s, computed in %s" % (self.type, kind), ROUNDING[kind], lambda kind=kind: self.make(kind, 0)) for kind in kinds]
        bits = "i8" if self.type == "q8_0" else "i4"
        return [
            ("MatMul, %s, x %s" % (bits, text), kind, lambda hint=hint, group=group: self.make(hint, group))
            for text, kind, hint, group in (
                ("float32", "float32", "f32", 0),
                ("int8", "int8", "f32", BLOCK),
                ("bfloat16", "bfloat16", "bf16", 0),
                ("int8 of bfloat16", "int8 of bfloat16", "bf16", BLOCK),
            )
        ]

    def weights(self):
        """Returns the weights as the constant that a model has, [N, K]."""
        if self.type not in BLOCKS:
            kind = TYPES[self.type]
            t = ov.Tensor(kind, ov.Shape([self.n, self.k]))
            bytes_of(t)[:] = file(4, "u1")
            return op.Constant(t) if kind == Type.f32 else ops.convert(op.Constant(t), Type.f32)
        codes, scales = codes_of(file(4, BLOCKS[self.type]))
        shape = [self.n, self.k // BLOCK, BLOCK]
        if self.type == "q8_0":
            t = ov.Tensor(np.ascontiguousarray(codes).reshape(shape))
        else:
            u = codes.view(np.uint8).reshape(-1) & 15
            self.kept = np.ascontiguousarray(u[0::2] | u[1::2] << 4)  # which the constant does not copy
            t = ov.Tensor(self.kept, ov.Shape(shape), Type.i4)
        w = ops.multiply(ops.convert(op.Constant(t), Type.f32), ops.constant(scales.reshape(shape[0], shape[1], 1)))
        return ops.reshape(w, np.array([self.n, self.k], np.int64), False)

    def make(self, precision, group):
        x = parameter("x", Type.f32, self.m, self.k)
        model = Model([ops.result(ops.matmul(x, self.weights(), False, True))], [x], "product")
        r = compiled(model, self.threads, precision, DYNAMIC_QUANTIZATION_GROUP_SIZE=group).create_infer_request()
        x = np.empty((self.m, self.k), np.float32)
        r.set_tensor("x", ov.Tensor(x, shared_memory=True))
        return lambda: np.copyto(x, self.x), r.infer, lambda: np.copyto(self.out, r.get_output_tensor(0).data)


def main():
    w = json.loads(sys.argv[1])
    work = Attention(w) if w.pop("kind") == "attention" else Product(w)
    serve(work.ways())


main()
