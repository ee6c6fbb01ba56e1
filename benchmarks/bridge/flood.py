"""3 Mbaud through a pseudo-terminal: `python -m benchmarks.bridge.flood [SECONDS]`, 60 without one."""

import sys

from tests.bridge.flood import flood

if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    sent, used, counts, rate = flood(seconds)
    print(f"{seconds:g} s at {rate:,} bytes/s: {sent:,} frames sent, {used:,} taken, {counts['lost']} lost")
