// As an Arduino sketch: rename to .ino, add edge_bridge.c, edge_bridge.h and edge_bridge_protocol.h to the sketch's folder.
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

static eb_port port;

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
    return Serial.availableForWrite() >= (int)n && Serial.write(data, n) == n;
}

static uint8_t onCommand(void *, const eb_command_t *command, float *applied)
{
    if (command->actuator != 1) {
        return EB_STATUS_UNKNOWN;
    }
    analogWrite(9, (int)(*applied * 2.55f));
    return EB_STATUS_OK;
}

void setup()
{
    eb_config config;
    memset(&config, 0, sizeof config);
    Serial.begin(921600);
    config.call.now_us = nowUs;
    config.call.write = writeLine;
    config.call.command = onCommand;
    config.schema = "Narduino;T1 analog 100 a0=V;A1 led % 0 100 0";
    config.boot_id = ((uint64_t)micros() << 32) ^ (uint64_t)analogRead(1);
    eb_init(&port, &config);
}

void loop()
{
    static uint32_t number = 0;
    static uint64_t next = 0;
    uint64_t now = nowUs(nullptr);
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
}
