#include "control.h"

void control_start(struct control *control, uint32_t timeout_us)
{
    *control = (struct control){ .state = STARTING, .timeout_us = timeout_us };
}

void control_host_lives(struct control *control, uint64_t now)
{
    control->heard = now;
    control->has_host = true;
}

bool control_obey(struct control *control, uint16_t actuator, int32_t value, uint64_t deadline, uint64_t now)
{
    if (control->state == FAULT || now >= deadline) {
        return false;
    }
    if (actuator == DRIVE) {
        control->drive = value;
        control->drive_until = deadline;
    } else {
        control->led = value != 0;
        control->led_until = deadline;
    }
    control_host_lives(control, now);
    control->state = RUNNING; /* a fresh command is what ends the safe state: a heartbeat alone moves nothing */
    return true;
}

static void make_safe(struct control *control, enum control_state state, uint64_t now)
{
    control->state = state;
    control->safe_since = now;
    control->drive = 0;
    control->led = 0;
}

bool control_step(struct control *control, int32_t speed, uint64_t now)
{
    enum control_state before = control->state;
    uint64_t last = control->stepped;
    int32_t drive = control->drive;
    if (control->stepped != 0 && now - last > control->longest_us) {
        control->longest_us = (uint32_t)(now - last);
    }
    control->stepped = now;
    if (now >= control->drive_until) {
        control->drive = 0;
    }
    if (now >= control->led_until) {
        control->led = 0;
    }
    if (speed > HARD_LIMIT && control->state != FAULT) {
        make_safe(control, FAULT, now);
    } else if (control->state == RUNNING && now - control->heard > control->timeout_us) {
        make_safe(control, SAFE, now);
        control->silence_us = (uint32_t)(now - control->heard);
        control->silence_before_us = last > control->heard ? (uint32_t)(last - control->heard) : 0;
    }
    return control->state != before || control->drive != drive;
}

/* No drive means: stop, not: coast. */
bool control_brakes(const struct control *control)
{
    return control->drive == 0;
}
