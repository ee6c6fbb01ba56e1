#include "journal.h"

#include "board.h"

enum { MARK = 0x10661065 };

BOARD_KEPT static struct {
    uint32_t mark, boot, written;
    struct journal_line lines[JOURNAL_LINES];
} kept;

void journal_start(uint32_t boot)
{
    if (kept.mark != MARK) {
        kept.mark = MARK;
        kept.written = 0;
    }
    kept.boot = boot;
}

static void put(struct journal_line *line, char c)
{
    if (line->length < JOURNAL_WIDTH) {
        line->text[line->length++] = c;
    }
}

const struct journal_line *journal_write(uint8_t level, uint64_t now, const char *words, int32_t number)
{
    struct journal_line *line = &kept.lines[kept.written % JOURNAL_LINES];
    kept.written++;
    line->at_us = now;
    line->boot = kept.boot;
    line->level = level;
    line->length = 0;
    while (*words != '\0') {
        put(line, *words++);
    }
    put(line, ' ');
    uint32_t rest = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    char digits[10];
    int n = 0;
    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0) {
        put(line, '-');
    }
    while (n > 0) {
        put(line, digits[--n]);
    }
    return line;
}

const struct journal_line *journal_read(uint32_t n)
{
    uint32_t held = kept.written < JOURNAL_LINES ? kept.written : JOURNAL_LINES;
    return n < held ? &kept.lines[(kept.written - held + n) % JOURNAL_LINES] : NULL;
}
