#include "parameters.h"

static const struct {
    int32_t initial, low, high;
} ranges[PARAMETER_END] = {
#define RANGE(number, name, unit, initial, low, high) [number] = { initial, low, high },
    PARAMETERS(RANGE)
#undef RANGE
};

static int32_t values[PARAMETER_END];

void parameters_start(void)
{
    for (int i = 1; i < PARAMETER_END; i++) {
        values[i] = ranges[i].initial;
    }
}

bool parameter_is_known(uint16_t number)
{
    return number >= 1 && number < PARAMETER_END;
}

bool parameter_set(uint16_t number, int32_t value)
{
    if (!parameter_is_known(number) || value < ranges[number].low || value > ranges[number].high) {
        return false;
    }
    values[number] = value;
    return true;
}

int32_t parameter(uint16_t number)
{
    return values[number];
}
