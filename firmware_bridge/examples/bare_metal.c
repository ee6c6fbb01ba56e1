/* Bare metal: a main loop, a timer of microseconds and a UART with rings. The three extern functions are yours. */
#include "edge_bridge.h"

extern uint64_t timer_us(void);
extern size_t uart_read(uint8_t *data, size_t n);        /* what the receive interrupt collected, 0 when nothing */
extern int uart_write(const uint8_t *data, size_t n);    /* all into the transmit ring and 1, or 0 */
extern void motor_set(float percent);

static eb_port port;
static uint64_t deadline_us;

static uint64_t now_us(void *user)
{
    (void)user;
    return timer_us();
}

static int write_line(void *user, const uint8_t *data, size_t n)
{
    (void)user;
    return uart_write(data, n);
}

static uint8_t command(void *user, const eb_command_t *command, float *applied)
{
    (void)user;
    if (command->actuator != 1u) {
        return EB_STATUS_UNKNOWN;
    }
    if (*applied < 0.0f || *applied > 100.0f) {
        return EB_STATUS_RANGE;
    }
    motor_set(*applied);
    deadline_us = command->deadline_us;
    return EB_STATUS_OK;
}

void run(uint64_t boot_id)
{
    eb_config config;
    uint64_t next_us = 0;
    uint32_t number = 0;
    memset(&config, 0, sizeof config);
    config.call.now_us = now_us;
    config.call.write = write_line;
    config.call.command = command;
    config.schema = "Nmotor;T1 motor 100 speed=rad/s;A1 throttle % 0 100 0";
    config.boot_id = boot_id; /* another one after every reset */
    eb_init(&port, &config);
    for (;;) {
        uint8_t data[64];
        uint64_t at_us = timer_us();
        eb_receive(&port, data, uart_read(data, sizeof data));
        eb_poll(&port);
        if (at_us > deadline_us) { /* no command holds beyond its life: the safe value */
            motor_set(0.0f);
        }
        if (at_us >= next_us) {
            eb_telemetry_t block = {0, 10000000u, 1, 1, 0};
            float speed = 0.0f; /* read your sensor here */
            next_us = at_us + 10000u;
            block.number = number++;
            (void)eb_send_telemetry(&port, 1, at_us, &block, &speed);
        }
    }
}
