/* The board's log: the last lines, kept in memory that outlives a reset. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stddef.h>
#include <stdint.h>

enum { JOURNAL_LINES = 32, JOURNAL_WIDTH = 56 };

struct journal_line {
    uint64_t at_us;
    uint32_t boot;
    uint8_t level, length;
    char text[JOURNAL_WIDTH];
};

void journal_start(uint32_t boot);
/* "words NUMBER": the newest line, cut at the width. */
const struct journal_line *journal_write(uint8_t level, uint64_t now, const char *words, int32_t number);
/* The n-th line from the oldest, or NULL. */
const struct journal_line *journal_read(uint32_t n);

#endif
