/* What can be set from outside, and how the board can be told to misbehave. */
#ifndef PARAMETERS_H
#define PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

/* number, name, unit, default, lowest, highest */
#define PARAMETERS(X)                                                                                      \
    X(1, host_timeout_ms, "ms", 300, 20, 60000)  /* host silent for so long: safe state */                  \
    X(2, rows, "1", 10, 1, 40)                   /* samples a telemetry frame */                            \
    X(3, load, "1e-3", 0, 0, 1000)               /* of the motor; 1000 stalls it */                         \
    X(4, imbalance, "1e-3", 0, 0, 2000)          /* of the rotor: vibration */                              \
    X(5, runaway, "1", 0, 0, 1)                  /* the power stage is stuck open */                        \
    X(6, blink_ms, "ms", 0, 0, 10000)            /* half a period of the channel `probe`; 0: it rests */    \
    X(7, silent, "1", 0, 0, 1)                   /* sends nothing */                                        \
    X(8, babble, "1", 0, 0, 1)                   /* sends random bytes without end */                       \
    X(9, stuck, "1", 0, 0, 1)                    /* sensors keep their last values */                       \
    X(10, not_a_number, "1", 0, 0, 1)            /* sensors read NaN */                                     \
    X(11, drift_ppm, "1e-6", 0, -200000, 200000) /* the board's clock runs fast by this */                  \
    X(12, slow_ack_ms, "ms", 0, 0, 2000)         /* commands are obeyed at once and acknowledged so late */ \
    X(13, deaf, "1", 0, 0, 1)                    /* commands are taken and not obeyed */                    \
    X(14, reset, "1", 0, 0, 2)                   /* 1: resets now; 2: hangs until the watchdog bites */     \
    X(15, tell_log, "1", 0, 0, 1)                /* sends the log that the board keeps over resets */

#define PARAMETER_NAME(number, name, unit, initial, low, high) P_##name = (number),
enum { PARAMETERS(PARAMETER_NAME) PARAMETER_END };
#undef PARAMETER_NAME

void parameters_start(void);
/* False: there is none of this number, or the value is outside its range. */
bool parameter_is_known(uint16_t number);
bool parameter_set(uint16_t number, int32_t value);
int32_t parameter(uint16_t number);

#endif
