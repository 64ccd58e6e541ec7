"""Threads blocked in a lock, a sleep and a read, each below a chain of calls."""
import os
import sys
import threading
import time

lock = threading.Lock()
nobody = os.pipe()


def inner(kind):
    if kind == 0:
        lock.acquire()
    elif kind == 1:
        time.sleep(1 << 20)
    else:
        os.read(nobody[0], 1)


def middle(kind):
    return inner(kind)


def outer(kind):
    return middle(kind)


lock.acquire()
for i in range(3):
    threading.Thread(target=outer, args=(i,), name=f"worker-{i}", daemon=True).start()
time.sleep(0.2)
print("ready threads=3", flush=True)
while os.read(0, 1):
    pass
os._exit(0)
