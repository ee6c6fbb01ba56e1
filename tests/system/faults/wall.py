"""A wall clock that a test can set, for one process: what it asks of CLOCK_REALTIME is shifted by what a file says."""

import shutil
import struct
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift;  /* ns, in a file that the test writes */

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("SHIFTED_WALL");
    int file = path ? open(path, O_RDONLY) : -1;
    void *seen = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    shift = seen == MAP_FAILED ? 0 : seen;
    if (file >= 0) close(file);
}

static int64_t now_ns(void) {
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec + (shift ? *shift : 0);
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return (int)syscall(SYS_clock_gettime, clock, t);
    int64_t ns = now_ns();
    t->tv_sec = ns / 1000000000LL;
    t->tv_nsec = ns % 1000000000LL;
    return 0;
}

int gettimeofday(struct timeval *t, void *zone) {
    int64_t ns = now_ns();
    (void)zone;
    t->tv_sec = ns / 1000000000LL;
    t->tv_usec = ns % 1000000000LL / 1000;
    return 0;
}

time_t time(time_t *t) {
    time_t s = now_ns() / 1000000000LL;
    if (t) *t = s;
    return s;
}
"""


class Wall:
    """The wall clock of processes that are started with ``environment``.

    Args:
        folder: for the library and the shift.

    Raises:
        RuntimeError: there is no gcc, or it cannot make the library.
    """

    def __init__(self, folder):
        if shutil.which("gcc") is None:
            raise RuntimeError("gcc is not installed: apt-get install gcc")
        library, self._shift = folder / "wall.so", folder / "wall-shift"
        made = subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", "-o", library, "-x", "c", "-"],
            input=SOURCE.encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
        if made.returncode:
            raise RuntimeError(made.stderr.decode())
        self._shift.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_WALL": str(self._shift)}

    def shift(self, seconds):
        """From now on it is so much later than it is."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))
