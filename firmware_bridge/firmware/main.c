/* The firmware that the harness runs: a motor that is sampled a thousand times a second, a drive and a lamp that obey commands until
   their deadline, a safe state of its own, and ways to misbehave. The tick does what must happen on time; the main loop does the rest. */
#include "board.h"
#include "control.h"
#include "edge_bridge.h"
#include "journal.h"
#include "parameters.h"
#include "plant.h"

enum { CHANNELS = 5, SAMPLES = 256, MOST_ROWS = 40, STATE_US = 50000, STEP_US = 1000, MOST_STEPS = 200, FAULT_OVERSPEED = 1, HELD = 64 };
enum { STREAM_MOTOR = 1, STREAM_BOARD = 2, FIRMWARE_VERSION = 0x0100, MOST_TTL_US = 5000000 };

#define PARAMETER_TEXT(number, name, unit, initial, low, high) "P" #number " " #name " " unit ";"
static const char schema[] = "Nmotor-bench;"
                             "T1 motor 1000 speed=rpm,vibration=g,temperature=degC,current=A,probe=1;"
                             "T2 board 20 state=1,drive=1,led=1,obeyed=1,denied=1,forged=1,bad=1,loops=1,loop_ms=ms,boots=1,"
                             "silence_ms=ms,silence_before_ms=ms,tick_ms=ms,probe=1;"
                             "A1 drive 1 0 1 0;"
                             "A2 led 1 0 1 0;" PARAMETERS(PARAMETER_TEXT);

#ifdef FIRMWARE_KEY
static const uint8_t key[EB_KEY_BYTES] = { FIRMWARE_KEY };
#define KEY key
#else
#define KEY NULL
#endif

struct sample {
    uint64_t at;
    int32_t values[CHANNELS]; /* in thousandths */
};

static eb_port ports[PORTS];
static struct board_boot boot;
static struct control control;
static struct plant plant;

/* Written by the tick, read by the main loop. */
static struct sample samples[SAMPLES];
static volatile uint32_t samples_in, samples_out, samples_lost;
static uint64_t next_step, probe_at, edge_at;
static int32_t probe;
static bool is_edge_open;
static volatile bool is_state_new;

static uint32_t block_number[3], loops, faults;
static uint64_t loop_us, state_at;
static uint8_t held[HELD];
static uint32_t held_n;
static uint64_t held_until;

/* -- the tick ---------------------------------------------------------------------------------------------------------------- */

static void sample(uint64_t at)
{
    static int32_t last[CHANNELS];
    int32_t now[CHANNELS] = { plant.speed_rpm, plant.vibration, plant.celsius, plant.current, probe * 1000 };
    if (!parameter(P_stuck)) {
        memcpy(last, now, sizeof last);
    }
    if (samples_in - samples_out >= SAMPLES) {
        samples_lost++;
        return;
    }
    struct sample *next = &samples[samples_in % SAMPLES];
    next->at = at;
    memcpy(next->values, last, sizeof last);
    samples_in++;
}

/* The sensor's edge: from here to the lamp's answer is the loop, by the board's clock. */
static void turn_probe(uint64_t now)
{
    int32_t half_ms = parameter(P_blink_ms);
    if (half_ms == 0 || control.state != RUNNING) {
        is_edge_open = false;
        probe_at = now;
    } else if (now - probe_at >= (uint64_t)half_ms * 1000u) {
        probe = !probe;
        probe_at = edge_at = now;
        is_edge_open = true;
        is_state_new = true; /* told at once, whatever the rows of the motor's frames */
    }
}

static void tick(void)
{
    uint64_t now = board_clock_us();
    for (int steps = 0; now >= next_step; steps++) { /* a late tick does the work of those that it missed */
        if (steps == MOST_STEPS) {
            next_step = now;
        }
        control.timeout_us = (uint32_t)parameter(P_host_timeout_ms) * 1000u;
        is_state_new |= control_step(&control, plant.speed_rpm, now);
        struct plant_input input = { control.drive, control_brakes(&control), parameter(P_load), parameter(P_imbalance),
                                     parameter(P_runaway) };
        plant_step(&plant, &input);
        turn_probe(now);
        sample(next_step);
        next_step += STEP_US;
    }
}

/* -- what the library asks for ------------------------------------------------------------------------------------------------ */

static uint64_t clock_us(void *user)
{
    (void)user;
    return board_clock_us();
}

static int write_host(void *user, const uint8_t *data, size_t n)
{
    (void)user;
    if (parameter(P_silent)) {
        return 1;
    }
    if (parameter(P_slow_ack_ms) && n > 3 && n <= HELD && data[3] == EB_COMMAND_ACK) { /* behind delimiter, COBS code and version */
        memcpy(held, data, n);
        held_n = (uint32_t)n;
        held_until = board_clock_us() + (uint64_t)parameter(P_slow_ack_ms) * 1000u;
        return 1;
    }
    return board_write(PORT_HOST, data, n);
}

static int write_bench(void *user, const uint8_t *data, size_t n)
{
    (void)user;
    return board_write(PORT_BENCH, data, n);
}

static int32_t thousandths(float value)
{
    return (int32_t)(value * 1000.0f + (value < 0.0f ? -0.5f : 0.5f));
}

static uint8_t obey(void *user, const eb_command_t *command, float *applied)
{
    (void)user;
    if (command->actuator != DRIVE && command->actuator != LED) {
        return EB_STATUS_UNKNOWN;
    }
    if (!(*applied >= 0.0f && *applied <= 1.0f)) {
        return EB_STATUS_RANGE;
    }
    if (parameter(P_deaf)) {
        return EB_STATUS_OK;
    }
    board_lock();
    enum control_state before = control.state;
    uint64_t now = board_clock_us();
    bool obeyed = control_obey(&control, command->actuator, thousandths(*applied), command->deadline_us, now);
    if (obeyed && command->actuator == LED && is_edge_open && control.led == probe) { /* the actuator's edge */
        loop_us = now - edge_at;
        loops++;
        is_edge_open = false;
        is_state_new = true;
    }
    is_state_new |= control.state != before;
    board_unlock();
    return obeyed ? EB_STATUS_OK : EB_STATUS_REFUSED;
}

static void say(uint8_t level, const char *words, int32_t number)
{
    const struct journal_line *line = journal_write(level, board_clock_us(), words, number);
    char text[JOURNAL_WIDTH + 1];
    memcpy(text, line->text, line->length);
    text[line->length] = '\0';
    (void)eb_send_log(&ports[PORT_HOST], level, text);
    (void)eb_send_log(&ports[PORT_BENCH], level, text);
}

static void tell_log(void)
{
    char text[JOURNAL_WIDTH + 1];
    const struct journal_line *line;
    for (uint32_t i = 0; (line = journal_read(i)) != NULL; i++) {
        memcpy(text, line->text, line->length);
        text[line->length] = '\0';
        (void)eb_send_log(&ports[PORT_HOST], line->level, text);
        (void)eb_send_log(&ports[PORT_BENCH], line->level, text);
    }
}

static uint8_t use_parameter(void *user, uint16_t number, int is_set, float *value)
{
    (void)user;
    if (!parameter_is_known(number)) {
        return EB_STATUS_UNKNOWN;
    }
    if (is_set) {
        if (!(*value >= -1e6f && *value <= 1e6f) || !parameter_set(number, (int32_t)*value)) {
            return EB_STATUS_RANGE;
        }
        if (number == P_drift_ppm) {
            board_clock_drift(parameter(P_drift_ppm));
        } else if (number == P_tell_log) {
            tell_log();
        }
        say(0, "parameter", number);
    }
    *value = (float)parameter(number);
    return EB_STATUS_OK;
}

/* -- the main loop ------------------------------------------------------------------------------------------------------------ */

static void send_motor(void)
{
    static float rows[MOST_ROWS * CHANNELS];
    uint32_t n = (uint32_t)parameter(P_rows);
    while (samples_in - samples_out >= n) {
        uint64_t at = samples[samples_out % SAMPLES].at;
        for (uint32_t i = 0; i < n; i++) {
            const struct sample *one = &samples[(samples_out + i) % SAMPLES];
            for (uint32_t channel = 0; channel < CHANNELS; channel++) {
                rows[i * CHANNELS + channel] = parameter(P_not_a_number) ? __builtin_nanf("") : (float)one->values[channel] / 1000.0f;
            }
        }
        samples_out += n;
        eb_telemetry_t block = { block_number[STREAM_MOTOR]++, STEP_US * 1000u, (uint16_t)n, CHANNELS, 0 };
        (void)eb_send_telemetry(&ports[PORT_HOST], STREAM_MOTOR, at, &block, rows);
    }
}

static void send_state(uint64_t now)
{
    const eb_counters *counters = &ports[PORT_HOST].counters;
    uint32_t bad = 0;
    for (uint32_t i = 0; i < EB_REASONS; i++) {
        bad += counters->refused[i];
    }
    uint32_t forged = counters->refused[EB_REASON_FORGED] + counters->refused[EB_REASON_UNSIGNED] + counters->refused[EB_REASON_REPLAYED];
    float row[] = { (float)control.state, (float)control.drive / 1000.0f, (float)control.led, (float)counters->obeyed,
                    (float)counters->denied, (float)forged, (float)(bad - forged), (float)loops,
                    (float)loop_us / 1000.0f, (float)boot.count, (float)control.silence_us / 1000.0f,
                    (float)control.silence_before_us / 1000.0f, (float)control.longest_us / 1000.0f, (float)probe };
    eb_telemetry_t block = { block_number[STREAM_BOARD]++, STATE_US * 1000u, 1, sizeof row / sizeof row[0], 0 };
    (void)eb_send_telemetry(&ports[PORT_HOST], STREAM_BOARD, now, &block, row);
    (void)eb_send_telemetry(&ports[PORT_BENCH], STREAM_BOARD, now, &block, row);
    state_at = now;
    board_lock();
    control.longest_us = 0;
    board_unlock();
}

static void tell_state(uint64_t now)
{
    static enum control_state told = STARTING;
    is_state_new = false;
    if (control.state != told) {
        told = control.state;
        say(told == RUNNING ? 1 : 2, told == RUNNING ? "running" : told == SAFE ? "safe: host silent" : "fault: overspeed", (int32_t)told);
        if (told == FAULT) {
            eb_fault_t fault = { ++faults, FAULT_OVERSPEED, 2 };
            (void)eb_send_fault(&ports[PORT_HOST], &fault, "faster than the board allows");
        }
        eb_set_state(&ports[PORT_HOST], (uint8_t)told, 255);
        eb_set_state(&ports[PORT_BENCH], (uint8_t)told, 255);
    }
    send_state(now);
}

static void misbehave(void)
{
    static uint32_t noise = 1;
    if (parameter(P_reset) == 1) {
        board_reset(BOARD_RESET_ASKED);
    }
    while (parameter(P_reset) == 2) { /* only the watchdog helps */
    }
    for (int i = 0; parameter(P_babble) && i < 32 && board_room(PORT_HOST) > 0; i++) {
        noise = noise * 1664525u + 1013904223u;
        uint8_t byte = (uint8_t)(noise >> 24);
        (void)board_write(PORT_HOST, &byte, 1);
    }
}

static void read_ports(void)
{
    uint8_t bytes[64];
    for (unsigned port = 0; port < PORTS; port++) {
        size_t n = board_read(port, bytes, sizeof bytes); /* once a round: a line that is never silent must not keep the rest from its turn */
        eb_receive(&ports[port], bytes, n);
        eb_poll(&ports[port]);
    }
    if (ports[PORT_HOST].has_host) {
        board_lock(); /* the tick judges the silence */
        control_host_lives(&control, ports[PORT_HOST].host_us);
        board_unlock();
    }
}

static void start(void)
{
    boot = board_start();
    parameters_start();
    journal_start(boot.count);
    control_start(&control, (uint32_t)parameter(P_host_timeout_ms) * 1000u);
    plant_start(&plant, boot.count);
    eb_config config = { .schema = schema, .key = KEY, .boot_id = boot.id, .max_ttl_us = MOST_TTL_US, .firmware = FIRMWARE_VERSION };
    config.call = (eb_callbacks){ .now_us = clock_us, .write = write_host, .command = obey, .parameter = use_parameter };
    eb_init(&ports[PORT_HOST], &config);
    config.key = NULL;
    config.call.write = write_bench;
    config.call.command = NULL; /* the bench moves nothing */
    eb_init(&ports[PORT_BENCH], &config);
    next_step = board_clock_us() + STEP_US;
    board_tick(tick);
    say(1, "boot", (int32_t)boot.count);
    say(1, "cause of the reset", (int32_t)boot.cause);
}

int main(void)
{
    start();
    for (;;) {
        read_ports();
        send_motor();
        uint64_t now = board_clock_us();
        if (is_state_new) {
            tell_state(now);
        } else if (now - state_at >= STATE_US) {
            send_state(now);
        }
        if (held_n > 0 && now >= held_until) {
            (void)board_write(PORT_HOST, held, held_n);
            held_n = 0;
        }
        misbehave();
        board_push();
        board_feed();
        board_sleep();
    }
}
