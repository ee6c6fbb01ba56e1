/* See edge_bridge.h. */
#include "edge_bridge.h"

#define HELLO_US 1000000u
#define PREFIX_BYTES 17u

/* What the whole build is set to must be possible: an array of -1 otherwise. */
typedef char eb_check_payload[EB_MAX_PAYLOAD >= EB_MIN_PAYLOAD && EB_MAX_PAYLOAD <= EB_LIMIT_PAYLOAD ? 1 : -1];
typedef char eb_check_remembered[EB_REMEMBERED >= 1 && EB_REMEMBERED <= 255 ? 1 : -1];
typedef char eb_check_float[sizeof(float) == 4 ? 1 : -1];

/* -- CRC-32C ---------------------------------------------------------------------------------------------------------------- */

#if EB_CRC_FAST
static uint32_t crc_byte(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[256] = {EB_CRC_TABLE_256};
    return table[(crc ^ byte) & 255u] ^ (crc >> 8);
}
#else
static uint32_t crc_byte(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {EB_CRC_TABLE_16};
    crc ^= byte;
    crc = table[crc & 15u] ^ (crc >> 4);
    return table[crc & 15u] ^ (crc >> 4);
}
#endif

uint32_t eb_crc32c(uint32_t crc, const uint8_t *data, size_t n)
{
    size_t i;
    crc = ~crc;
    for (i = 0; i < n; i++) {
        crc = crc_byte(crc, data[i]);
    }
    return ~crc;
}

/* -- keyed BLAKE2s, RFC 7693 ------------------------------------------------------------------------------------------------ */

#if EB_AUTH
static const uint32_t blake_iv[8] = {0x6A09E667u, 0xBB67AE85u, 0x3C6EF372u, 0xA54FF53Au, 0x510E527Fu, 0x9B05688Cu, 0x1F83D9ABu, 0x5BE0CD19u};

static const uint8_t blake_sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

typedef struct {
    uint32_t h[8];
    uint32_t total;
    uint8_t block[64];
    uint32_t n;
} blake;

static uint32_t rotated(uint32_t value, unsigned bits)
{
    return (value >> bits) | (value << (32u - bits));
}

static void mix(uint32_t *v, unsigned at, uint32_t x, uint32_t y)
{
    /* Columns for at 0..3, diagonals for 4..7. */
    unsigned shift = at >> 2, i = at & 3u;
    uint32_t *a = v + i, *b = v + 4u + ((i + shift) & 3u), *c = v + 8u + ((i + 2u * shift) & 3u), *d = v + 12u + ((i + 3u * shift) & 3u);
    *a += *b + x;
    *d = rotated(*d ^ *a, 16);
    *c += *d;
    *b = rotated(*b ^ *c, 12);
    *a += *b + y;
    *d = rotated(*d ^ *a, 8);
    *c += *d;
    *b = rotated(*b ^ *c, 7);
}

static void blake_block(blake *state, uint32_t is_last)
{
    uint32_t v[16], m[16];
    unsigned round, i;
    memset(v, 0, sizeof v); /* needless, but gcc -fanalyzer does not see that the loops fill both */
    memset(m, 0, sizeof m);
    for (i = 0; i < 8u; i++) {
        v[i] = state->h[i];
        v[i + 8u] = blake_iv[i];
    }
    for (i = 0; i < 16u; i++) {
        m[i] = eb_get_u32(state->block + 4u * i);
    }
    v[12] ^= state->total;
    v[14] ^= is_last;
    for (round = 0; round < 10u; round++) {
        for (i = 0; i < 8u; i++) {
            mix(v, i, m[blake_sigma[round][2u * i]], m[blake_sigma[round][2u * i + 1u]]);
        }
    }
    for (i = 0; i < 8u; i++) {
        state->h[i] ^= v[i] ^ v[i + 8u];
    }
}

static void blake_add(blake *state, const uint8_t *data, size_t n)
{
    while (n) {
        size_t step = 64u - state->n;
        if (!step) { /* only when more follows: the last block is marked as such */
            state->total += 64u;
            blake_block(state, 0);
            state->n = 0;
            step = 64u;
        }
        if (step > n) {
            step = n;
        }
        memcpy(state->block + state->n, data, step);
        state->n += (uint32_t)step;
        data += step;
        n -= step;
    }
}

static void blake_start(blake *state, const uint8_t *key)
{
    memset(state, 0, sizeof *state);
    memcpy(state->h, blake_iv, sizeof blake_iv);
    state->h[0] ^= 0x01010000u ^ (EB_KEY_BYTES << 8) ^ EB_TAG_BYTES;
    memcpy(state->block, key, EB_KEY_BYTES);
    state->n = 64u;
}

static void blake_end(blake *state, uint8_t *tag)
{
    state->total += state->n;
    memset(state->block + state->n, 0, 64u - state->n);
    blake_block(state, 0xFFFFFFFFu);
    (void)eb_put_u32(eb_put_u32(tag, state->h[0]), state->h[1]);
}

void eb_tag(uint8_t *tag, const uint8_t *key, const uint8_t *prefix, const uint8_t *data, size_t n)
{
    blake state;
    blake_start(&state, key);
    blake_add(&state, prefix, PREFIX_BYTES);
    blake_add(&state, data, n);
    blake_end(&state, tag);
}

/* Timing does not tell how many bytes are right. */
static int is_same(const uint8_t *a, const uint8_t *b, unsigned n)
{
    uint8_t other = 0;
    while (n--) {
        other = (uint8_t)(other | (*a++ ^ *b++));
    }
    return other == 0;
}
#endif

/* -- sending ---------------------------------------------------------------------------------------------------------------- */

static int is_signed_type(uint8_t type)
{
    return EB_SIGNED_TYPES(type);
}

static int has_key(const eb_port *port)
{
    return EB_AUTH && port->config.key != NULL;
}

static void stuff(eb_port *port, uint8_t byte)
{
    if (byte) {
        port->tx[port->tx_n++] = byte;
    }
    if (!byte || port->tx_n - port->tx_code_at == 255) {
        port->tx[port->tx_code_at] = (uint8_t)(port->tx_n - port->tx_code_at);
        port->tx_code_at = port->tx_n++;
    }
}

static void stuff_all(eb_port *port, const uint8_t *data, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        stuff(port, data[i]);
        port->tx_crc = crc_byte(port->tx_crc, data[i]);
    }
}

#if EB_AUTH
static void make_prefix(uint8_t *prefix, const eb_port *port, int is_to_board)
{
    prefix[0] = (uint8_t)is_to_board;
    (void)eb_put_u64(eb_put_u64(prefix + 1, port->config.boot_id), is_to_board ? 0 : port->session);
}
#endif

/* A frame whose payload is numbers and then a rest. The receiver's buffer is not touched: rest may lie in it. */
static int send(eb_port *port, uint8_t type, uint8_t stream, uint64_t stamp_us, const uint8_t *numbers, size_t n, const void *rest,
                size_t rest_n)
{
    uint8_t header[EB_HEADER_BYTES], crc[EB_CRC_BYTES];
    int is_signed = has_key(port) && is_signed_type(type);
    header[0] = (uint8_t)EB_VERSION;
    header[1] = type;
    header[2] = (uint8_t)(is_signed ? EB_FLAG_SIGNED : 0u);
    header[3] = stream;
    (void)eb_put_u64(eb_put_u16(eb_put_u16(header + 4, port->tx_seq++), (uint16_t)(n + rest_n)), stamp_us);
    port->tx[0] = 0;
    port->tx_code_at = 1;
    port->tx_n = 2;
    port->tx_crc = 0xFFFFFFFFu;
    stuff_all(port, header, sizeof header);
    stuff_all(port, numbers, n);
    stuff_all(port, (const uint8_t *)rest, rest_n);
#if EB_AUTH
    if (is_signed) {
        uint8_t prefix[PREFIX_BYTES], trailer[EB_COUNTER_BYTES + EB_TAG_BYTES];
        blake state;
        make_prefix(prefix, port, 0);
        (void)eb_put_u32(trailer, ++port->tx_counter);
        blake_start(&state, port->config.key);
        blake_add(&state, prefix, sizeof prefix);
        blake_add(&state, header, sizeof header);
        blake_add(&state, numbers, n);
        blake_add(&state, (const uint8_t *)rest, rest_n);
        blake_add(&state, trailer, EB_COUNTER_BYTES);
        blake_end(&state, trailer + EB_COUNTER_BYTES);
        stuff_all(port, trailer, sizeof trailer);
    }
#endif
    (void)eb_put_u32(crc, ~port->tx_crc);
    stuff_all(port, crc, sizeof crc);
    port->tx[port->tx_code_at] = (uint8_t)(port->tx_n - port->tx_code_at);
    port->tx[port->tx_n++] = 0;
    if (!port->config.call.write(port->config.call.user, port->tx, port->tx_n)) {
        port->counters.dropped++;
        return 0;
    }
    port->counters.sent++;
    return 1;
}

static uint64_t now(const eb_port *port)
{
    return port->config.call.now_us(port->config.call.user);
}

static size_t text_bytes(const char *text, size_t limit)
{
    size_t n = 0;
    while (text != NULL && n < limit && text[n]) {
        n++;
    }
    return n;
}

static void send_hello(eb_port *port)
{
    uint8_t numbers[EB_HELLO_BYTES];
    eb_hello_t hello;
    hello.boot_id = port->config.boot_id;
    hello.session = port->session;
    hello.counter = port->rx_counter;
    hello.max_payload = (uint16_t)EB_MAX_PAYLOAD;
    hello.firmware = port->config.firmware;
    eb_pack_hello(numbers, &hello);
    (void)send(port, EB_HELLO, 0, now(port), numbers, sizeof numbers, port->config.schema,
               text_bytes(port->config.schema, EB_SCHEMA_ROOM));
}

static void send_heartbeat(eb_port *port)
{
    uint8_t numbers[EB_HEARTBEAT_BYTES];
    eb_heartbeat_t beat;
    beat.boot_id = port->config.boot_id;
    beat.received = port->counters.received;
    beat.refused = port->counters.received - port->counters.used;
    beat.lost = port->counters.lost;
    beat.state = port->state;
    beat.load = port->load;
    eb_pack_heartbeat(numbers, &beat);
    (void)send(port, EB_HEARTBEAT, 0, now(port), numbers, sizeof numbers, NULL, 0);
}

int eb_send_telemetry(eb_port *port, uint8_t stream, uint64_t stamp_us, const eb_telemetry_t *block, const float *rows)
{
    uint8_t numbers[EB_TELEMETRY_BYTES];
    uint32_t n = (uint32_t)4 * block->rows * block->channels;
    if (!n || n > EB_MAX_PAYLOAD - EB_TELEMETRY_BYTES) {
        port->counters.dropped++;
        return 0;
    }
    eb_pack_telemetry(numbers, block);
    return send(port, EB_TELEMETRY, stream, stamp_us, numbers, sizeof numbers, rows, n);
}

int eb_send_scan_chunk(eb_port *port, uint8_t stream, uint64_t stamp_us, const eb_scan_chunk_t *chunk, const float *points, uint32_t n)
{
    uint8_t numbers[EB_SCAN_CHUNK_BYTES];
    if (!chunk->columns || n > EB_SCAN_POINTS(chunk->columns) || n > chunk->points || chunk->first > chunk->points - n) {
        port->counters.dropped++;
        return 0;
    }
    eb_pack_scan_chunk(numbers, chunk);
    return send(port, EB_SCAN_CHUNK, stream, stamp_us, numbers, sizeof numbers, points, 4u * (size_t)n * chunk->columns);
}

int eb_send_log(eb_port *port, uint8_t level, const char *text)
{
    return send(port, EB_LOG, 0, now(port), &level, 1, text, text_bytes(text, EB_MAX_PAYLOAD - EB_LOG_BYTES));
}

int eb_send_fault(eb_port *port, const eb_fault_t *fault, const char *text)
{
    uint8_t numbers[EB_FAULT_BYTES];
    eb_pack_fault(numbers, fault);
    return send(port, EB_FAULT, 0, now(port), numbers, sizeof numbers, text, text_bytes(text, EB_MAX_PAYLOAD - EB_FAULT_BYTES));
}

/* -- commands and parameters ------------------------------------------------------------------------------------------------- */

static void acknowledge(eb_port *port, const eb_remembered *known, uint32_t left_us)
{
    uint8_t numbers[EB_COMMAND_ACK_BYTES];
    eb_command_ack_t ack;
    ack.session = known->session;
    ack.number = known->number;
    ack.left_us = left_us;
    ack.value = known->value;
    ack.actuator = known->actuator;
    ack.status = known->status;
    ack.repeats = known->repeats;
    eb_pack_command_ack(numbers, &ack);
    (void)send(port, EB_COMMAND_ACK, 0, now(port), numbers, sizeof numbers, NULL, 0);
}

static void see_host(eb_port *port, uint64_t now_us)
{
    port->host_us = now_us;
    port->has_host = 1;
}

/* Status before the board's own word: EB_STATUS_OK lets it through. */
static uint8_t check_command(const eb_port *port, const eb_command_t *command, uint64_t now_us)
{
    uint32_t value_bits;
    memcpy(&value_bits, &command->value, sizeof value_bits);
    if (command->boot != (uint32_t)port->config.boot_id) {
        return EB_STATUS_WRONG_BOOT;
    }
    if (command->deadline_us <= now_us) {
        return EB_STATUS_EXPIRED;
    }
    if (command->deadline_us - now_us > port->config.max_ttl_us) {
        return EB_STATUS_TOO_FAR;
    }
    if ((value_bits & 0x7F800000u) == 0x7F800000u || command->mode) {
        return EB_STATUS_RANGE; /* infinite, not a number, or a mode that this version does not know */
    }
    return EB_STATUS_OK;
}

static void take_command(eb_port *port, const uint8_t *payload)
{
    eb_command_t command;
    eb_remembered fresh, *place = port->remembered;
    uint64_t now_us = now(port);
    int32_t oldest = INT32_MIN;
    unsigned i;
    eb_unpack_command(&command, payload);
    fresh.status = check_command(port, &command, now_us);
    if (fresh.status == EB_STATUS_OK) {
        see_host(port, now_us); /* what waited in a buffer is no sign of life */
    }
    for (i = 0; i < port->remembered_n; i++) {
        eb_remembered *known = &port->remembered[i];
        int32_t age = known->session == command.session ? (int32_t)(command.number - known->number) : INT32_MAX;
        if (!age) {
            known->repeats = (uint8_t)(known->repeats + (known->repeats < 255u));
            port->counters.repeated++;
            acknowledge(port, known, 0);
            return;
        }
        if (age < 0 && known->actuator == command.actuator) {
            fresh.status = EB_STATUS_OLD;
        }
        if (age > oldest) {
            oldest = age;
            place = known;
        }
    }
    /* The oldest gives way. So all that were forgotten are older than all that are remembered, and what is older than these may be one. */
    if (i < EB_REMEMBERED) {
        place = &port->remembered[i];
    } else if (oldest < 0) {
        fresh.status = EB_STATUS_OLD;
    }
    fresh.session = command.session;
    fresh.number = command.number;
    fresh.value = command.value;
    fresh.actuator = command.actuator;
    fresh.repeats = 0;
    if (fresh.status == EB_STATUS_OK) {
        fresh.status = EB_STATUS_UNKNOWN;
        if (port->config.call.command != NULL) {
            fresh.status = port->config.call.command(port->config.call.user, &command, &fresh.value);
        }
    }
    if (fresh.status == EB_STATUS_OK) {
        port->counters.obeyed++;
    } else {
        port->counters.denied++;
    }
    /* One that is too old, or meant for another boot, must not end those that came before. */
    if (fresh.status != EB_STATUS_OLD && fresh.status != EB_STATUS_WRONG_BOOT) {
        *place = fresh;
        port->remembered_n = (uint8_t)(i + (i < EB_REMEMBERED));
    }
    acknowledge(port, &fresh, fresh.status == EB_STATUS_OK ? (uint32_t)(command.deadline_us - now_us) : 0u);
}

static void take_parameter(eb_port *port, const uint8_t *payload, int is_set)
{
    uint8_t numbers[EB_PARAMETER_VALUE_BYTES];
    eb_parameter_value_t answer;
    answer.request = eb_get_u16(payload);
    answer.parameter = eb_get_u16(payload + 2);
    answer.value = is_set ? eb_get_f32(payload + EB_PARAMETER_GET_BYTES) : 0.0f;
    answer.status = EB_STATUS_UNKNOWN;
    if (port->config.call.parameter != NULL) {
        answer.status = port->config.call.parameter(port->config.call.user, answer.parameter, is_set, &answer.value);
    }
    eb_pack_parameter_value(numbers, &answer);
    (void)send(port, EB_PARAMETER_VALUE, 0, now(port), numbers, sizeof numbers, NULL, 0);
}

static void take_time_request(eb_port *port, const uint8_t *payload)
{
    uint8_t numbers[EB_TIME_RESPONSE_BYTES];
    eb_time_response_t answer;
    answer.host_us = eb_get_u64(payload);
    answer.received_us = now(port);
    answer.sent_us = now(port);
    eb_pack_time_response(numbers, &answer);
    (void)send(port, EB_TIME_RESPONSE, 0, answer.sent_us, numbers, sizeof numbers, NULL, 0);
}

static void take_hello_request(eb_port *port, const uint8_t *payload)
{
    port->session = eb_get_u64(payload);
    send_hello(port);
    if (port->config.call.host != NULL) {
        port->config.call.host(port->config.call.user, port->session);
    }
}

static void dispatch(eb_port *port, uint8_t type, const uint8_t *payload)
{
    switch (type) {
    case EB_HELLO_REQUEST:
        take_hello_request(port, payload);
        break;
    case EB_HEARTBEAT:
        if (eb_get_u64(payload) == port->config.boot_id) {
            see_host(port, now(port));
        }
        break;
    case EB_TIME_REQUEST:
        take_time_request(port, payload);
        break;
    case EB_COMMAND:
        take_command(port, payload);
        break;
    default:
        take_parameter(port, payload, type == EB_PARAMETER_SET);
        break;
    }
}

/* -- receiving --------------------------------------------------------------------------------------------------------------- */

/* Bytes of the payload of a type that a host may send; -1 for others. */
static int payload_bytes(uint8_t type)
{
    switch (type) {
    case EB_HELLO_REQUEST:
        return (int)EB_HELLO_REQUEST_BYTES;
    case EB_HEARTBEAT:
        return (int)EB_HEARTBEAT_BYTES;
    case EB_TIME_REQUEST:
        return (int)EB_TIME_REQUEST_BYTES;
    case EB_COMMAND:
        return (int)EB_COMMAND_BYTES;
    case EB_PARAMETER_GET:
        return (int)EB_PARAMETER_GET_BYTES;
    case EB_PARAMETER_SET:
        return (int)EB_PARAMETER_SET_BYTES;
    default:
        return -1;
    }
}

/* Counts what is missing before this frame. Returns 0 for a frame that came already. */
static int follow(eb_port *port, uint16_t seq)
{
    uint16_t ahead = (uint16_t)(seq - port->newest), back = (uint16_t)(port->newest - seq);
    if (!port->has_newest) {
        port->has_newest = 1;
        port->newest = seq;
        port->seen = 1;
    } else if (ahead && ahead < 0x8000u) {
        port->counters.lost += ahead - 1u;
        port->seen = ahead < EB_SEQ_WINDOW ? (port->seen << ahead) | 1u : 1u;
        port->newest = seq;
    } else if (back >= EB_SEQ_WINDOW) { /* the host began anew */
        port->newest = seq;
        port->seen = 1;
    } else if (port->seen & ((uint32_t)1 << back)) {
        return 0;
    } else {
        port->seen |= (uint32_t)1 << back;
        port->counters.late++;
        if (port->counters.lost) {
            port->counters.lost--;
        }
    }
    return 1;
}

#if EB_AUTH
/* EB_REASONS when the signature of a frame of n bytes, without its CRC, is right and new. */
static unsigned check_signature(eb_port *port, uint8_t type, uint8_t flags, size_t n)
{
    uint8_t prefix[PREFIX_BYTES], tag[EB_TAG_BYTES];
    uint32_t counter;
    if (!has_key(port) || !is_signed_type(type)) {
        return EB_REASONS;
    }
    if (!(flags & EB_FLAG_SIGNED)) {
        return EB_REASON_UNSIGNED;
    }
    n -= EB_TAG_BYTES;
    make_prefix(prefix, port, 1);
    eb_tag(tag, port->config.key, prefix, port->rx, n);
    if (!is_same(tag, port->rx + n, EB_TAG_BYTES)) {
        return EB_REASON_FORGED;
    }
    counter = eb_get_u32(port->rx + n - EB_COUNTER_BYTES);
    if (counter <= port->rx_counter) {
        return EB_REASON_REPLAYED;
    }
    port->rx_counter = counter;
    return EB_REASONS;
}
#endif

/* EB_REASONS when the frame in rx is used. */
static unsigned check_frame(eb_port *port)
{
    const uint8_t *rx = port->rx;
    size_t n = port->rx_n, trailer;
    uint16_t length;
    if (port->rx_bad) {
        return EB_REASON_OVERSIZED;
    }
    if (port->rx_left) {
        return EB_REASON_COBS;
    }
    if (n < EB_HEADER_BYTES + EB_CRC_BYTES) {
        return EB_REASON_SHORT;
    }
    n -= EB_CRC_BYTES;
    if (eb_crc32c(0, rx, n) != eb_get_u32(rx + n)) {
        return EB_REASON_CRC;
    }
    if (rx[0] != EB_VERSION) {
        return EB_REASON_VERSION;
    }
    length = eb_get_u16(rx + 6);
    trailer = rx[2] & EB_FLAG_SIGNED ? EB_COUNTER_BYTES + EB_TAG_BYTES : 0u;
    if (n != EB_HEADER_BYTES + length + trailer) {
        return EB_REASON_LENGTH;
    }
    if (!(rx[2] & EB_FLAG_TO_BOARD)) {
        return EB_REASON_DIRECTION;
    }
    if (payload_bytes(rx[1]) != (int)length) {
        return EB_REASON_UNKNOWN;
    }
    if (rx[1] == EB_HELLO_REQUEST && eb_get_u64(rx + EB_HEADER_BYTES) != port->session) {
        port->has_newest = 0; /* another process: its frames are counted from its own start */
    }
#if EB_AUTH
    {
        unsigned reason = check_signature(port, rx[1], rx[2], n);
        if (reason != EB_REASONS) {
            return reason;
        }
    }
#endif
    return follow(port, eb_get_u16(rx + 4)) ? EB_REASONS : EB_REASON_REPEATED;
}

static void end_frame(eb_port *port)
{
    unsigned reason = check_frame(port);
    port->counters.received++;
    if (reason != EB_REASONS) {
        port->counters.refused[reason]++;
        return;
    }
    port->counters.used++;
    dispatch(port, port->rx[1], port->rx + EB_HEADER_BYTES);
}

static void keep(eb_port *port, uint8_t byte)
{
    if (port->rx_n == EB_MAX_FRAME) {
        port->rx_bad = 1;
    } else {
        port->rx[port->rx_n++] = byte;
    }
}

void eb_receive(eb_port *port, const uint8_t *data, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++) {
        uint8_t byte = data[i];
        if (!byte) {
            if (port->rx_code) {
                end_frame(port);
            }
            port->rx_n = 0;
            port->rx_code = port->rx_left = port->rx_bad = 0;
        } else if (port->rx_bad) {
            continue; /* until the delimiter */
        } else if (port->rx_left) {
            keep(port, byte);
            port->rx_left--;
        } else {
            if (port->rx_code && port->rx_code != 255u) {
                keep(port, 0);
            }
            port->rx_code = byte;
            port->rx_left = (uint8_t)(byte - 1u);
        }
    }
}

/* -- the rest ---------------------------------------------------------------------------------------------------------------- */

int eb_init(eb_port *port, const eb_config *config)
{
    int fits = text_bytes(config->schema, EB_SCHEMA_ROOM + 1u) <= EB_SCHEMA_ROOM;
    memset(port, 0, sizeof *port);
    port->config = *config;
    if (!fits) {
        port->config.schema = "?over EB_MAX_PAYLOAD";
    }
    if (!port->config.max_ttl_us) {
        port->config.max_ttl_us = 10000000u;
    }
    if (!port->config.heartbeat_us) {
        port->config.heartbeat_us = 100000u;
    }
    port->load = 255u;
    return fits;
}

void eb_set_state(eb_port *port, uint8_t state, uint8_t load)
{
    port->state = state;
    port->load = load;
}

uint64_t eb_host_age_us(const eb_port *port)
{
    return port->has_host ? now(port) - port->host_us : UINT64_MAX;
}

void eb_poll(eb_port *port)
{
    uint64_t now_us = now(port);
    if (!port->session && now_us >= port->hello_at) {
        port->hello_at = now_us + HELLO_US;
        send_hello(port);
    }
    if (now_us >= port->heartbeat_at) {
        port->heartbeat_at = now_us + port->config.heartbeat_us;
        send_heartbeat(port);
    }
}
