/* A motor with a load, in fixed point, stepped once a millisecond: what the sensors of a real board would read.
   All values are integers in thousandths of their unit. Nothing here knows of time, interrupts or serial lines. */
#ifndef PLANT_H
#define PLANT_H

#include <stdint.h>

enum {
    PLANT_FULL_SPEED = 3000000,  /* 1/1000 rpm: without load, driven fully */
    PLANT_AMBIENT = 22000,       /* 1/1000 degC */
};

/* What acts on the motor. `drive` comes from the controller, the others are the experimenter's. */
struct plant_input {
    int32_t drive;     /* 0..1000: share of full drive */
    int32_t brake;     /* not 0: stops in a tenth of a second */
    int32_t load;      /* 0..1000: share of the load that stalls it */
    int32_t imbalance; /* 0..1000: 1/1000 g at 1000 rpm beyond the healthy 50; grows with the square of the speed */
    int32_t runaway;   /* not 0: the power stage is stuck open and drives at 1.6 of full drive, but the brake still works */
};

struct plant {
    int64_t speed;      /* Q16 of 1/1000 rpm */
    int64_t heat;       /* Q16 of 1/1000 degC above ambient */
    uint32_t phase;     /* a turn of the shaft is 2^32 */
    uint32_t noise;
    int32_t speed_rpm;  /* 1/1000 rpm */
    int32_t celsius;    /* 1/1000 degC */
    int32_t vibration;  /* 1/1000 g, this instant */
    int32_t current;    /* 1/1000 A */
};

void plant_start(struct plant *plant, uint32_t seed);
void plant_step(struct plant *plant, const struct plant_input *input);

#endif
