/* Fuzz target of the receiver, for libFuzzer (clang -fsanitize=fuzzer) and, with -DEB_FUZZ_STDIN, for AFL++.
 *
 * The first byte picks: bit 0 with a key, bit 1 the input is frames without COBS and CRC (length byte, bytes), which this makes whole:
 * a fuzzer would hardly ever find a right CRC. What must hold is checked after every input.
 */
#include "edge_bridge.h"

static uint64_t now_us(void *user)
{
    return ++*(uint64_t *)user;
}

static int write_out(void *user, const uint8_t *data, size_t n)
{
    size_t i;
    (void)user;
    if (n < 3 || data[0] || data[n - 1] || n > EB_MAX_ENCODED) {
        __builtin_trap();
    }
    for (i = 1; i < n - 1; i++) {
        if (!data[i]) {
            __builtin_trap();
        }
    }
    return (int)(n & 1u);
}

static uint8_t obey(void *user, const eb_command_t *command, float *applied)
{
    (void)user;
    (void)applied;
    return (uint8_t)(command->actuator ? EB_STATUS_UNKNOWN : EB_STATUS_OK);
}

static void feed_frame(eb_port *port, const uint8_t *data, size_t n)
{
    uint8_t raw[260], line[300];
    size_t at = 1, code = 0, i;
    memcpy(raw, data, n);
    (void)eb_put_u32(raw + n, eb_crc32c(0, raw, n));
    n += 4;
    for (i = 0; i < n; i++) {
        if (raw[i]) {
            line[at++] = raw[i];
        }
        if (!raw[i] || at - code == 255) {
            line[code] = (uint8_t)(at - code);
            code = at++;
        }
    }
    line[code] = (uint8_t)(at - code);
    line[at++] = 0;
    eb_receive(port, line, at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[EB_KEY_BYTES] = {1};
    static eb_port port;
    uint64_t clock = 0;
    uint32_t total;
    unsigned i;
    eb_config config;
    if (!size) {
        return 0;
    }
    memset(&config, 0, sizeof config);
    config.call.user = &clock;
    config.call.now_us = now_us;
    config.call.write = write_out;
    config.call.command = obey;
    config.schema = "T1 imu 1000 ax=g";
    config.key = data[0] & 1u ? key : NULL;
    config.boot_id = 1;
    eb_init(&port, &config);
    if (data[0] & 2u) {
        size_t at = 1;
        while (at < size && at + 1u + data[at] <= size) {
            feed_frame(&port, data + at + 1, data[at]);
            at += 1u + data[at];
        }
    } else {
        eb_receive(&port, data + 1, size - 1);
    }
    eb_poll(&port);
    total = port.counters.used;
    for (i = 0; i < EB_REASONS; i++) {
        total += port.counters.refused[i];
    }
    if (total != port.counters.received || ((data[0] & 1u) && port.counters.obeyed)) {
        __builtin_trap();
    }
    return 0;
}

#ifdef EB_FUZZ_STDIN
#include <stdio.h>
#include <stdlib.h>

#define LARGEST 65536u

static uint32_t draw(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static size_t mutate(uint8_t *data, size_t n, uint32_t *state)
{
    uint32_t changes = 1 + draw(state) % 8;
    while (changes--) {
        size_t at = n ? draw(state) % n : 0;
        uint8_t byte = (uint8_t)(draw(state) >> 8);
        switch (draw(state) % 5) {
        case 0: /* another byte, seldom a zero by itself */
            data[at] = draw(state) & 1u ? byte : 0;
            break;
        case 1: /* one bit */
            data[at] = (uint8_t)(data[at] ^ (1u << (byte & 7u)));
            break;
        case 2: /* cut */
            n = n > 1 ? at + 1 : n;
            break;
        case 3: /* twice */
            if (n && 2 * n <= LARGEST) {
                memcpy(data + n, data, n);
                n *= 2;
            }
            break;
        default: /* one byte more */
            if (n < LARGEST) {
                data[n++] = byte;
            }
        }
    }
    return n;
}

/* Without arguments: the input is on standard input. ROUNDS FILE...: every file as it is, then ROUNDS changed ones of each. */
int main(int count, char **words)
{
    static uint8_t data[LARGEST], changed[LARGEST];
    uint32_t state = 2463534242u;
    int i;
    if (count < 2) {
        return LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, stdin));
    }
    for (i = 2; i < count; i++) {
        long left = strtol(words[1], NULL, 10);
        FILE *file = fopen(words[i], "rb");
        size_t n;
        if (!file) {
            return 1;
        }
        n = fread(data, 1, sizeof data, file);
        (void)fclose(file);
        (void)fprintf(stderr, "%s\n", words[i]);
        (void)LLVMFuzzerTestOneInput(data, n);
        for (; left > 0; left--) {
            memcpy(changed, data, n);
            (void)LLVMFuzzerTestOneInput(changed, mutate(changed, n, &state));
        }
    }
    return 0;
}
#endif
