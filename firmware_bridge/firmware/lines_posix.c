/* The serial ports of a board that is a process: two pseudo-terminals that carry what 921,600 baud carry, byte by byte in time.
   A chunk that the host writes comes when its bytes would; what the board writes leaves as they would, whoever listens. */
#define _GNU_SOURCE
#include "posix.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    BYTE_NS = 10851, /* ten bits at 921,600 baud */
    COMING_SIZE = 512, /* what the host's driver has handed to the line; the rest waits in the pseudo-terminal */
    RX_SIZE = 4096, /* powers of two, as in board.c */
    TX_SIZE = 8192,
    HELD_SIZE = 65536, /* what the host's driver keeps for a host that is late; a pseudo-terminal keeps 12 KB, a serial port's driver 68 */
    REST_NS = 10000000,
};

struct line {
    int tty;
    bool is_open; /* somebody has the other end; what is sent to nobody is lost */
    bool has_bytes; /* the host has written, when last looked */
    uint8_t coming[COMING_SIZE], rx[RX_SIZE], tx[TX_SIZE], held[HELD_SIZE];
    uint32_t coming_n, rx_in, rx_out, tx_in, tx_out, held_in, held_out;
    uint64_t coming_since, leaving_since; /* when the first byte that has not passed yet was put on the line */
};

static struct line lines[PORTS];
static uint32_t overruns;

/* Makes a terminal, raw and without an echo, and says its name as QEMU does. */
int make_tty(const char *label)
{
    int tty = posix_openpt(O_RDWR | O_NOCTTY);
    struct termios settings;
    if (tty < 0 || grantpt(tty) != 0 || unlockpt(tty) != 0 || fcntl(tty, F_SETFL, O_NONBLOCK) != 0) {
        perror("pseudo-terminal");
        _exit(1);
    }
    int other = open(ptsname(tty), O_RDWR | O_NOCTTY);
    if (tcgetattr(other, &settings) == 0) {
        cfmakeraw(&settings);
        (void)tcsetattr(other, TCSANOW, &settings);
    }
    (void)close(other); /* and has hung up until somebody opens it */
    printf("char device redirected to %s (label %s)\n", ptsname(tty), label);
    return tty;
}

void use_tty(unsigned port, int tty)
{
    lines[port].tty = tty;
}


static uint32_t passed(uint64_t since, uint64_t now, uint32_t most)
{
    uint64_t n = (now - since) / BYTE_NS;
    return n < most ? (uint32_t)n : most;
}

/* Hands over the bytes that have come, and takes more from the host when the line is free. */
static void carry_in(struct line *line, uint64_t now)
{
    uint32_t n = passed(line->coming_since, now, line->coming_n);
    for (uint32_t i = 0; i < n; i++) {
        if (line->rx_in - line->rx_out < RX_SIZE) {
            line->rx[line->rx_in++ % RX_SIZE] = line->coming[i];
        } else {
            overruns++;
        }
    }
    line->coming_n -= n;
    memmove(line->coming, line->coming + n, line->coming_n);
    line->coming_since = line->coming_n > 0 ? line->coming_since + (uint64_t)n * BYTE_NS : now;
    if (line->has_bytes) {
        ssize_t more = read(line->tty, line->coming + line->coming_n, COMING_SIZE - line->coming_n);
        line->coming_n += more > 0 ? (uint32_t)more : 0;
        line->has_bytes = false;
    }
}

/* Bytes that have passed the line lie with the host's driver until the host takes them; what it has no room for is lost. */
static void carry_out(struct line *line, uint64_t now)
{
    uint32_t n = passed(line->leaving_since, now, line->tx_in - line->tx_out);
    line->leaving_since += (uint64_t)n * BYTE_NS;
    while (n-- > 0) {
        uint8_t byte = line->tx[line->tx_out++ % TX_SIZE];
        if (line->is_open && line->held_in - line->held_out < HELD_SIZE) {
            line->held[line->held_in++ % HELD_SIZE] = byte;
        }
    }
    if (!line->is_open) {
        line->held_out = line->held_in;
    }
    while (line->held_in != line->held_out) {
        uint32_t at = line->held_out % HELD_SIZE, most = line->held_in - line->held_out;
        ssize_t taken = write(line->tty, line->held + at, most < HELD_SIZE - at ? most : HELD_SIZE - at);
        if (taken <= 0) {
            return;
        }
        line->held_out += (uint32_t)taken;
    }
}

void board_push(void)
{
    uint64_t now = board_ns();
    for (unsigned port = 0; port < PORTS; port++) {
        carry_out(&lines[port], now);
        carry_in(&lines[port], now);
    }
}

size_t board_read(unsigned port, uint8_t *to, size_t room)
{
    struct line *line = &lines[port];
    size_t n = 0;
    while (n < room && line->rx_out != line->rx_in) {
        to[n++] = line->rx[line->rx_out++ % RX_SIZE];
    }
    return n;
}

uint32_t board_overruns(void)
{
    return overruns;
}

size_t board_room(unsigned port)
{
    return TX_SIZE - (lines[port].tx_in - lines[port].tx_out);
}

bool board_write(unsigned port, const uint8_t *from, size_t n)
{
    struct line *line = &lines[port];
    if (board_room(port) < n) {
        return false;
    }
    if (line->tx_in == line->tx_out) {
        line->leaving_since = board_ns();
    }
    for (size_t i = 0; i < n; i++) {
        line->tx[line->tx_in++ % TX_SIZE] = from[i];
    }
    return true;
}

/* How long the processor may sleep: until the last byte of those under way has passed. */
static int64_t idle_ns(uint64_t now)
{
    int64_t idle = REST_NS;
    for (unsigned port = 0; port < PORTS; port++) {
        struct line *line = &lines[port];
        uint32_t leaving = line->tx_in - line->tx_out;
        int64_t in = (int64_t)(line->coming_since + (uint64_t)line->coming_n * BYTE_NS - now);
        int64_t out = (int64_t)(line->leaving_since + (uint64_t)leaving * BYTE_NS - now);
        idle = line->rx_in != line->rx_out ? 0 : idle;
        idle = line->coming_n > 0 && in < idle ? in : idle;
        idle = leaving > 0 && out < idle ? out : idle;
    }
    return idle > 0 ? idle : 0;
}

void wait_for_lines(const sigset_t *mask, bool may_sleep)
{
    struct pollfd ports[PORTS];
    struct timespec limit = { 0, may_sleep ? (long)idle_ns(board_ns()) : 0 };
    for (unsigned port = 0; port < PORTS; port++) {
        struct line *line = &lines[port];
        if (!line->is_open) { /* one that hung up never rests: it is looked at apart */
            struct pollfd look = { line->tty, POLLIN, 0 };
            (void)poll(&look, 1, 0);
            line->is_open = !(look.revents & POLLHUP);
            line->has_bytes |= (look.revents & POLLIN) != 0; /* the last words of a host that has gone */
        }
        ports[port] = (struct pollfd){ line->is_open && line->coming_n < COMING_SIZE ? line->tty : -1, POLLIN, 0 };
    }
    if (ppoll(ports, PORTS, &limit, mask) > 0) {
        for (unsigned port = 0; port < PORTS; port++) {
            lines[port].has_bytes |= (ports[port].revents & POLLIN) != 0;
            lines[port].is_open = lines[port].is_open && !(ports[port].revents & POLLHUP);
        }
    }
}
