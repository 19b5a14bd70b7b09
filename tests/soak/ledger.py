"""What one client knows of its blocks: which content each must have, and which it may have.

A block holds zeroes or a stamp, which names its client, its place and a generation that grows with
every write. Content that was acknowledged must be there. A write that failed, or whose server died
before it answered, may have come about or not, and so may each sector of it.
"""

import struct

BLOCK_BYTES = 4096
SECTOR_BYTES = 512
STAMP = struct.Struct(">8sIIQQ")
MAGIC = b"soaking\n"
ZEROES = bytes(BLOCK_BYTES)


def stamped(client, block, generation):
    """Generation 0 is a block of zeroes; every other one differs in each of its sectors."""
    if generation == 0:
        return ZEROES
    stamp = STAMP.pack(MAGIC, client, block, generation, generation ^ (1 << 63))
    return stamp * (BLOCK_BYTES // STAMP.size)


class Ledger:
    """The blocks of one client, by their number in its region."""

    def __init__(self, client, blocks):
        self.client = client
        self.acknowledged = [0] * blocks  # the generation that must be there
        self.flushed = [0] * blocks  # of them, what a flush or FUA has covered
        self.newest = [0] * blocks  # generations given out
        self.possible = {}  # block: generations that may be there instead
        self.lost = []  # lines for people
        self.corrupt = []

    def next_generation(self, block):
        self.newest[block] += 1
        return self.newest[block]

    def acknowledge(self, block, generation, durable):
        self.acknowledged[block] = generation
        self.possible.pop(block, None)
        if durable:
            self.flushed[block] = generation

    def doubt(self, block, generation):
        """A write of this generation was sent, and nobody knows what became of it."""
        self.possible.setdefault(block, set()).add(generation)

    def flush(self, snapshot):
        """A flush was answered; `snapshot` is (block, generation) acknowledged before it began."""
        for block, generation in snapshot:
            self.flushed[block] = generation

    def check(self, block, content, where):
        """Compares; after a doubt, what is there is from now on what must be there. True when the
        block has to be written anew, because it is neither one nor the other."""
        expected = self.acknowledged[block]
        if content == stamped(self.client, block, expected):
            self.possible.pop(block, None)
            return False
        doubts = self.possible.pop(block, set())
        for generation in doubts:
            if content == stamped(self.client, block, generation):
                self.acknowledged[block] = generation
                return False
        if doubts and self.is_mixture(block, content, doubts | {expected}):
            return True
        self.report(block, content, where)
        self.acknowledged[block] = self.newest[block]  # reported once
        return True

    def is_mixture(self, block, content, generations):
        candidates = [stamped(self.client, block, generation) for generation in generations]
        return all(any(content[at:at + SECTOR_BYTES] == one[at:at + SECTOR_BYTES]
                       for one in candidates)
                   for at in range(0, BLOCK_BYTES, SECTOR_BYTES))

    def report(self, block, content, where):
        expected = self.acknowledged[block]
        name = f"{where}: client {self.client}, block {block}: generation {expected} expected"
        found = self.generation_in(block, content)
        if found is None:
            self.corrupt.append(f"{name}, found {content[:32].hex()}")
            return
        flushed = "flushed" if self.flushed[block] == expected else "not flushed"
        self.lost.append(f"{name} ({flushed}), found {found}")

    def generation_in(self, block, content):
        """None: it is no content that this block ever had."""
        if content == ZEROES:
            return 0
        magic, client, place, generation, _ = STAMP.unpack_from(content)
        if (magic, client, place) != (MAGIC, self.client, block):
            return None
        whole = content == stamped(client, block, generation)
        return generation if whole and generation <= self.newest[block] else None
