/* How late this machine wakes a sleeper: sleeps to absolute moments 1 ms apart, as cyclictest does, and prints the lateness.
 *
 * usage: jitter SECONDS
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define PERIOD_NS 1000000LL

static int64_t ns(struct timespec t)
{
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    long n = (argc == 2 ? atol(argv[1]) : 0) * 1000;
    int64_t *late = n > 0 ? calloc((size_t)n, sizeof *late) : NULL;
    if (!late) {
        fprintf(stderr, "usage: jitter SECONDS\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t due = ns(now);
    for (long i = 0; i < n; i++) {
        due += PERIOD_NS;
        struct timespec until = {due / 1000000000LL, due % 1000000000LL};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        late[i] = ns(now) - due;
    }
    qsort(late, (size_t)n, sizeof *late, by_value);
    printf("{\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n", (double)late[n / 2] / 1e3, (double)late[n * 99 / 100] / 1e3,
           (double)late[n * 999 / 1000] / 1e3, (double)late[n - 1] / 1e3);
    return 0;
}
