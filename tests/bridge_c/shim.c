/* A board for the host: the clock, the line and the actuators are in memory that the tests read and set. */
#include "edge_bridge.h"

typedef struct {
    eb_port port;
    uint64_t now;
    uint32_t out_n, is_stalled, commands, hosts;
    float actuator[4], parameter[4];
    uint8_t key[EB_KEY_BYTES];
    char schema[EB_SCHEMA_MAX];
    uint8_t out[65536];
} shim;

static uint64_t now_us(void *user)
{
    return ((shim *)user)->now;
}

static int write_out(void *user, const uint8_t *data, size_t n)
{
    shim *board = user;
    if (board->is_stalled || board->out_n + n > sizeof board->out) {
        return 0;
    }
    memcpy(board->out + board->out_n, data, n);
    board->out_n += (uint32_t)n;
    return 1;
}

static uint8_t obey(void *user, const eb_command_t *command, float *applied)
{
    shim *board = user;
    board->commands++;
    if (command->actuator >= 4) {
        return EB_STATUS_UNKNOWN;
    }
    if (*applied > 100.0f) {
        return EB_STATUS_RANGE;
    }
    board->actuator[command->actuator] = *applied;
    return EB_STATUS_OK;
}

static uint8_t parameter(void *user, uint16_t number, int is_set, float *value)
{
    shim *board = user;
    if (number >= 4) {
        return EB_STATUS_UNKNOWN;
    }
    if (is_set) {
        board->parameter[number] = *value;
    }
    *value = board->parameter[number];
    return EB_STATUS_OK;
}

static void host(void *user, uint64_t session)
{
    ((shim *)user)->hosts += session != 0;
}

size_t shim_size(void)
{
    return sizeof(shim);
}

/* The numbers a test wants to see, in one call. */
void shim_read(const shim *board, uint32_t *numbers, float *values)
{
    memcpy(numbers, &board->port.counters, sizeof board->port.counters);
    memcpy(values, board->actuator, sizeof board->actuator);
}

int shim_start(shim *board, uint64_t boot_id, const uint8_t *key, const char *schema, uint32_t is_bare)
{
    eb_config config;
    int fits;
    memset(&config, 0, sizeof config);
    memset(board, 0, sizeof *board);
    config.call.user = board;
    config.call.now_us = now_us;
    config.call.write = write_out;
    if (!is_bare) {
        config.call.command = obey;
        config.call.parameter = parameter;
        config.call.host = host;
        config.firmware = 0x0102;
        config.max_ttl_us = 1000000;
        config.heartbeat_us = 50000;
    }
    if (key != NULL) {
        memcpy(board->key, key, EB_KEY_BYTES);
        config.key = board->key;
    }
    if (schema != NULL) {
        strncpy(board->schema, schema, sizeof board->schema - 1);
        config.schema = board->schema;
    }
    config.boot_id = boot_id;
    fits = eb_init(&board->port, &config);
    eb_set_state(&board->port, EB_STATE_RUNNING, 7);
    return fits;
}

void shim_receive(shim *board, uint64_t now, const uint8_t *data, uint32_t n)
{
    board->now = now;
    eb_receive(&board->port, data, n);
}

void shim_poll(shim *board, uint64_t now)
{
    board->now = now;
    eb_poll(&board->port);
}

uint64_t shim_host_age(shim *board, uint64_t now)
{
    board->now = now;
    return eb_host_age_us(&board->port);
}

void shim_stall(shim *board, uint32_t is_stalled)
{
    board->is_stalled = is_stalled;
}

uint32_t shim_take(shim *board, uint8_t *out)
{
    uint32_t n = board->out_n;
    memcpy(out, board->out, n);
    board->out_n = 0;
    return n;
}

int shim_telemetry(shim *board, uint8_t stream, uint64_t stamp, uint32_t number, uint16_t rows, uint8_t channels, const float *data)
{
    eb_telemetry_t block;
    block.number = number;
    block.period_ns = 1000000;
    block.rows = rows;
    block.channels = channels;
    block.encoding = 0;
    return eb_send_telemetry(&board->port, stream, stamp, &block, data);
}

int shim_scan(shim *board, uint32_t number, uint32_t points, uint32_t first, uint8_t columns, const float *data, uint32_t n)
{
    eb_scan_chunk_t chunk;
    chunk.number = number;
    chunk.points = points;
    chunk.first = first;
    chunk.columns = columns;
    chunk.encoding = 0;
    return eb_send_scan_chunk(&board->port, 1, 5, &chunk, data, n);
}

int shim_words(shim *board, const char *text)
{
    eb_fault_t fault;
    fault.count = 1;
    fault.code = 7;
    fault.severity = 2;
    return eb_send_log(&board->port, 2, text) + eb_send_fault(&board->port, &fault, text);
}
