"""Computes one work with PyTorch. The Go program that starts this puts serve.py before it."""

import torch
import torch.nn.functional as F


def tensor(fd, kind, *dims):
    size = 1
    for d in dims:
        size *= d
    flat = torch.from_file("/dev/fd/%d" % fd, shared=True, size=size, dtype=getattr(torch, kind))
    return flat.view(*dims)


class Attention:
    """Heads that share a KV head are rows of one matrix of queries."""

    def __init__(self, w):
        n, rows, keys = w["batch"] * w["kv_heads"], w["heads_per_kv"] * w["queries"], w["keys"]
        self.kind = w["type"]
        self.q = tensor(3, "float32", n, rows, w["dim"])
        self.k = tensor(4, self.kind, n, keys, w["dim"])
        self.v = tensor(5, self.kind, n, keys, w["dim_v"])
        self.out = tensor(6, "float32", n, rows, w["dim_v"])
        self.scale = w["dim"] ** -0.5
        # The keys that a row does not attend have -inf.
        self.mask = None
        if w["causal"]:
            last = torch.arange(w["queries"]).unsqueeze(1) + keys - w["queries"]
            mask = torch.zeros(w["queries"], keys)
            mask.masked_fill_(torch.arange(keys) > last, float("-inf"))
            self.mask = mask.repeat(w["heads_per_kv"], 1)
        self.square = w["causal"] and w["heads_per_kv"] == 1 and w["queries"] == keys

    def ways(self):
        """Lists names, types of the arithmetic and what makes the functions that compute."""
        kinds = [self.kind] if self.kind == "float32" else [self.kind, "float32"]
        list = []
        for kind in kinds:
            text = "" if kind == self.kind == "float32" else ", " + kind
            if kind != self.kind:
                text = ", %s K and V widened" % self.kind
            list += [
                ("baddbmm, softmax and bmm" + text, kind, lambda kind=kind: self.three_steps(kind, False)),
                ("addmm, softmax and mm of each KV head" + text, kind, lambda kind=kind: self.three_steps(kind, True)),
            ]
            if hasattr(F, "scaled_dot_product_attention"):
                list.append(("scaled_dot_product_attention" + text, kind, lambda kind=kind: self.fused(kind)))
        return list

    def operands(self, kind):
        """Returns a function for Q, K and V in a type, which converts what is of another."""
        kind = getattr(torch, kind)
        room = [x if x.dtype == kind else torch.empty_like(x, dtype=kind) for x in (self.q, self.k, self.v)]

        def get():
            for to, x in zip(room, (self.q, self.k, self.v)):
                if to is not x:
                    to.copy_(x)
            return room

        return get

    def three_steps(self, kind, each):
        get, dtype = self.operands(kind), getattr(torch, kind)
        n, rows, keys = self.q.shape[0], self.q.shape[1], self.k.shape[1]
        scores = torch.empty(1 if each else n, rows, keys, dtype=dtype)
        weights = torch.empty_like(scores)
        out = torch.empty(self.out.shape, dtype=dtype)
        beta, mask = 0, torch.zeros(1, dtype=dtype)
        if self.mask is not None:
            beta, mask = 1, self.mask.to(dtype)

        def run():
            q, k, v = get()
            if not each:
                torch.baddbmm(mask, q, k.transpose(1, 2), beta=beta, alpha=self.scale, out=scores)
                torch.softmax(scores, -1, out=weights)
                return torch.bmm(weights, v, out=out)
            for i in range(n):
                torch.addmm(mask, q[i], k[i].t(), beta=beta, alpha=self.scale, out=scores[0])
                torch.softmax(scores[0], -1, out=weights[0])
                torch.mm(weights[0], v[i], out=out[i])
            return out

        return run

    def fused(self, kind):
        get = self.operands(kind)
        mask = None if self.mask is None or self.square else self.mask.to(getattr(torch, kind))

        def run():
            q, k, v = (x.unsqueeze(1) for x in get())
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.square).squeeze(1)

        return run


class Product:
    def __init__(self, w):
        self.kind = w["type"]
        self.x = tensor(3, "float32", w["m"], w["k"])
        self.w = tensor(4, self.kind, w["n"], w["k"])
        self.out = tensor(5, "float32", w["m"], w["n"])

    def ways(self):
        text = "" if self.kind == "float32" else ", %s, x %s and y %s" % ((self.kind,) * 3)
        list = [("linear" + text, self.kind, lambda: lambda: F.linear(self.get(), self.w))]
        if self.x.shape[0] == 1:
            list.append(("mv" + text, self.kind, lambda: lambda: torch.mv(self.w, self.get()[0]).unsqueeze(0)))
        else:
            list.append(("mkldnn_linear" + text, self.kind, self.mkldnn))
        return list

    def get(self):
        """Returns X in the type of the weights."""
        return self.x.to(self.w.dtype)

    def mkldnn(self):
        w = self.w.to_mkldnn()
        return lambda: torch._C._nn.mkldnn_linear(self.get().to_mkldnn(), w).to_dense()


class Results:
    """Keeps what a way returns until it is asked for."""

    def __init__(self, work, run):
        self.work, self.compute = work, run

    def run(self):
        self.result = self.compute()

    def finish(self):
        self.work.out.copy_(self.result)


def main():
    w = json.loads(sys.argv[1])
    torch.set_num_threads(w["threads"])
    work = Attention(w) if w["kind"] == "attention" else Product(w)

    def functions(make):
        r = Results(work, make())
        return lambda: None, r.run, r.finish

    serve([(name, kind, lambda make=make: functions(make)) for name, kind, make in work.ways()])


with torch.inference_mode():
    main()
