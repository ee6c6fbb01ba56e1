/* Between the two halves of a board that is a process on Linux: time in board_posix.c, serial ports in lines_posix.c. */
#ifndef POSIX_H
#define POSIX_H

#include "board.h"

#include <signal.h>

/* Nanoseconds of the machine's clock without the time that the board was stopped. */
uint64_t board_ns(void);
int make_tty(const char *label);
void use_tty(unsigned port, int tty);
/* Until a byte comes, the last one under way has passed, or a signal that `mask` lets through; or only looks what has come. */
void wait_for_lines(const sigset_t *mask, bool may_sleep);

#endif
