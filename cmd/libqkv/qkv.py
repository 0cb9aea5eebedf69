"""qkv from Python: attention, products and caches over NumPy arrays and PyTorch tensors of the CPU, without copies.

    go build -buildmode=c-shared -o libqkv.so .      # in cmd/libqkv
    >>> import qkv
    >>> out = qkv.attention(q, k, v, causal=True)    # [batch, heads, seq, dim], of any strides

The library is found beside this file, or where the environment variable LIBQKV says.
"""

import ctypes
import operator
import os

_types = {"float32": 0, "float16": 1, "bfloat16": 2, "int8": 3, "bool": 4}
aligns = {None: 0, "top-left": 1, "bottom-right": 2, "offset": 3}


class Error(ValueError):
    """What the library says is wrong with the operands."""


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("shape", ctypes.c_int64 * 4), ("stride", ctypes.c_int64 * 4), ("type", ctypes.c_int32)]


class _Matrix(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p)] + [(n, ctypes.c_int64) for n in ("rows", "cols", "row_stride", "col_stride")]


class _Attention(ctypes.Structure):
    _fields_ = (
        [(n, _Tensor) for n in ("q", "out", "k", "v", "k_scale", "v_scale", "keep", "bias")]
        + [(n, ctypes.c_void_p) for n in ("lse", "lens_q", "lens_kv", "sinks")]
        + [("scale", ctypes.c_float), ("softcap", ctypes.c_float)]
        + [(n, ctypes.c_int64) for n in ("offset", "window_left", "window_right")]
        + [(n, ctypes.c_int32) for n in ("windowed", "causal", "align")]
    )


class _Layer(ctypes.Structure):
    _fields_ = [(n, ctypes.c_int64) for n in ("kv_heads", "dim_qk", "dim_v", "window", "first")] + [
        (n, ctypes.c_int32) for n in ("key_type", "value_type")
    ]


_lib = ctypes.CDLL(os.environ.get("LIBQKV") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "libqkv.so"))


def _call(name, *args):
    text = ctypes.create_string_buffer(1024)
    if getattr(_lib, name)(*args, text, ctypes.c_size_t(len(text))) != 0:
        raise Error(text.value.decode())


def _no_grad(name, x):
    if getattr(x, "requires_grad", False):
        raise Error(f"qkv: {name} requires grad, which nothing here computes; detach() is the same without")


def _operand(name, x):
    """The address, type, shape and strides in elements of an array or tensor."""
    if hasattr(x, "data_ptr"):
        if x.device.type != "cpu":
            raise Error(f"qkv: {name} is on {x.device}, not on the CPU")
        if x.is_neg():
            raise Error(f"qkv: {name} is a view that negates its memory; resolve_neg() copies it")
        _no_grad(name, x)
        return x.data_ptr(), str(x.dtype).removeprefix("torch."), tuple(x.shape), x.stride()
    if not hasattr(x, "strides") or not hasattr(x, "ctypes"):
        raise TypeError(f"qkv: {name} is a {type(x).__name__}, not a NumPy array or a PyTorch tensor")
    if any(s % x.itemsize for s in x.strides):
        raise Error(f"qkv: {name} has strides {x.strides}, no multiples of its elements of {x.itemsize} bytes")
    return x.ctypes.data, str(x.dtype), x.shape, tuple(s // x.itemsize for s in x.strides)


def _shape(name, x, n):
    """The shape of an array or tensor of n dimensions."""
    shape = _operand(name, x)[2]
    if len(shape) != n:
        raise Error(f"qkv: {name} has {len(shape)} dimensions, not {n}")
    return shape


def _tensor(name, x, pairs=False):
    """A tensor of four dimensions; of pairs, those that are missing in front are shared by all."""
    if x is None:
        return _Tensor()
    data, dtype, shape, stride = _operand(name, x)
    if dtype not in _types:
        raise Error(f"qkv: {name} is of {dtype}, it may be of {', '.join(_types)}")
    if pairs:
        shape, stride = (1,) * (4 - len(shape)) + tuple(shape), (0,) * (4 - len(stride)) + tuple(stride)
    if len(shape) != 4:
        raise Error(f"qkv: {name} has {len(shape)} dimensions, not 4")
    return _Tensor(data, (ctypes.c_int64 * 4)(*shape), (ctypes.c_int64 * 4)(*stride), _types[dtype])


def _matrix(name, x):
    data, dtype, shape, stride = _operand(name, x)
    if dtype != "float32" or len(shape) != 2:
        raise Error(f"qkv: {name} is {dtype} of {len(shape)} dimensions, not float32 of 2")
    return _Matrix(data, *shape, *stride)


def _written(name, x):
    """What is written, which has to be writable."""
    _operand(name, x)
    if not hasattr(x, "data_ptr") and not x.flags.writeable:
        raise Error(f"qkv: {name} is read-only")
    return x


def _out(x, like, shape):
    """What is written: x, or a new array or tensor of the kind and type of another."""
    if x is not None:
        return _written("out", x)
    if hasattr(like, "new_empty"):
        return like.new_empty(tuple(shape))
    import numpy

    return numpy.empty(tuple(shape), like.dtype)


def _int(name, x):
    try:
        n = operator.index(x)
    except TypeError:
        raise TypeError(f"qkv: {name} is {x!r}, not an integer") from None
    if not -(2**63) <= n < 2**63:
        raise Error(f"qkv: {name} is {n}, which 64 bits do not hold")
    return n


def _float(name, x):
    try:
        return float(x)
    except (TypeError, ValueError):
        raise TypeError(f"qkv: {name} is {x!r}, not a number") from None


def _list(name, x, kind, convert, n, of):
    """A C array of n numbers, or None."""
    if x is None:
        return None
    _no_grad(name, x)
    try:
        values = list(x)
    except TypeError:
        raise TypeError(f"qkv: {name} is {x!r}, not a list of numbers") from None
    if len(values) != n:
        raise Error(f"qkv: {name} has length {len(values)}, q has {n} {of}")
    return (kind * n)(*(convert(f"{name}[{i}]", value) for i, value in enumerate(values)))


def _arguments(q, out, k=None, v=None, k_scale=None, v_scale=None, keep=None, bias=None, lse=None, lens_q=None,
               lens_kv=None, sinks=None, scale=0.0, softcap=0.0, window=None, causal=False, align=None, offset=0):
    """The operands of the C function, and what they point to."""
    q_shape = _shape("q", q, 4)
    if lse is not None:
        _, dtype, shape, stride = _operand("lse", _written("lse", lse))
        if dtype != "float32" or tuple(shape) != tuple(q_shape[:3]) or stride != (shape[1] * shape[2], shape[2], 1):
            raise Error(f"qkv: lse is {dtype} {tuple(shape)}, not contiguous float32 {tuple(q_shape[:3])}")
    kept = (
        _list("lens_q", lens_q, ctypes.c_int64, _int, q_shape[0], "sequences"),
        _list("lens_kv", lens_kv, ctypes.c_int64, _int, q_shape[0], "sequences"),
        _list("sinks", sinks, ctypes.c_float, _float, q_shape[1], "heads"),
    )
    try:
        left, right = (0, 0) if window is None else window
    except (TypeError, ValueError):
        raise TypeError(f"qkv: window is {window!r}, not a pair of integers") from None
    if align not in list(aligns):
        raise Error(f"qkv: align is {align!r}, it may be {', '.join(map(repr, aligns))}")
    return _Attention(
        _tensor("q", q), _tensor("out", out), _tensor("k", k), _tensor("v", v), _tensor("k_scale", k_scale), _tensor("v_scale", v_scale),
        _tensor("keep", keep, True), _tensor("bias", bias, True),
        None if lse is None else _operand("lse", lse)[0], *(ctypes.cast(x, ctypes.c_void_p) if x is not None else None for x in kept),
        _float("scale", scale), _float("softcap", softcap), _int("offset", offset), _int("window[0]", left), _int("window[1]", right),
        window is not None, bool(causal), aligns[align],
    ), kept


# Options that there are not are told as those of attention, which hands on what it is given.
_arguments.__qualname__ = "attention"


def attention(q, k, v, out=None, **options):
    """softmax(scale * q kT + bias) v, of float32 q [batch, heads, seq_q, dim] and k, v [batch, kv_heads, seq_kv, dim].

    Options: keep (bool) and bias, which broadcast to [batch, heads, seq_q, seq_kv]; causal and window=(left, right), with
    align where queries and keys differ in number ("top-left", "bottom-right", or "offset" with offset=); lens_q and
    lens_kv of sequences; sinks; scale, by default 1/sqrt(dim); softcap; lse, an array for log-sum-exps; k_scale and
    v_scale of int8. Returns out. An operand of another kind is a TypeError, and what does not fit an Error.
    """
    for name, x in (("k", k), ("v", v)):
        _shape(name, x, 4)
    out = _out(out, q, (*_shape("q", q, 4)[:3], v.shape[3]))
    args, kept = _arguments(q, out, k, v, **options)
    _call("qkv_attention", ctypes.byref(args))
    return out


def matmul(x, w, bias=None, out=None):
    """x w + bias, in float32; weights [out, in] are w.T."""
    a, b = _matrix("x", x), _matrix("w", w)
    out = _out(out, x, (a.rows, b.cols))
    if bias is not None and (_operand("bias", bias)[1:] != ("float32", (b.cols,), (1,))):
        raise Error(f"qkv: bias is not contiguous float32 of {b.cols}")
    _call("qkv_matmul", ctypes.byref(a), ctypes.byref(b),
          None if bias is None else ctypes.c_void_p(_operand("bias", bias)[0]), ctypes.byref(_matrix("out", out)))
    return out


def _layer(at, layer):
    """A layer of a cache, of a dict."""
    if not isinstance(layer, dict):
        raise TypeError(f"qkv: layers[{at}] is a {type(layer).__name__}, not a dict")
    to = _Layer()
    for name, value in layer.items():
        if not hasattr(to, name):
            raise Error(f"qkv: layers[{at}] has {name!r}, a layer has no {name}")
        if not name.endswith("type"):
            setattr(to, name, _int(f"{name} of layers[{at}]", value))
        elif value in list(_types):
            setattr(to, name, _types[value])
        else:
            raise Error(f"qkv: {name} of layers[{at}] is {value!r}, it may be {', '.join(_types)}")
    return to


class Cache:
    """Keys and values of all layers, in pages. A layer is a dict of kv_heads, dim_qk, dim_v and, if given, key_type, value_type, window, first."""

    def __init__(self, layers, page_tokens=16, pages=0, sequences=0):
        all = (_Layer * len(layers))(*(_layer(i, layer) for i, layer in enumerate(layers)))
        self._dims = [layer.dim_v for layer in all]
        numbers = [_int(*x) for x in (("page_tokens", page_tokens), ("pages", pages), ("sequences", sequences))]
        self._handle = ctypes.c_uint64()
        _call("qkv_cache_new", all, *map(ctypes.c_int64, (len(layers), *numbers)), ctypes.byref(self._handle))

    def sequence(self):
        s = Sequence()
        _call("qkv_sequence_new", self._handle, ctypes.byref(s._handle))
        return s

    def step(self):
        s = Step(self._dims)
        _call("qkv_step_new", self._handle, ctypes.byref(s._handle))
        return s

    def free(self):
        _call("qkv_cache_free", self._handle)


class Sequence:
    """A sequence of tokens in a cache."""

    def __init__(self):
        self._handle = ctypes.c_uint64()

    def __len__(self):
        n = ctypes.c_int64()
        _call("qkv_sequence_len", self._handle, ctypes.byref(n))
        return n.value

    def fork(self):
        s = Sequence()
        _call("qkv_sequence_fork", self._handle, ctypes.byref(s._handle))
        return s

    def truncate(self, tokens):
        _call("qkv_sequence_truncate", self._handle, ctypes.c_int64(_int("tokens", tokens)))

    def free(self):
        _call("qkv_sequence_free", self._handle)


class Step:
    """New tokens of some sequences: begin, write and attend each layer, then commit or roll back."""

    def __init__(self, dims):
        self._dims = dims  # of values, of each layer
        self._handle = ctypes.c_uint64()

    def begin(self, sequences):
        """sequences are pairs of a Sequence and the number of its new tokens."""
        n = len(sequences)
        handles, tokens = (ctypes.c_uint64 * n)(), (ctypes.c_int64 * n)()
        for i, pair in enumerate(sequences):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], Sequence):
                raise TypeError(f"qkv: sequences[{i}] is {pair!r}, not a pair of a Sequence and a number of tokens")
            handles[i], tokens[i] = pair[0]._handle.value, _int(f"the tokens of sequences[{i}]", pair[1])
        _call("qkv_step_begin", self._handle, handles, tokens, ctypes.c_int64(n))

    def write(self, layer, k, v):
        """k and v are [1, kv_heads, tokens, dim] of all sequences, one behind the other, float32."""
        _call("qkv_step_write", self._handle, ctypes.c_int64(_int("layer", layer)), ctypes.byref(_tensor("k", k)), ctypes.byref(_tensor("v", v)))

    def attend(self, layer, q, out=None, **options):
        """The attention of q [1, heads, queries, dim], with those options of attention() that a step does not set itself."""
        if not 0 <= _int("layer", layer) < len(self._dims):
            raise Error(f"qkv: layer is {layer}, the cache has {len(self._dims)}")
        out = _out(out, q, (*_shape("q", q, 4)[:3], self._dims[layer]))
        args, kept = _arguments(q, out, **options)
        _call("qkv_step_attend", self._handle, ctypes.c_int64(layer), ctypes.byref(args))
        return out

    def commit(self):
        _call("qkv_step_commit", self._handle)

    def rollback(self):
        _call("qkv_step_rollback", self._handle)

    def free(self):
        _call("qkv_step_free", self._handle)
