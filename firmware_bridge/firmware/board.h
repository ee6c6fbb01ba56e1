/* The only file to write again for another board: a clock, a 1 kHz tick, a serial port, a watchdog, a reset.
   board.c is for the MPS2 with the AN385 image, as QEMU emulates it (`-M mps2-an385`); board_posix.c is a process on Linux. */
#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOARD_RESET_POWER = 0, BOARD_RESET_ASKED = 1, BOARD_RESET_WATCHDOG = 2, BOARD_RESET_CRASH = 3, BOARD_RESET_PIN = 4 };

/* Of what keeps its content over a reset. */
#ifndef BOARD_KEPT_SECTION
#define BOARD_KEPT_SECTION ".noinit"
#endif
#define BOARD_KEPT __attribute__((section(BOARD_KEPT_SECTION)))

/* What outlives a reset, and what the last one was. */
struct board_boot {
    uint32_t count; /* boots since power came on, 1 for the first */
    uint32_t cause; /* BOARD_RESET_... */
    uint64_t id;    /* differs from boot to boot, and nobody can foresee it */
};

struct board_boot board_start(void);
void board_reset(uint32_t cause);

/* Microseconds since this boot. A drift of `ppm` parts in a million from now on, to try what a bad crystal does. */
uint64_t board_clock_us(void);
void board_clock_drift(int32_t ppm);

/* Calls `tick` from the timer's interrupt every millisecond. */
void board_tick(void (*tick)(void));

/* The serial ports: one for the host, one for the bench (an experimenter's own line; a real board may have none). Reading takes what
   has arrived; writing takes all of `n` bytes or, when they do not fit, none. */
enum { PORT_HOST = 0, PORT_BENCH = 1, PORTS = 2 };
size_t board_read(unsigned port, uint8_t *to, size_t room);
bool board_write(unsigned port, const uint8_t *from, size_t n);
size_t board_room(unsigned port);
void board_push(void);
uint32_t board_overruns(void);

/* Sleeps until an interrupt, unless bytes wait to be read. */
void board_sleep(void);

/* The watchdog resets the board when it is not fed for two seconds. */
void board_feed(void);

void board_lock(void);
void board_unlock(void);

void uart_rx_handler(void);
void uart_tx_handler(void);
void bench_rx_handler(void);
void bench_tx_handler(void);
void timer_handler(void);

#endif
