/* edge_bridge: a microcontroller's side of the serial protocol in docs/bridge-protocol.md.
 *
 * C99, no heap, no libc beyond memcpy and memset, no globals that change. One eb_port is one serial line; call its functions from one
 * context (main loop or one task). Bytes from an interrupt go through a ring of your own into eb_receive.
 *
 * Macros, to be set for the whole build:
 *   EB_MAX_PAYLOAD  bytes, largest payload either way, 64 to 4096 (default 1024); RAM is about twice this
 *   EB_REMEMBERED   commands that are known again, 1 to 255 (default 16, 16 bytes each): at least twice the actuators
 *   EB_AUTH         0 leaves signing out (default 1)
 *   EB_CRC_FAST     1 takes a table of 1 KB instead of one of 64 bytes (default 0)
 */
#ifndef EDGE_BRIDGE_H
#define EDGE_BRIDGE_H

#include <stddef.h>
#include <stdint.h>

#include "edge_bridge_protocol.h"

#ifndef EB_MAX_PAYLOAD
#define EB_MAX_PAYLOAD EB_DEFAULT_MAX_PAYLOAD
#endif
#ifndef EB_REMEMBERED
#define EB_REMEMBERED EB_DEFAULT_REMEMBERED
#endif
#ifndef EB_AUTH
#define EB_AUTH 1
#endif
#ifndef EB_CRC_FAST
#define EB_CRC_FAST 0
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "rows and points are sent as they lie in memory: this code is for little-endian processors"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Before COBS, and on the line with both delimiters. */
#define EB_MAX_FRAME (EB_HEADER_BYTES + EB_MAX_PAYLOAD + EB_COUNTER_BYTES + EB_TAG_BYTES + EB_CRC_BYTES)
#define EB_MAX_ENCODED (EB_MAX_FRAME + EB_MAX_FRAME / 254u + 3u)

/* What the board gives. Every pointer may be NULL but now_us and write. */
typedef struct {
    void *user; /* handed to every function */
    /* Microseconds since start; never goes back. */
    uint64_t (*now_us)(void *user);
    /* Take all n bytes and return 1, or none and return 0: then the frame is counted as dropped. */
    int (*write)(void *user, const uint8_t *data, size_t n);
    /* Obey a fresh command. Returns EB_STATUS_OK, _UNKNOWN, _RANGE or _REFUSED; *applied starts as the value asked for.
     * After command->deadline_us the value must not be held any longer. */
    uint8_t (*command)(void *user, const eb_command_t *command, float *applied);
    /* Read (is_set 0) or write a parameter; *value goes in and out. Returns a status. */
    uint8_t (*parameter)(void *user, uint16_t parameter, int is_set, float *value);
    /* A host began a session: hello_request came. */
    void (*host)(void *user, uint64_t session);
} eb_callbacks;

typedef struct {
    eb_callbacks call;
    const char *schema;  /* see docs/bridge-protocol.md; must stay in memory */
    const uint8_t *key;  /* EB_KEY_BYTES, or NULL: commands need no signature; must stay in memory */
    uint64_t boot_id;    /* another one after every reset; with a key: nobody can choose or foresee it */
    uint32_t max_ttl_us; /* a deadline further ahead is refused; 0: 10 s */
    uint32_t heartbeat_us; /* period of heartbeats; 0: 100 ms */
    uint16_t firmware;   /* version, major * 256 + minor */
} eb_config;

/* received = used + the sum of refused */
typedef struct {
    uint32_t received, used;
    uint32_t refused[EB_REASONS]; /* by EB_REASON_x */
    uint32_t lost, late;          /* frames of the host that never came; that came after a later one */
    uint32_t sent, dropped;       /* frames that write took, and did not take */
    uint32_t obeyed, repeated;    /* commands that reached the callback with EB_STATUS_OK; that were acknowledged again */
    uint32_t denied;              /* commands with any other status */
} eb_counters;

typedef struct {
    uint32_t session, number;
    float value;
    uint8_t status, repeats;
    uint16_t actuator;
} eb_remembered;

typedef struct {
    eb_config config;
    eb_counters counters;
    uint64_t session;      /* of the host; 0: none yet */
    uint64_t host_us;      /* when the host last gave a sign of life, valid when has_host */
    uint64_t heartbeat_at, hello_at;
    uint32_t rx_counter, tx_counter;
    uint32_t seen;         /* bit i: frame newest - i came */
    uint16_t newest, tx_seq;
    uint8_t has_newest, has_host, state, load;
    /* receiver */
    uint8_t rx[EB_MAX_FRAME];
    uint16_t rx_n;
    uint8_t rx_left, rx_code, rx_bad;
    /* transmitter */
    uint8_t tx[EB_MAX_ENCODED];
    uint16_t tx_n, tx_code_at;
    uint32_t tx_crc;
    /* commands */
    eb_remembered remembered[EB_REMEMBERED];
    uint8_t remembered_n;
} eb_port;

/* Start; sends nothing. The first eb_poll says hello. Returns 0 when the schema is longer than EB_SCHEMA_ROOM: the hello then says so instead
 * of it, and the host knows no stream and no actuator. */
#define EB_SCHEMA_ROOM (EB_MAX_PAYLOAD - EB_HELLO_BYTES)
int eb_init(eb_port *port, const eb_config *config);

/* Bytes from the line, in pieces of any size. Callbacks and answers happen in here. */
void eb_receive(eb_port *port, const uint8_t *data, size_t n);

/* Call often, at least at twice the heartbeat's rate: heartbeats, and hello once a second until a host came. */
void eb_poll(eb_port *port);

/* For heartbeats: EB_STATE_x, and load in percent or 255. */
void eb_set_state(eb_port *port, uint8_t state, uint8_t load);

/* Microseconds since the host's last heartbeat, or command that could be obeyed when it came (with a key: a signed one); UINT64_MAX before
 * the first. */
uint64_t eb_host_age_us(const eb_port *port);

/* A block of rows * channels float32, row by row. stamp_us is of the first row. Returns 1 when write took it. */
int eb_send_telemetry(eb_port *port, uint8_t stream, uint64_t stamp_us, const eb_telemetry_t *block, const float *rows);

/* n points from index chunk->first on, of chunk->points. At most EB_SCAN_POINTS(columns) a chunk. */
#define EB_SCAN_POINTS(columns) ((EB_MAX_PAYLOAD - EB_SCAN_CHUNK_BYTES) / (4u * (columns)))
int eb_send_scan_chunk(eb_port *port, uint8_t stream, uint64_t stamp_us, const eb_scan_chunk_t *chunk, const float *points, uint32_t n);

int eb_send_log(eb_port *port, uint8_t level, const char *text);
int eb_send_fault(eb_port *port, const eb_fault_t *fault, const char *text);

/* CRC-32C of n more bytes; start with 0. */
uint32_t eb_crc32c(uint32_t crc, const uint8_t *data, size_t n);

#if EB_AUTH
/* Keyed BLAKE2s with a digest of EB_TAG_BYTES over a prefix of 17 bytes (direction, boot id, session), then data. */
void eb_tag(uint8_t *tag, const uint8_t *key, const uint8_t *prefix, const uint8_t *data, size_t n);
#endif

#ifdef __cplusplus
}
#endif
#endif
