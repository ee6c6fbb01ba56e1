#include "board.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define UART_DATA(port) REG(0x40004000u + 0x1000u * (port))
#define UART_STATE(port) REG(0x40004004u + 0x1000u * (port))
#define UART_CTRL(port) REG(0x40004008u + 0x1000u * (port))
#define UART_INTCLEAR(port) REG(0x4000400Cu + 0x1000u * (port))
#define UART_BAUDDIV(port) REG(0x40004010u + 0x1000u * (port))
#define TIMER0_CTRL REG(0x40000000u)
#define TIMER0_VALUE REG(0x40000004u)
#define TIMER0_RELOAD REG(0x40000008u)
#define TIMER0_INTCLEAR REG(0x4000000Cu)
#define TIMER1_CTRL REG(0x40001000u)
#define TIMER1_VALUE REG(0x40001004u)
#define TIMER1_RELOAD REG(0x40001008u)
#define WATCHDOG_LOAD REG(0x40008000u)
#define WATCHDOG_CONTROL REG(0x40008008u)
#define WATCHDOG_INTCLEAR REG(0x4000800Cu)
#define WATCHDOG_LOCK REG(0x40008C00u)
#define NVIC_ENABLE REG(0xE000E100u)
#define AIRCR REG(0xE000ED0Cu)

enum {
    CLOCK_MHZ = 25,
    BAUD = 921600,
    IRQ_UARTS = 0xF, /* 0, 1: the host's receiver and transmitter; 2, 3: the bench's */
    IRQ_TIMER0 = 8,
    RX_SIZE = 4096, /* powers of two; 44 ms at 921,600 baud */
    TX_SIZE = 8192,
    STATE_TX_FULL = 1,
    STATE_RX_FULL = 2,
    STATE_RX_OVERRUN = 8,
    MARK = 0x600DB007,
};

struct ring {
    volatile uint32_t in, out;
};

static struct ring rx[PORTS], tx[PORTS];
static uint8_t rx_bytes[PORTS][RX_SIZE], tx_bytes[PORTS][TX_SIZE];
static volatile uint32_t overruns;
static void (*on_tick)(void);

static uint64_t now_us;
static uint32_t last_count, spare_counts;
static int32_t drift_ppm, drift_rest;

BOARD_KEPT static struct {
    uint32_t mark, count, cause;
} kept;

/* Sixteen random bytes that the emulator puts there at every reset. A real board has a generator of random numbers: read it here. */
extern const volatile uint32_t board_entropy[4];

void board_lock(void)
{
    __asm__ volatile("cpsid i" ::: "memory");
}

void board_unlock(void)
{
    __asm__ volatile("cpsie i" ::: "memory");
}

struct board_boot board_start(void)
{
    if (kept.mark != MARK) { /* memory has lost its content: power came on */
        kept.mark = MARK;
        kept.count = 0;
        kept.cause = BOARD_RESET_POWER;
    }
    kept.count++;
    struct board_boot boot = { kept.count, kept.cause, 0 };
    boot.id = ((uint64_t)board_entropy[0] << 32 | board_entropy[1]) + kept.count * 0x9E3779B97F4A7C15u;
    kept.cause = BOARD_RESET_PIN; /* unless board_reset() says otherwise before the next one */

    TIMER1_RELOAD = UINT32_MAX; /* counts down for ever: the clock */
    TIMER1_VALUE = UINT32_MAX;
    TIMER1_CTRL = 1;
    last_count = TIMER1_VALUE;
    for (unsigned port = 0; port < PORTS; port++) {
        UART_BAUDDIV(port) = (CLOCK_MHZ * 1000000u + BAUD / 2) / BAUD;
        UART_CTRL(port) = 0xBu; /* transmitter, receiver, receive interrupt */
    }
    WATCHDOG_LOCK = 0x1ACCE551u;
    WATCHDOG_LOAD = CLOCK_MHZ * 2000000u;
    WATCHDOG_CONTROL = 3; /* first the interrupt (NMI), then the reset */
    NVIC_ENABLE = IRQ_UARTS;
    board_unlock();
    return boot;
}

void board_reset(uint32_t cause)
{
    board_lock();
    kept.cause = cause;
    AIRCR = 0x05FA0004u;
    for (;;) {
    }
}

uint64_t board_clock_us(void)
{
    uint32_t masked;
    __asm__ volatile("mrs %0, primask" : "=r"(masked));
    board_lock();
    uint32_t count = TIMER1_VALUE;
    uint32_t passed = last_count - count + spare_counts;
    last_count = count;
    spare_counts = passed % CLOCK_MHZ;
    uint32_t us = passed / CLOCK_MHZ;
    now_us += us;
    if (drift_ppm != 0) {
        int64_t drift = (int64_t)us * drift_ppm + drift_rest;
        now_us += (uint64_t)(drift / 1000000);
        drift_rest = (int32_t)(drift % 1000000);
    }
    uint64_t now = now_us;
    if (masked == 0) {
        board_unlock();
    }
    return now;
}

void board_clock_drift(int32_t ppm)
{
    (void)board_clock_us();
    drift_ppm = ppm;
}

void board_tick(void (*tick)(void))
{
    on_tick = tick;
    TIMER0_RELOAD = CLOCK_MHZ * 1000u - 1;
    TIMER0_VALUE = CLOCK_MHZ * 1000u - 1;
    TIMER0_CTRL = 9; /* run, interrupt */
    NVIC_ENABLE = 1u << IRQ_TIMER0;
}

void timer_handler(void)
{
    TIMER0_INTCLEAR = 1;
    on_tick();
}

static void take(unsigned port)
{
    UART_INTCLEAR(port) = 2;
    if (UART_STATE(port) & STATE_RX_OVERRUN) {
        UART_STATE(port) = STATE_RX_OVERRUN;
        overruns++;
    }
    while (UART_STATE(port) & STATE_RX_FULL) {
        uint8_t byte = (uint8_t)UART_DATA(port);
        if (rx[port].in - rx[port].out < RX_SIZE) {
            rx_bytes[port][rx[port].in % RX_SIZE] = byte;
            rx[port].in++;
        } else {
            overruns++;
        }
    }
}

void uart_rx_handler(void)
{
    take(PORT_HOST);
}

void bench_rx_handler(void)
{
    take(PORT_BENCH);
}

size_t board_read(unsigned port, uint8_t *to, size_t room)
{
    size_t n = 0;
    while (n < room && rx[port].out != rx[port].in) {
        to[n++] = rx_bytes[port][rx[port].out % RX_SIZE];
        rx[port].out++;
    }
    return n;
}

uint32_t board_overruns(void)
{
    return overruns;
}

size_t board_room(unsigned port)
{
    return TX_SIZE - (tx[port].in - tx[port].out);
}

bool board_write(unsigned port, const uint8_t *from, size_t n)
{
    if (board_room(port) < n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        tx_bytes[port][(tx[port].in + i) % TX_SIZE] = from[i];
    }
    tx[port].in += (uint32_t)n;
    board_push();
    return true;
}

/* Called from the main loop only. The interrupt of the transmitter does no more than wake it up: where a byte leaves at once,
   as in an emulator, this sends a whole frame without one interrupt. */
void board_push(void)
{
    for (unsigned port = 0; port < PORTS; port++) {
        struct ring *ring = &tx[port];
        while (ring->out != ring->in && !(UART_STATE(port) & STATE_TX_FULL)) {
            UART_DATA(port) = tx_bytes[port][ring->out % TX_SIZE];
            ring->out++;
        }
        UART_CTRL(port) = ring->out != ring->in ? 0xFu : 0xBu;
    }
}

void uart_tx_handler(void)
{
    UART_INTCLEAR(PORT_HOST) = 1;
}

void bench_tx_handler(void)
{
    UART_INTCLEAR(PORT_BENCH) = 1;
}

void board_sleep(void)
{
    board_lock(); /* a byte that comes between the check and WFI still wakes it: WFI looks at what is pending, masked or not */
    if (rx[PORT_HOST].in == rx[PORT_HOST].out && rx[PORT_BENCH].in == rx[PORT_BENCH].out) {
        __asm__ volatile("wfi");
    }
    board_unlock();
}

void board_feed(void)
{
    WATCHDOG_INTCLEAR = 1;
}
