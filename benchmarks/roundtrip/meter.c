/* Measures a peer from outside: sends telemetry to it through the broker, waits for the answer with the same seq, and reports the
 * round trips. One thread and one connection, so that the meter itself adds no thread hop.
 *
 * A phase is RATE:SECONDS. With a rate, messages leave at absolute moments of CLOCK_MONOTONIC, whatever came back (an error does not
 * add up, and a slow peer is not spared). With rate 0 the meter keeps WINDOW messages on their way: flat out, nothing dropped.
 * Before the first phase it sends at 1,000/s until the peer has answered WARM times, which also fills the peer's windows.
 * Prints one line of JSON a phase. Times a round trip from before the call that sends to the callback of the answer.
 *
 * usage: meter [-w WINDOW] [-r ROWS] [-p PEER_PID] PORT TOPIC_IN TOPIC_OUT RATE:SECONDS...
 */
#define _GNU_SOURCE
#include <mosquitto.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define CHANNELS 8
#define MAX_ROWS 1000
#define TABLE_ROWS 4096 /* rows of samples prepared beforehand */
#define STEP_NS 100000 /* between two rows, on the sensor's clock */
#define WARM 1000
#define RING (1u << 20) /* send times kept, by seq */
#define DRAIN_NS 1000000000LL /* an answer later than this is a lost one */
#define SECOND_NS 1000000000LL

static struct {
    struct mosquitto *client;
    const char *topic_in, *topic_out;
    uint32_t seq, first; /* next to send; first of this phase */
    uint64_t answered, strange, forgiven;
    int64_t sent_ns[RING];
    uint32_t *trip_ns, *late_ns;
    size_t trips, lates, capacity;
    uint8_t payload[64 + MAX_ROWS * CHANNELS * 4];
    size_t at_seq, at_stamp, at_rows, length;
    float table[TABLE_ROWS][CHANNELS];
    unsigned rows, window;
    bool is_subscribed;
} m;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND_NS + t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "meter: %s\n", what);
    exit(1);
}

/* --- MessagePack, as little as is needed ------------------------------------------------------------------------------------ */

static size_t put(size_t at, const void *bytes, size_t n)
{
    memcpy(m.payload + at, bytes, n);
    return at + n;
}

static uint64_t big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;
    while (bytes--) {
        value = value << 8 | *p++;
    }
    return value;
}

static void set_big_endian(uint8_t *p, uint64_t value, unsigned bytes)
{
    while (bytes--) {
        p[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

/* Lay the message out once; only seq, t and x change afterwards, at fixed places. */
static void make_payload(void)
{
    size_t at = put(0, m.rows > 1 ? "\x85" : "\x84", 1);
    at = put(at, "\xa1v\x01\xa3seq\xce", 8);
    m.at_seq = at;
    at = put(at + 4, "\xa1t\xcf", 3);
    m.at_stamp = at;
    at += 8;
    if (m.rows > 1) {
        at = put(at, "\xa2" "dt\xce", 4);
        set_big_endian(m.payload + at, STEP_NS, 4);
        at += 4;
    }
    at = put(at, "\xa1x\xc5", 3);
    set_big_endian(m.payload + at, m.rows * CHANNELS * 4, 2);
    m.at_rows = at + 2;
    m.length = m.at_rows + m.rows * CHANNELS * 4;
    uint32_t random = 1;
    for (int i = 0; i < TABLE_ROWS * CHANNELS; i++) {
        float sum = 0; /* of 4 uniform numbers: near enough to a sensor's noise around 9.81 */
        for (int k = 0; k < 4; k++) {
            random = random * 1664525u + 1013904223u;
            sum += (float)(random >> 8) / 16777216.0f - 0.5f;
        }
        m.table[i / CHANNELS][i % CHANNELS] = 9.81f + sum;
    }
}

/* Bytes of the value at p, or 0 when it does not end before `end` or is of a kind no peer uses. */
static size_t value_size(const uint8_t *p, const uint8_t *end)
{
    if (p >= end) {
        return 0;
    }
    size_t left = (size_t)(end - p), size, items = 0;
    uint8_t kind = *p;
    static const uint8_t fixed[] = {[0xc0 - 0xc0] = 1, [0xc2 - 0xc0] = 1, [0xc3 - 0xc0] = 1, [0xca - 0xc0] = 5, [0xcb - 0xc0] = 9,
                                    [0xcc - 0xc0] = 2, [0xcd - 0xc0] = 3, [0xce - 0xc0] = 5, [0xcf - 0xc0] = 9, [0xd0 - 0xc0] = 2,
                                    [0xd1 - 0xc0] = 3, [0xd2 - 0xc0] = 5, [0xd3 - 0xc0] = 9, [0xdf - 0xc0] = 0};
    if (kind < 0x80 || kind >= 0xe0) {
        size = 1;
    } else if (kind < 0x90) {
        size = 1, items = 2 * (size_t)(kind & 15);
    } else if (kind < 0xa0) {
        size = 1, items = kind & 15;
    } else if (kind < 0xc0) {
        size = 1 + (size_t)(kind & 31);
    } else if (kind == 0xd9 || kind == 0xc4) {
        size = left < 2 ? 0 : 2 + (size_t)p[1];
    } else if (kind == 0xda || kind == 0xc5) {
        size = left < 3 ? 0 : 3 + (size_t)big_endian(p + 1, 2);
    } else if (kind == 0xdc || kind == 0xde) {
        size = 3, items = left < 3 ? 0 : (size_t)big_endian(p + 1, 2) * (kind == 0xde ? 2 : 1);
    } else {
        size = fixed[kind - 0xc0];
    }
    for (; items && size && size <= left; items--) {
        size_t item = value_size(p + size, end);
        size = item ? size + item : 0;
    }
    return size <= left ? size : 0;
}

/* The value of "seq" in a map, or -1. */
static int64_t find_seq(const uint8_t *p, size_t n)
{
    const uint8_t *end = p + n;
    if (n == 0 || (*p & 0xf0) != 0x80) {
        return -1;
    }
    unsigned pairs = *p++ & 15;
    while (pairs--) {
        size_t key = value_size(p, end);
        if (key == 0) {
            return -1;
        }
        const uint8_t *value = p + key;
        size_t size = value_size(value, end);
        if (size == 0) {
            return -1;
        }
        if (key == 4 && memcmp(p, "\xa3seq", 4) == 0) {
            return size == 1 ? *value : *value >= 0xcc && *value <= 0xcf ? (int64_t)big_endian(value + 1, (unsigned)size - 1) : -1;
        }
        p = value + size;
    }
    return -1;
}

/* --- the link ------------------------------------------------------------------------------------------------------------------ */

static void on_connect(struct mosquitto *client, void *context, int code)
{
    (void)context;
    if (code != 0) {
        die("the broker refused the connection");
    }
    mosquitto_subscribe(client, NULL, m.topic_out, 0);
}

static void on_subscribe(struct mosquitto *client, void *context, int mid, int count, const int *granted)
{
    (void)client, (void)context, (void)mid, (void)count, (void)granted;
    m.is_subscribed = true;
}

static void on_message(struct mosquitto *client, void *context, const struct mosquitto_message *message)
{
    (void)client, (void)context;
    int64_t received = now_ns();
    int64_t seq = find_seq(message->payload, (size_t)message->payloadlen);
    int64_t *sent = &m.sent_ns[(uint64_t)seq % RING];
    if (seq < 0 || seq >= m.seq || *sent == 0 || m.seq - seq >= RING) {
        m.strange++; /* no seq, or answered before */
        return;
    }
    if (seq < m.first) {
        return; /* of an earlier phase */
    }
    m.answered++;
    if (m.trips < m.capacity) {
        m.trip_ns[m.trips++] = (uint32_t)(received - *sent < UINT32_MAX ? received - *sent : UINT32_MAX);
    }
    *sent = 0;
}

static void send_one(int64_t now)
{
    uint64_t row = (uint64_t)m.seq * m.rows;
    set_big_endian(m.payload + m.at_seq, m.seq, 4);
    set_big_endian(m.payload + m.at_stamp, (row + 1) * STEP_NS, 8);
    for (unsigned i = 0; i < m.rows; i++) {
        memcpy(m.payload + m.at_rows + i * sizeof m.table[0], m.table[(row + i) % TABLE_ROWS], sizeof m.table[0]);
    }
    m.sent_ns[m.seq % RING] = now;
    m.seq++;
    if (mosquitto_publish(m.client, NULL, m.topic_in, (int)m.length, m.payload, 0, false) != MOSQ_ERR_SUCCESS) {
        die("cannot send");
    }
}

/* Serve the socket until there was something to read, or until the moment `until`. */
static void serve(int64_t until)
{
    int64_t left = until - now_ns();
    left = left < 0 ? 0 : left;
    struct pollfd fd = {.fd = mosquitto_socket(m.client), .events = (short)(POLLIN | (mosquitto_want_write(m.client) ? POLLOUT : 0))};
    struct timespec timeout = {left / SECOND_NS, left % SECOND_NS};
    if (ppoll(&fd, 1, &timeout, NULL) <= 0) {
        return;
    }
    if ((fd.revents & POLLOUT) && mosquitto_loop_write(m.client, 1) != MOSQ_ERR_SUCCESS) {
        die("connection lost while writing");
    }
    uint64_t before;
    do { /* one call reads one message */
        before = m.answered;
        if (mosquitto_loop_read(m.client, 1) != MOSQ_ERR_SUCCESS) {
            die("connection lost while reading");
        }
    } while (m.answered != before);
}

static void connect_to(int port)
{
    mosquitto_lib_init();
    m.client = mosquitto_new(NULL, true, NULL);
    mosquitto_int_option(m.client, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_connect_callback_set(m.client, on_connect);
    mosquitto_subscribe_callback_set(m.client, on_subscribe);
    mosquitto_message_callback_set(m.client, on_message);
    if (mosquitto_connect(m.client, "127.0.0.1", port, 600) != MOSQ_ERR_SUCCESS) {
        die("no broker");
    }
    while (!m.is_subscribed) {
        if (mosquitto_loop(m.client, 1000, 1) != MOSQ_ERR_SUCCESS) {
            die("connection lost at once");
        }
    }
}

/* --- phases -------------------------------------------------------------------------------------------------------------------- */

static void warm_up(void)
{
    int64_t due = now_ns(), give_up = due + 60 * SECOND_NS;
    while (m.answered < WARM) {
        int64_t now = now_ns();
        if (now > give_up) {
            die("the peer does not answer");
        }
        if (now >= due) {
            send_one(now);
            due += SECOND_NS / 1000;
        }
        serve(due);
    }
}

static void run_paced(double rate, int64_t start, int64_t end)
{
    int64_t due = start;
    for (uint64_t i = 0; due < end;) {
        int64_t now = now_ns();
        if (now < due) {
            serve(due);
            continue;
        }
        if (m.lates < m.capacity) {
            m.late_ns[m.lates++] = (uint32_t)(now - due);
        }
        send_one(now);
        due = start + (int64_t)((double)++i * 1e9 / rate);
    }
}

static void run_flat_out(int64_t end)
{
    int64_t heard = now_ns();
    for (int64_t now = heard; now < end; now = now_ns()) {
        while (m.seq - m.first - m.answered - m.forgiven < m.window) {
            send_one(now_ns());
        }
        uint64_t before = m.answered;
        serve(now + DRAIN_NS);
        if (m.answered != before) {
            heard = now;
        } else if (now - heard > DRAIN_NS) {
            m.forgiven = m.seq - m.first - m.answered; /* lost for good: go on, they stay counted as lost */
        }
    }
}

static double cpu_seconds(long pid)
{
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = pid ? fopen(path, "r") : NULL;
    if (file) {
        if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
            user = system = 0;
        }
        fclose(file);
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile_us(const uint32_t *sorted, size_t n, double q)
{
    return n ? sorted[(size_t)(q * (double)(n - 1) + 0.5)] / 1e3 : 0.0;
}

static void run_phase(double rate, double seconds, long pid)
{
    m.first = m.seq;
    m.answered = m.strange = m.forgiven = 0;
    m.trips = m.lates = 0;
    double cpu = cpu_seconds(pid);
    int64_t start = now_ns(), end = start + (int64_t)(seconds * 1e9);
    if (rate > 0) {
        run_paced(rate, start, end);
    } else {
        run_flat_out(end);
    }
    uint64_t answered = m.answered;
    int64_t stopped = now_ns();
    cpu = cpu_seconds(pid) - cpu;
    uint32_t sent = m.seq - m.first;
    while (m.answered < sent && now_ns() < stopped + DRAIN_NS) {
        serve(stopped + DRAIN_NS);
    }
    double took = (double)(stopped - start) / 1e9;
    qsort(m.trip_ns, m.trips, sizeof *m.trip_ns, by_value);
    qsort(m.late_ns, m.lates, sizeof *m.late_ns, by_value);
    printf("{\"rate\": %.0f, \"rows\": %u, \"seconds\": %.3f, \"sent\": %u, \"answered\": %llu, \"lost\": %llu, \"strange\": %llu, "
           "\"per_s\": %.0f, \"peer_cpu\": %.3f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"max_us\": %.1f, \"send_late_p99_us\": %.1f, \"send_late_max_us\": %.1f}\n",
           rate, m.rows, took, sent, (unsigned long long)m.answered, (unsigned long long)(sent - m.answered),
           (unsigned long long)m.strange, (double)answered / took, cpu / took, quantile_us(m.trip_ns, m.trips, 0.5),
           quantile_us(m.trip_ns, m.trips, 0.9), quantile_us(m.trip_ns, m.trips, 0.99), quantile_us(m.trip_ns, m.trips, 0.999),
           quantile_us(m.trip_ns, m.trips, 1.0), quantile_us(m.late_ns, m.lates, 0.99), quantile_us(m.late_ns, m.lates, 1.0));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    long pid = 0;
    m.rows = 1;
    m.window = 128;
    for (int option; (option = getopt(argc, argv, "w:r:p:")) != -1;) {
        switch (option) {
        case 'w': m.window = (unsigned)atoi(optarg); break;
        case 'r': m.rows = (unsigned)atoi(optarg); break;
        case 'p': pid = atol(optarg); break;
        default: return 2;
        }
    }
    if (argc - optind < 4 || m.rows < 1 || m.rows > MAX_ROWS || m.window < 1 || m.window > RING / 2) {
        fprintf(stderr, "usage: meter [-w WINDOW] [-r ROWS] [-p PEER_PID] PORT TOPIC_IN TOPIC_OUT RATE:SECONDS...\n");
        return 2;
    }
    m.topic_in = argv[optind + 1];
    m.topic_out = argv[optind + 2];
    m.capacity = 1u << 23;
    m.trip_ns = calloc(m.capacity, sizeof *m.trip_ns);
    m.late_ns = calloc(m.capacity, sizeof *m.late_ns);
    if (!m.trip_ns || !m.late_ns) {
        die("out of memory");
    }
    prctl(PR_SET_TIMERSLACK, 1UL); /* the default adds 50 us to every sleep */
    make_payload();
    connect_to(atoi(argv[optind]));
    warm_up();
    for (int i = optind + 3; i < argc; i++) {
        double rate, seconds;
        if (sscanf(argv[i], "%lf:%lf", &rate, &seconds) != 2) {
            die("a phase is RATE:SECONDS");
        }
        run_phase(rate, seconds, pid);
    }
    mosquitto_disconnect(m.client);
    return 0;
}
