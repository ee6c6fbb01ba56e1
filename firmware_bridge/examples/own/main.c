/* A firmware of one's own for QEMU: a room with a fan. What it is built from, and how: docs/firmware.md. No heap, no string.h. */
#include "board.h"
#include "edge_bridge.h"

static eb_port port;
static volatile uint32_t ticks;
static uint64_t deadline_us;
static float fan;

static void tick(void) { ticks++; }
static uint64_t now_us(void *user) { (void)user; return board_clock_us(); }
static int write_line(void *user, const uint8_t *data, size_t n) { (void)user; return board_write(PORT_HOST, data, n); }

static uint8_t command(void *user, const eb_command_t *said, float *applied)
{
    (void)user;
    if (said->actuator != 1u) {
        return EB_STATUS_UNKNOWN;
    }
    if (*applied < 0.0f || *applied > 100.0f) {
        return EB_STATUS_RANGE;
    }
    fan = *applied;
    deadline_us = said->deadline_us;
    return EB_STATUS_OK;
}

int main(void)
{
    struct board_boot boot = board_start();
    eb_config config = { .schema = "Nmine;T1 room 10 temperature=degC,fan=%;A1 fan % 0 100 0", .boot_id = boot.id };
    uint32_t number = 0, next = 0;
    config.call.now_us = now_us;
    config.call.write = write_line;
    config.call.command = command;
    if (eb_init(&port, &config) == 0) {
        board_reset(BOARD_RESET_ASKED);
    }
    board_tick(tick);
    for (;;) {
        uint8_t data[64];
        board_feed();
        eb_receive(&port, data, board_read(PORT_HOST, data, sizeof data));
        eb_poll(&port);
        board_push();
        if (board_clock_us() > deadline_us) { /* no command holds beyond its life: the safe value */
            fan = 0.0f;
        }
        eb_set_state(&port, deadline_us == 0u || fan > 0.0f ? EB_STATE_RUNNING : EB_STATE_SAFE, 255);
        if (ticks >= next) {
            eb_telemetry_t block = { number++, 100000000u, 1, 2, 0 };
            float row[2] = { 20.0f + (float)(number % 20u), fan }; /* read your sensors here */
            next = ticks + 100u;
            (void)eb_send_telemetry(&port, 1, board_clock_us(), &block, row);
        }
    }
}
