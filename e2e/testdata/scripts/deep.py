"""Writes who called whom, innermost first, and waits."""
import os
import sys


def inner():
    frame = sys._getframe(1)
    while frame:
        print("frame", frame.f_code.co_name, frame.f_lineno)
        frame = frame.f_back
    print("ready", flush=True)
    os.read(0, 1)


class Other:
    def outer(self, depth):
        if depth:
            return self.outer(depth - 1)
        return [middle(x) for x in (1,)]


def middle(n):
    inner()


Other().outer(3)
