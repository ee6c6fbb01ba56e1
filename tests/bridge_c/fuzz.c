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
int main(void)
{
    static uint8_t data[65536];
    size_t n = fread(data, 1, sizeof data, stdin);
    return LLVMFuzzerTestOneInput(data, n);
}
#endif
