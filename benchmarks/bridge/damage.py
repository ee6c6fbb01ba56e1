"""Randomly damaged frames: how many are taken for good. `python benchmarks/bridge/damage.py [COUNT]`, 10,000,000 without one."""

import sys
import time

import numpy as np

from firmware_bridge import kernels
from firmware_bridge.framing import READ_BYTES, Decoder, encode, header
from firmware_bridge.messages import Command, Telemetry


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    rng = np.random.default_rng(11)
    goods = [
        encode(header(Command.CODE, 2, 0, 9, 123, Command(10**9, 1, 2, 3, 40.0, 1, 0).pack())),
        encode(header(Telemetry.CODE, 0, 1, 9, 123, Telemetry(1, 10**6, 1, 8, 0, rng.normal(size=8).astype("<f4").tobytes()).pack())),
    ]
    taken = done = wrong = 0
    start = time.monotonic()
    while done < count:
        for good in goods:
            base = np.frombuffer(good, np.uint8)
            n = READ_BYTES // len(good)
            lines = np.tile(base, (n, 1))
            rows = np.arange(n)
            for k in range(1 + done % 3):  # 1 to 3 bytes, delimiters too
                lines[rows, rng.integers(0, len(good), n)] ^= rng.integers(0 if k else 1, 256, n, np.uint8)
            same = int((lines == base).all(axis=1).sum())
            decoder = Decoder()
            decoder.input[: lines.size] = lines.tobytes()
            found = decoder.table(lines.size)
            view = decoder.memory
            whole = base_frame(good)
            # A damaged delimiter beside the other one leaves the frame whole: it is the same bytes, and not a wrong one.
            wrong += sum(bytes(view[at : at + len(whole)]) != whole for at in found[kernels.AT].tolist())
            taken += found.shape[1]
            done += n - same
    print(f"{done:,} damaged frames in {time.monotonic() - start:.0f} s: {wrong} taken with wrong content ({taken:,} whole ones found)")


def base_frame(line: bytes) -> bytes:
    decoder = Decoder()
    at = int(decoder.feed(line) is None)
    return bytes(decoder.memory[at : at + len(line) - 3])


if __name__ == "__main__":
    main()
