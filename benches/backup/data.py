#!/usr/bin/env python3
"""Makes the files that backup programs are compared on.

    a   pages of a database: 8 KiB each, with a header, a slot array, rows, and zeros where there is room left
    b   random bytes
    c   a, with 1 % of its pages replaced by others of the same kind, spread at random, and 1 % of bytes inserted
    d   as c, but the replaced pages come in runs of 64

Usage: data.py FOLDER [--size 2GiB] [--seed 1] [--only a,c]

It needs Python 3.10 or later. The same size and seed make the same bytes everywhere. c and d are made from the
a in the folder, which is made first if it is missing or of another size; the seed must be the same. The size is
that of a and b; c and d are 1 % longer. Each page comes from the seed and its number alone, and no two are
equal, so nothing is gained by finding a page twice. What is inserted is of the same kind, 64 pieces in 2 GiB,
cut at odd lengths: what follows is no longer aligned to pages. `zstd -1` makes a 2.75 times smaller, in one
piece and in blocks of 2 MiB.

It is no real database's format and speaks for no real database. It has, in one file, what chunkers and
compressors meet there: words that repeat, ids that grow, zeros within pages, changes of single pages.
"""

import argparse
import itertools
import pathlib
import random
import re
import struct
import time

PAGE = 8192
PAGES_IN_BLOCK = 128
BLOCK = PAGE * PAGES_IN_BLOCK
HEADER = struct.Struct("<QHHHHII")
SLOT = 4

# Where bytes come from: no stream has anything of another.
ORIGINAL, RANDOM = 0, 1
REPLACED, INSERTED, PLACES = {"c": 2, "d": 3}, {"c": 4, "d": 5}, {"c": 6, "d": 7}
STREAMS = 8
# How many replaced pages stand side by side.
RUNS = {"c": 1, "d": 64}


# === rows ===

DIGITS = bytes(ord("0") + byte % 10 for byte in range(256))
HEX = b"0123456789abcdef" * 16
ROWS_AT_A_TIME = 1024
IDS_IN_BLOCK = 1 << 14


def skewed(*words):
    """256 entries for one random byte to choose from, the first words most often; each with its length before it."""
    encoded = [bytes([len(word)]) + word.encode() for word in words]
    return [encoded[int(len(encoded) * (byte / 256) ** 2)] for byte in range(256)]


def vocabulary():
    """256 made-up words of three or four syllables."""
    starts = "ba cor del fi gran hol jun ka lim mor nes or pra ris sal tor".split()
    middles = "li mand".split()
    ends = "da len mi nor pe ros ta ver".split()
    return [b" " + "".join(parts).encode() for parts in itertools.product(starts, middles, ends)]


STATUS = skewed("delivered", "shipped", "paid", "returned", "cancelled", "pending")
COUNTRY = skewed("DE", "FR", "US", "GB", "IT", "ES", "PL", "NL", "SE", "AT", "CH", "CZ", "DK", "PT", "FI", "IE")
CURRENCY = skewed("EUR", "USD", "GBP", "PLN", "SEK", "CHF")
CHANNEL = skewed("web", "app-android", "app-ios", "phone", "partner", "store")
WORDS = vocabulary()


def column(random_bytes, width, table=None):
    """A value of `width` random bytes for each row, mapped to other characters by the table."""
    data = random_bytes(width * ROWS_AT_A_TIME)
    if table is not None:
        data = data.translate(table)
    return [data[start : start + width] for start in range(0, len(data), width)]


def choices(random_bytes, table):
    """One of the table's entries for each row."""
    return [table[byte] for byte in random_bytes(ROWS_AT_A_TIME)]


def texts(random_bytes):
    """Three to eight words for each row."""
    words = [WORDS[byte] for byte in random_bytes(8 * ROWS_AT_A_TIME)]
    lengths = random_bytes(ROWS_AT_A_TIME)
    return [b"".join(words[8 * row : 8 * row + 3 + length % 6]) for row, length in enumerate(lengths)]


def rows(random_bytes, first_id):
    """Orders without end: what grows, what has few values, numbers, a key that nobody can guess, and a text."""
    for first in itertools.count(first_id, ROWS_AT_A_TIME):
        ids = range(first, first + ROWS_AT_A_TIME)
        yield from map(
            b"".join,
            zip(
                itertools.repeat(b"\x0b\x00\x02\x09\x18\x00"),
                (number.to_bytes(8, "big") for number in ids),
                ((1_700_000_000_000_000 + number * 3_000_017).to_bytes(8, "big") for number in ids),
                column(random_bytes, 3),
                choices(random_bytes, STATUS),
                choices(random_bytes, COUNTRY),
                choices(random_bytes, CURRENCY),
                choices(random_bytes, CHANNEL),
                column(random_bytes, 5, DIGITS),
                column(random_bytes, 16, HEX),
                texts(random_bytes),
            ),
        )


# === pages ===


def page(number, log_position, page_rows):
    """Header and slots from the front, rows from the back, zeros between."""
    offset = PAGE
    slots = []
    for row in page_rows:
        offset -= len(row)
        slots += offset, len(row)
    slots_end = HEADER.size + SLOT * len(page_rows)
    header = HEADER.pack(log_position, 0, slots_end, offset, PAGE, number, 4)
    front = header + struct.pack(f"<{len(slots)}H", *slots)
    return front.ljust(offset, b"\0") + b"".join(reversed(page_rows))


def block(seed, stream, index):
    """128 pages, always the same for the same arguments."""
    random_bytes = random.Random(f"{seed}/{stream}/{index}").randbytes
    supply = rows(random_bytes, (index * STREAMS + stream) * IDS_IN_BLOCK)
    row = next(supply)
    pages = []
    for number in range(index * PAGES_IN_BLOCK, (index + 1) * PAGES_IN_BLOCK):
        free, log_step = random_bytes(2)
        # 200 to 1,475 bytes stay free, and what the next row was too long for.
        room = PAGE - HEADER.size - (200 + 5 * free)
        page_rows = []
        while SLOT + len(row) <= room:
            page_rows.append(row)
            room -= SLOT + len(row)
            row = next(supply)
        pages.append(page(number, number * 8209 + log_step, page_rows))
    return b"".join(pages)


# === files ===


def blocks(size):
    """Index and length of each block."""
    return [(index, min(BLOCK, size - start)) for index, start in enumerate(range(0, size, BLOCK))]


def pages(seed, stream, size):
    """The first bytes of a stream, block by block."""
    return (block(seed, stream, index)[:length] for index, length in blocks(size))


def noise(seed, size):
    return (random.Random(f"{seed}/{RANDOM}/{index}").randbytes(length) for index, length in blocks(size))


def distinct(generator, count, limit):
    """`count` different numbers below the limit, in order."""
    chosen = set()
    while len(chosen) < count:
        chosen.add(generator.randrange(limit))
    return sorted(chosen)


def insertions(generator, size):
    """Where how much is inserted: odd lengths, together 1 % of the size; one for each 32 MiB, and at least 32."""
    count = max(32, size // (32 << 20) & ~1)
    half = size // 200
    cuts = [0, *(1 + cut for cut in distinct(generator, count - 1, half - 1)), half]
    # Even lengths, every other one made one more, the rest one less: the sum stays.
    lengths = [2 * (end - start) + (-1) ** number for number, (start, end) in enumerate(itertools.pairwise(cuts))]
    return zip(distinct(generator, count, size), lengths, strict=True)


def changed(original, seed, name, size):
    """The original with pages replaced, and then with bytes inserted, piece by piece."""
    generator = random.Random(f"{seed}/{PLACES[name]}")
    run = PAGE * RUNS[name]
    replaced = distinct(generator, max(1, round(size / 100 / run)), size // run)
    inserted = list(insertions(generator, size))
    new_pages = memoryview(b"".join(pages(seed, REPLACED[name], len(replaced) * run)))
    new_bytes = memoryview(b"".join(pages(seed, INSERTED[name], sum(length for _, length in inserted))))
    inserted.append((size, 0))
    next_replaced = next_inserted = 0
    for start in range(0, size, run):
        data = memoryview(original.read(run))
        if next_replaced < len(replaced) and replaced[next_replaced] * run == start:
            data = new_pages[next_replaced * run : (next_replaced + 1) * run]
            next_replaced += 1
        while inserted[next_inserted][0] < start + len(data):
            place, length = inserted[next_inserted]
            yield data[: place - start]
            yield new_bytes[:length]
            data, new_bytes, start = data[place - start :], new_bytes[length:], place
            next_inserted += 1
        yield data


def write(path, pieces):
    """A file is there whole or not at all."""
    began = time.monotonic()
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb", buffering=BLOCK) as file:
        file.writelines(pieces)
    unfinished.replace(path)
    print(f"{path}: {path.stat().st_size} bytes in {time.monotonic() - began:.1f} s", flush=True)


def make(folder, name, size, seed):
    path = folder / name
    if name == "a":
        write(path, pages(seed, ORIGINAL, size))
    elif name == "b":
        write(path, noise(seed, size))
    else:
        original = folder / "a"
        if not original.exists() or original.stat().st_size != size:
            make(folder, "a", size, seed)
        with open(original, "rb") as file:
            write(path, changed(file, seed, name, size))


# === arguments ===


def size_argument(text):
    """Whole mebibytes: `64MiB`, `2GiB`."""
    match = re.fullmatch(r"([1-9][0-9]*) ?(MiB|GiB)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 64MiB or 2GiB")
    return int(match[1]) << {"MiB": 20, "GiB": 30}[match[2]]


def names_argument(text):
    names = text.split(",")
    if not set(names) <= set("abcd"):
        raise argparse.ArgumentTypeError(f"{text!r} has other names than a, b, c and d")
    return sorted(names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where the files a, b, c and d go; made if missing")
    parser.add_argument("--size", type=size_argument, default="2GiB", help="of a and b (2GiB)")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other bytes (1)")
    parser.add_argument("--only", type=names_argument, default="a,b,c,d", help="which files (a,b,c,d)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        make(arguments.folder, name, arguments.size, arguments.seed)


if __name__ == "__main__":
    main()
