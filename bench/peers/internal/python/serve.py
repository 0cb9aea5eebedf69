"""Computes one work in some ways, whenever standard input says so.

The argument is the work, as the Go program that starts this writes it. Tensors are files that
both have open, as descriptors from 3 on. The first line written is JSON: the ways in which the
work can be computed. Then a letter and the number of a way are read, again and again: l has the
way bring queries or X into its layout, r has it compute, f has it copy its result to the file.
A byte answers each: a point, or an exclamation mark and a line that says what failed.
"""

import json
import os
import sys


def answer(data):
    os.write(1, data)


def serve(made):
    """Serves what made has: names, types of the arithmetic, and what makes functions for l, r and f.

    A way whose functions cannot be made, or fail, is missing."""
    ways, missing = [], []
    for name, kind, make in made:
        try:
            functions = make()
            for f in functions[:2]:
                f()
        except RuntimeError as e:  # such as for a type that a function does not have
            missing.append("%s: %s" % (name, str(e).strip().split("\n")[-1]))
            continue
        ways.append((name, kind, functions))
    header = {"ways": [{"name": name, "type": kind} for name, kind, _ in ways], "missing": missing}
    answer(json.dumps(header).encode() + b"\n")
    while True:
        command = os.read(0, 2)
        if len(command) < 2:
            return
        try:
            ways[command[1]][2][b"lrf".index(command[:1])]()
        except Exception as e:
            answer(b"!" + str(e).replace("\n", " ").encode() + b"\n")
            continue
        answer(b".")


