/* What the actuators do: commands until their deadline, the safe state when the host is silent, a limit of the board's own.
   Times are microseconds of the board's clock and are passed in; nothing here knows of frames, interrupts or the plant. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stdint.h>

enum control_state { STARTING, RUNNING, SAFE, FAULT }; /* as in heartbeat frames */
enum { DRIVE = 1, LED = 2 };                           /* actuators */
enum { HARD_LIMIT = 3600000 };                         /* 1/1000 rpm: beyond it the board brakes by itself, until a reset */

struct control {
    enum control_state state;
    int32_t drive; /* 0..1000 */
    int32_t led;   /* 0 or 1 */
    uint64_t drive_until, led_until;
    uint64_t heard; /* when the host last gave a sign of life */
    uint64_t safe_since;
    uint64_t stepped;           /* when the last step was */
    uint32_t silence_us;        /* how long the host had been silent when the board became safe ... */
    uint32_t silence_before_us; /* ... and at the step before that one */
    uint32_t longest_us;        /* longest time between two steps since someone set this to 0 */
    uint32_t timeout_us;
    bool has_host;
};

void control_start(struct control *control, uint32_t timeout_us);
void control_host_lives(struct control *control, uint64_t now);
/* Obeys a command that has been checked, or says that the state forbids it. `value` is in thousandths. */
bool control_obey(struct control *control, uint16_t actuator, int32_t value, uint64_t deadline, uint64_t now);
/* Every millisecond. Returns whether the state or the drive changed. */
bool control_step(struct control *control, int32_t speed, uint64_t now);
bool control_brakes(const struct control *control);

#endif
