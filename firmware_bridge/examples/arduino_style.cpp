// As an Arduino sketch: rename to .ino, add edge_bridge.c, edge_bridge.h and edge_bridge_protocol.h to the sketch's folder.
//
// Frames wait in a ring of our own: an AVR's Serial takes 63 bytes at once, and a hello is longer. The ring must hold a whole frame. On a
// board with 2 KB of RAM build everything with -DEB_MAX_PAYLOAD=128 -DEB_REMEMBERED=4 (platform.local.txt: compiler.c.extra_flags and
// compiler.cpp.extra_flags); with the default of 1024 this takes 4 KB. 115200 baud is what a Uno's USB converter carries both ways.
#include "edge_bridge.h"

#ifdef ARDUINO
#include <Arduino.h>
#else  // enough of Arduino to compile this file anywhere
struct Line {
    int available();
    int read();
    int availableForWrite();
    size_t write(const uint8_t *data, size_t n);
    void begin(long baud);
};
extern Line Serial;
unsigned long micros();
int analogRead(int pin);
void analogWrite(int pin, int value);
#endif

static const int PIN = 9;
static const float LOW_PERCENT = 0.0f, HIGH_PERCENT = 100.0f, SAFE_PERCENT = 0.0f;  // as in the schema below
static const uint16_t LED = 1;
static const char SCHEMA[] = "Narduino;T1 analog 100 a0=V;A1 led % 0 100 0";
static_assert(sizeof SCHEMA - 1 <= EB_SCHEMA_ROOM, "raise EB_MAX_PAYLOAD");

static eb_port port;
static uint64_t deadlineUs;  // of the value that is held
static bool isHeld;          // otherwise the output is safe
static uint8_t ring[EB_MAX_ENCODED + 64];
static size_t ringAt, ringN;

// Another one after every reset, in its low 32 bits too: a command for the boot before must not be obeyed. With a key it must be one that
// nobody can foresee or choose: take your processor's random generator.
#if defined(__AVR__)
#include <avr/eeprom.h>
static uint64_t bootId()
{
    uint32_t *at = nullptr;  // the first 4 bytes of the EEPROM count boots; it bears 100,000 of them
    uint32_t boots = eeprom_read_dword(at) + 1;
    eeprom_update_dword(at, boots);
    return ((uint64_t)micros() << 32) | boots;
}
#elif defined(ESP32)
static uint64_t bootId()
{
    return ((uint64_t)esp_random() << 32) | esp_random();
}
#else
uint64_t bootId();  // yours
#endif

static uint64_t nowUs(void *)
{
    static uint32_t last = 0;
    static uint64_t high = 0;
    uint32_t now = (uint32_t)micros();  // wraps after 71 minutes
    if (now < last) {
        high += 0x100000000ull;
    }
    last = now;
    return high | now;
}

static int writeLine(void *, const uint8_t *data, size_t n)
{
    if (n > sizeof ring - ringN) {
        return 0;  // the whole frame or nothing
    }
    for (size_t i = 0; i < n; i++) {
        ring[(ringAt + ringN++) % sizeof ring] = data[i];
    }
    return 1;
}

static void drain()
{
    while (ringN && Serial.availableForWrite() > 0 && Serial.write(&ring[ringAt], 1) == 1) {
        ringAt = (ringAt + 1) % sizeof ring;
        ringN--;
    }
}

static void set(float percent)
{
    analogWrite(PIN, (int)(percent * 2.55f + 0.5f));
}

static uint8_t onCommand(void *, const eb_command_t *command, float *applied)
{
    if (command->actuator != LED) {
        return EB_STATUS_UNKNOWN;
    }
    if (!(*applied >= LOW_PERCENT && *applied <= HIGH_PERCENT)) {
        return EB_STATUS_RANGE;
    }
    set(*applied);
    deadlineUs = command->deadline_us;
    isHeld = true;
    eb_set_state(&port, EB_STATE_RUNNING, 255);
    return EB_STATUS_OK;
}

static void makeSafe()
{
    set(SAFE_PERCENT);
    isHeld = false;
    eb_set_state(&port, EB_STATE_SAFE, 255);
}

void setup()
{
    eb_config config;
    memset(&config, 0, sizeof config);
    Serial.begin(115200);
    config.call.now_us = nowUs;
    config.call.write = writeLine;
    config.call.command = onCommand;
    config.schema = SCHEMA;
    config.boot_id = bootId();
    eb_init(&port, &config);
    makeSafe();
}

void loop()
{
    static uint32_t number = 0;
    static uint64_t next = 0;
    uint64_t now = nowUs(nullptr);
    if (isHeld && now >= deadlineUs) {  // before anything else: no value is held beyond its life
        makeSafe();
    }
    while (Serial.available() > 0) {
        uint8_t byte = (uint8_t)Serial.read();
        eb_receive(&port, &byte, 1);
    }
    eb_poll(&port);
    if (now >= next) {
        float volts = (float)analogRead(0) * (5.0f / 1023.0f);
        eb_telemetry_t block = {number++, 10000000u, 1, 1, 0};
        next = now + 10000;
        eb_send_telemetry(&port, 1, now, &block, &volts);
    }
    drain();
}
