"""The cells: what kind of file, block size, depth, number of descriptors."""

from dataclasses import dataclass

from . import contestants as who

MIB = 1 << 20
SIZES = {"4k": 4096, "64k": 65536, "1M": MIB}
DEPTHS = [1, 8, 32, 128]


@dataclass(frozen=True)
class Kind:
    name: str
    title: str
    where: str  # which directory of the machine: disk, tmpfs, xfs
    file: str
    bytes: int
    write: bool = False
    direct: bool = False
    # A file for each block size, written in pieces of that size: how large the page cache's folios are decides what a
    # buffered write costs where the file system has buffers by the block (ext4: 1.5 µs, or 6 to 40 in folios of 2 MiB).
    by_size: bool = False


KINDS = {
    k.name: k
    for k in [
        Kind("hot-read", "{disk} hot buffered read", "disk", "hot", 64 * MIB),
        Kind("direct-read", "O_DIRECT read", "disk", "direct", 1024 * MIB, direct=True),
        Kind("direct-write", "O_DIRECT write", "disk", "direct", 1024 * MIB, write=True, direct=True),
        Kind("disk-write", "{disk} buffered write", "disk", "write", 256 * MIB, write=True, by_size=True),
        Kind("tmpfs-read", "tmpfs read", "tmpfs", "shm", 256 * MIB),
        Kind("tmpfs-write", "tmpfs write", "tmpfs", "shm", 256 * MIB, write=True),
        Kind("xfs-read", "xfs hot buffered read", "xfs", "hot", 64 * MIB),
        Kind("xfs-write", "xfs buffered write", "xfs", "write", 256 * MIB, write=True),
    ]
}


@dataclass(frozen=True)
class Cell:
    kind: str
    size: str
    depth: int
    files: int = 1

    @property
    def key(self):
        return f"{self.kind}/{self.size}/d{self.depth}/f{self.files}"

    @classmethod
    def parse(cls, key):
        kind, size, depth, files = key.split("/")
        return cls(kind, size, int(depth[1:]), int(files[1:]))

    def arguments(self, directories):
        k = KINDS[self.kind]
        out = file_arguments(directories, k, self.files, self.size)
        out += ["--block", str(SIZES[self.size]), "--depth", str(self.depth)]
        return ["rw"] + out + (["--write"] if k.write else [])

    def commands(self, directories, seconds):
        base = self.arguments(directories) + ["--seconds", str(seconds)]
        out = {}
        for c in who.ALL:
            # A loop of preads knows no depth: once is enough, and once more where a ratio to it is asked for.
            if c == who.SYNC and self.depth != 1 and self.key != "disk-write/4k/d32/f1":
                continue
            engine = c if c in (who.SYNC, who.URING, who.BATCH) else "aio"
            out[c] = (base + ["--engine", engine], None)
        return out


def file_arguments(directories, kind, files=1, size=None):
    prefix = f"{directories[kind.where]}/{kind.file}" + (f"-{size}-" if kind.by_size else "") + str(files)
    return ["--file", prefix, "--bytes", str(kind.bytes), "--files", str(files)] + (["--direct"] if kind.direct else [])


def title(key, disk):
    c = Cell.parse(key)
    files = "" if c.files == 1 else f", {c.files} descriptors"
    return f"{KINDS[c.kind].title.format(disk=disk)} {c.size}, depth {c.depth}{files}"


QUICK = [Cell(*c) for c in [
    ("direct-read", "4k", 1), ("direct-read", "4k", 32), ("direct-read", "4k", 128), ("direct-write", "4k", 32),
    ("hot-read", "4k", 1), ("hot-read", "4k", 32), ("disk-write", "4k", 1), ("disk-write", "4k", 32),
    ("tmpfs-read", "4k", 1), ("tmpfs-write", "4k", 1),
    ("direct-read", "1M", 8), ("direct-write", "1M", 8), ("hot-read", "1M", 8), ("disk-write", "1M", 8),
]]


def full():
    return [Cell(k, s, d, f) for f in (1, 32) for k in KINDS for s in SIZES for d in DEPTHS]
