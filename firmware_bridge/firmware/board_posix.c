/* The board as a process on Linux: the firmware's other sources are the same. The serial lines are in lines_posix.c. The timer is a
   signal, so that a tick interrupts the main loop as it does on a microcontroller; memory that outlives a reset is a file without a name.
   SIGUSR1 is the reset button; SIGSTOP stops the processor, and until SIGCONT its clocks stand still. */
#define _GNU_SOURCE
#include "posix.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_NS = 1000000,
    WATCHDOG_TICKS = 2000,
};

static void (*on_tick)(void);
static volatile sig_atomic_t is_masked, is_pending, has_ticked, unfed;
static volatile uint64_t seen_ns, paused_ns;
static uint64_t last_ns, rest_ns, now_us;
static int32_t drift_ppm, drift_rest;
static int kept_file;
extern unsigned char __start_kept_memory[], __stop_kept_memory[];

BOARD_KEPT static struct {
    uint32_t count, cause;
} kept;

/* -- time ----------------------------------------------------------------------------------------------------------------------- */

static uint64_t machine_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Without the time that the board was stopped. Looks twice: the stop may come between the two numbers. */
uint64_t board_ns(void)
{
    for (;;) {
        uint64_t paused = paused_ns;
        uint64_t now = machine_ns();
        if (paused == paused_ns) {
            seen_ns = now;
            return now - paused;
        }
    }
}

/* The clock goes on where somebody last saw it, at most a tick before the stop: it never goes back. */
static void go_on(int number)
{
    (void)number;
    uint64_t now = machine_ns();
    paused_ns += now - seen_ns;
    seen_ns = now;
}

void board_lock(void)
{
    is_masked = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void board_unlock(void)
{
    for (;;) {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        is_masked = 0;
        if (!is_pending) {
            return;
        }
        is_masked = 1;
        is_pending = 0;
        on_tick();
    }
}

uint64_t board_clock_us(void)
{
    sig_atomic_t was_masked = is_masked;
    board_lock();
    uint64_t ns = board_ns();
    uint64_t passed = (ns > last_ns ? ns - last_ns : 0) + rest_ns;
    last_ns = ns;
    rest_ns = passed % 1000;
    uint64_t us = passed / 1000;
    now_us += us;
    if (drift_ppm != 0) {
        int64_t drift = (int64_t)us * drift_ppm + drift_rest;
        now_us += (uint64_t)(drift / 1000000);
        drift_rest = (int32_t)(drift % 1000000);
    }
    uint64_t now = now_us;
    if (!was_masked) {
        board_unlock();
    }
    return now;
}

void board_clock_drift(int32_t ppm)
{
    (void)board_clock_us();
    drift_ppm = ppm;
}

/* The timer's interrupt. The watchdog counts ticks, not time: a machine that stands still is not a board that hangs. */
static void timer(int number)
{
    (void)number;
    has_ticked = 1;
    if (++unfed > WATCHDOG_TICKS) {
        board_reset(BOARD_RESET_WATCHDOG);
    }
    if (is_masked) {
        is_pending = 1;
        return;
    }
    board_lock();
    on_tick();
    board_unlock();
}

void board_tick(void (*tick)(void))
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
    struct itimerspec period = { { 0, TICK_NS }, { 0, TICK_NS } };
    timer_t id;
    on_tick = tick;
    if (timer_create(CLOCK_MONOTONIC, &event, &id) != 0 || timer_settime(id, 0, &period, NULL) != 0) {
        perror("timer");
        _exit(1);
    }
}

void board_feed(void)
{
    unfed = 0;
}

/* -- start and reset ------------------------------------------------------------------------------------------------------------ */

static void press_reset(int number)
{
    board_reset(number == SIGUSR1 ? BOARD_RESET_PIN : BOARD_RESET_CRASH);
}

/* The program begins again with all that a program begins with; only the terminals and the kept memory go along. */
void board_reset(uint32_t cause)
{
    sigset_t all;
    char *const words[] = { (char *)"board", NULL };
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    kept.cause = cause;
    if (pwrite(kept_file, __start_kept_memory, (size_t)(__stop_kept_memory - __start_kept_memory), 0) > 0) {
        execv("/proc/self/exe", words);
    }
    _exit(1);
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = { .sa_handler = handler };
    sigfillset(&action.sa_mask); /* one at a time; of two that wait, SIGCONT comes before the timer */
    (void)sigaction(number, &action, NULL);
}

static void power_on(int ttys[PORTS])
{
    char text[64];
    ttys[PORT_HOST] = make_tty("host");
    ttys[PORT_BENCH] = make_tty("bench");
    (void)fflush(stdout);
    kept_file = memfd_create("kept", 0);
    (void)snprintf(text, sizeof text, "%d %d %d", ttys[PORT_HOST], ttys[PORT_BENCH], kept_file);
    (void)setenv("BOARD_FILES", text, 1);
}

struct board_boot board_start(void)
{
    const char *files = getenv("BOARD_FILES");
    int ttys[PORTS];
    if (files == NULL || sscanf(files, "%d %d %d", &ttys[PORT_HOST], &ttys[PORT_BENCH], &kept_file) != 3) {
        power_on(ttys);
    } else if (pread(kept_file, __start_kept_memory, (size_t)(__stop_kept_memory - __start_kept_memory), 0) < 0) {
        perror("kept memory");
        _exit(1);
    }
    for (unsigned port = 0; port < PORTS; port++) {
        use_tty(port, ttys[port]);
    }
    kept.count++;
    struct board_boot boot = { kept.count, kept.cause, 0 };
    kept.cause = BOARD_RESET_PIN;
    if (getrandom(&boot.id, sizeof boot.id, 0) != sizeof boot.id) {
        perror("random");
        _exit(1);
    }
    last_ns = board_ns();
    handle(SIGUSR1, press_reset);
    handle(SIGCONT, go_on);
    handle(SIGRTMIN, timer);
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++) {
        handle(crashes[i], press_reset);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return boot;
}

void board_sleep(void)
{
    sigset_t ticks, before;
    sigemptyset(&ticks);
    sigaddset(&ticks, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &ticks, &before);
    wait_for_lines(&before, !has_ticked); /* a tick since the last sleep has left work for the main loop */
    has_ticked = 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    board_push();
}
