// Runs the Arduino sketch beside this on the host: its clock, its line with 64 bytes of buffer, and its pin are here. Reads words of
// "microseconds bytes-in-hexadecimal-or--" and writes "out HEX" and "pin MICROSECONDS VALUE".
#include "arduino_style.cpp"

#include <cstdio>
#include <string>

static unsigned long nowAt = 1000;
static std::string in, out;
static int pinValue = -1;
static const int ROOM = 63;
static int waiting;

Line Serial;
int Line::available() { return (int)in.size(); }
int Line::read()
{
    int byte = (unsigned char)in[0];
    in.erase(0, 1);
    return byte;
}
int Line::availableForWrite() { return ROOM - waiting; }
size_t Line::write(const uint8_t *data, size_t n)
{
    out.append((const char *)data, n);
    waiting += (int)n;
    return n;
}
void Line::begin(long) {}
unsigned long micros() { return nowAt; }
int analogRead(int) { return 512; }
void analogWrite(int, int value)
{
    if (value != pinValue) {
        std::printf("pin %lu %d\n", nowAt, value);
    }
    pinValue = value;
}
uint64_t bootId() { return 0x500000007ull; }

int main()
{
    char word[4096];
    unsigned long until;
    setup();
    while (std::scanf("%lu %4095s", &until, word) == 2) {
        for (const char *at = word; at[0] != '-' && at[0] && at[1]; at += 2) {
            unsigned byte = 0;
            std::sscanf(at, "%2x", &byte);
            in.push_back((char)byte);
        }
        for (; nowAt < until; nowAt += 100) {
            waiting -= waiting > 0;  // 115200 baud: 1.15 bytes in 100 microseconds
            loop();
        }
        std::printf("out ");
        for (unsigned char byte : out) {
            std::printf("%02x", byte);
        }
        std::printf("\n");
        out.clear();
    }
    return 0;
}
