/* Vectors, reset, and the four functions of the C library that compilers call by themselves. */
#include "board.h"

#include <stddef.h>

extern uint32_t data_start, data_end, data_load, bss_start, bss_end, stack_top;

int main(void);
void reset_handler(void);
void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);

void reset_handler(void)
{
    uint32_t *from = &data_load;
    for (uint32_t *to = &data_start; to < &data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
    (void)main();
    board_reset(BOARD_RESET_CRASH);
}

/* A fault of the processor ends in a reset: actuators fall to their safe value there, and the host is told why. */
static void crash_handler(void)
{
    board_reset(BOARD_RESET_CRASH);
}

static void watchdog_handler(void)
{
    board_reset(BOARD_RESET_WATCHDOG);
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler system[15];
    handler irq[32];
} vectors = {
    &stack_top,
    { reset_handler, watchdog_handler, crash_handler, crash_handler, crash_handler, crash_handler, 0, 0, 0, 0,
      crash_handler, crash_handler, 0, crash_handler, crash_handler },
    { uart_rx_handler, uart_tx_handler, bench_rx_handler, bench_tx_handler, crash_handler, crash_handler, crash_handler,
      crash_handler, timer_handler, crash_handler, crash_handler, crash_handler, crash_handler, crash_handler,
      crash_handler, crash_handler, crash_handler, crash_handler, crash_handler, crash_handler, crash_handler,
      crash_handler, crash_handler, crash_handler, crash_handler, crash_handler, crash_handler, crash_handler,
      crash_handler, crash_handler, crash_handler, crash_handler },
};

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    while (n-- > 0) {
        *target++ = *source++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if (target <= source) {
        while (n-- > 0) {
            *target++ = *source++;
        }
    } else {
        while (n-- > 0) {
            target[n] = source[n];
        }
    }
    return to;
}

void *memset(void *to, int value, size_t n)
{
    unsigned char *target = to;
    while (n-- > 0) {
        *target++ = (unsigned char)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *left = a;
    const unsigned char *right = b;
    for (size_t i = 0; i < n; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}
