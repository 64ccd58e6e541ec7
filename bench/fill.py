"""Uses memory as a server does: objects of programs, copies of files, buffers
that are packed already, shared memory, page cache, and the kernel's own
objects for files. What is left, some of it used before, is free."""
import mmap, os, subprocess, time

MIB = 1 << 20

def files(folder):
    for root, _, names in os.walk(folder):
        for n in names:
            if not os.path.islink(f := os.path.join(root, n)):
                yield f

# Objects: numbers, strings and pointers to them.
objects = [{"id": i, "name": "customer %d" % (i * 7919 % 100003), "tags": [i % 13, str(i % 97)]} for i in range(100_000)]

# Buffers that were read from files, and some that cannot be compressed.
anonymous = mmap.mmap(-1, 520 * MIB, mmap.MAP_PRIVATE)
at = 0
for f in sorted(files("/disk")):
    if at > 300 * MIB:
        break
    with open(f, "rb") as r:
        b = r.read(4 * MIB)
    b = b[:len(anonymous) - at]
    anonymous[at:at + len(b)] = b
    at += len(b)
at = 300 * MIB
while at < 380 * MIB:
    anonymous[at:at + MIB] = os.urandom(MIB)
    at += MIB
for i in range(at, len(anonymous), 4096):  # fresh: one word a page
    anonymous[i:i + 8] = i.to_bytes(8, "little")

shared = mmap.mmap(-1, 96 * MIB, mmap.MAP_SHARED)
shared[:] = b"".join(b"%015d\n" % i for i in range(96 * MIB // 16))

# Free memory that was used.
used = mmap.mmap(-1, 200 * MIB, mmap.MAP_PRIVATE)
for i in range(0, len(used), MIB):
    used[i:i + MIB] = anonymous[i:i + MIB]
used.close()

# Dentries, inodes, and the page cache.
left = 480 * MIB
for f in files("/disk"):
    with open(f, "rb") as r:
        while left > 0 and (b := r.read(MIB)):
            left -= len(b)
for i in range(20_000):
    with open("/tmp/session-%d" % i, "w") as w:
        w.write("user %d" % i)
workers = [subprocess.Popen(["sleep", "1000000"]) for _ in range(20)]
print("ready", flush=True)
time.sleep(1000000)
