"""Logs by Python's logging, as servers do, for those who watch it.

It answers as actor.c does: "log MS" logs for so long.
"""
import logging
import sys
import time

handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"))
log = logging.getLogger("shop.item")
log.addHandler(handler)
log.setLevel(logging.INFO)

print("ready", flush=True)
for line in sys.stdin:
    word, ms = line.split()
    n, start, cpu = 0, time.monotonic_ns(), time.process_time_ns()
    while time.monotonic_ns() - start < int(ms) * 1_000_000:
        for _ in range(10):
            log.info("GET /item/%d %d %d bytes for user %s", n, 200, 1234, "alice")
            n += 1
    us = (time.monotonic_ns() - start) // 1000
    print(f"{word} n={n} us={us} cpu={(time.process_time_ns() - cpu) // 1000}", flush=True)
