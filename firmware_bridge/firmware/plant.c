#include "plant.h"

enum {
    SPIN_UP = 9, /* time constants are powers of two of a step: 512 ms */
    SPIN_DOWN = 6, /* 64 ms, braked */
    WARM_UP = 13, /* 8 s */
    HOTTEST = 60000, /* 1/1000 degC above ambient: driven fully with full load */
    STEPS_PER_MINUTE = 60000,
};

/* Sine of a turn of 2^32 in thousandths, by Bhaskara's formula: 2 thousandths of error are far below the noise. */
static int32_t sine(uint32_t phase)
{
    int32_t half = (int32_t)((phase << 1) >> 17); /* 0..32767 in each half turn */
    int64_t bow = (int64_t)half * (32768 - half); /* 0..2^28 */
    int64_t value = 4000 * bow / (5 * (1LL << 28) - bow);
    return (int32_t)(phase >> 31 ? -value : value);
}

static int32_t noise(struct plant *plant, int32_t reach)
{
    plant->noise = plant->noise * 1664525u + 1013904223u;
    return (int32_t)(plant->noise >> 16) % (2 * reach + 1) - reach;
}

void plant_start(struct plant *plant, uint32_t seed)
{
    *plant = (struct plant){ .noise = seed, .celsius = PLANT_AMBIENT };
}

void plant_step(struct plant *plant, const struct plant_input *input)
{
    int64_t drive = input->runaway ? 1600 : input->drive;
    if (input->brake) {
        drive = 0;
    }
    int64_t wanted = drive * PLANT_FULL_SPEED / 1000 * (1000 - input->load) / 1000;
    plant->speed += ((wanted << 16) - plant->speed) >> (input->brake ? SPIN_DOWN : SPIN_UP);
    int64_t hot = drive * (200 + input->load) * HOTTEST / (1000 * 1200);
    plant->heat += ((hot << 16) - plant->heat) >> WARM_UP;

    int32_t rpm = (int32_t)(plant->speed >> 16);
    plant->phase += (uint32_t)((uint64_t)rpm * (1ULL << 32) / ((uint64_t)STEPS_PER_MINUTE * 1000));
    int64_t square = (int64_t)(rpm / 1000) * (rpm / 1000); /* rpm^2 */
    int64_t amplitude = (50 + input->imbalance) * square / 1000000;

    plant->speed_rpm = rpm + noise(plant, 500);
    plant->celsius = PLANT_AMBIENT + (int32_t)(plant->heat >> 16) + noise(plant, 50);
    plant->vibration = (int32_t)(amplitude * sine(plant->phase) / 1000) + noise(plant, 10);
    plant->current = (int32_t)(drive * (400 + 4 * input->load) / 1000) + noise(plant, 5);
}
