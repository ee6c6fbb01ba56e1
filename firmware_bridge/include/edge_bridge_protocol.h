/* Made by `python -m firmware_bridge.protocol --write`. Do not edit: change protocol.py. */
#ifndef EDGE_BRIDGE_PROTOCOL_H
#define EDGE_BRIDGE_PROTOCOL_H

#include <stdint.h>
/* memcpy and memset; a bare compiler without a C library has no string.h. */
#ifdef __has_include
#if !__has_include(<string.h>)
#include <stddef.h>
#define EB_NO_STRING_H
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
#endif
#endif
#ifndef EB_NO_STRING_H
#include <string.h>
#endif

#define EB_VERSION 1u
#define EB_HEADER_BYTES 16u
#define EB_COUNTER_BYTES 4u
#define EB_TAG_BYTES 8u
#define EB_CRC_BYTES 4u
#define EB_KEY_BYTES 32u
#define EB_SEQ_WINDOW 32u
#define EB_FLAG_SIGNED 1u
#define EB_FLAG_TO_BOARD 2u
#define EB_SCHEMA_MAX 896u
#define EB_MIN_PAYLOAD 64u
#define EB_LIMIT_PAYLOAD 4096u
#define EB_DEFAULT_MAX_PAYLOAD 1024u
#define EB_DEFAULT_REMEMBERED 16u

/* Message types */
#define EB_HELLO_REQUEST 0x01u /* Who is there? Starts a session: the board forgets the host's frame counter. */
#define EB_HELLO 0x02u /* Schema of the board: streams with rates and units, actuators, parameters. */
#define EB_HEARTBEAT 0x03u /* I live. A board whose host is silent goes to its safe state by itself. */
#define EB_TIME_REQUEST 0x04u /* What time is it? Deadlines of commands are by the board's clock. */
#define EB_TIME_RESPONSE 0x05u /* The board's clock, with the time that the answer took. */
#define EB_TELEMETRY 0x10u /* n samples of C channels. */
#define EB_SCAN_CHUNK 0x11u /* Part of a scan. Chunks may come in any order; a scan with a missing one is dropped when a newer scan starts. */
#define EB_COMMAND 0x20u /* Set an actuator, until the deadline. */
#define EB_COMMAND_ACK 0x21u /* What became of a command. */
#define EB_PARAMETER_GET 0x30u /* Read a parameter. */
#define EB_PARAMETER_SET 0x31u /* Write a parameter. */
#define EB_PARAMETER_VALUE 0x32u /* Answer to both. */
#define EB_LOG 0x40u /* A line of the board's log. */
#define EB_FAULT 0x41u /* Something is wrong on the board. */

/* Statuses of command_ack and parameter_value */
#define EB_STATUS_OK 0u /* obeyed */
#define EB_STATUS_EXPIRED 1u /* came after its deadline */
#define EB_STATUS_TOO_FAR 2u /* deadline further ahead than the board allows */
#define EB_STATUS_OLD 3u /* a newer command came before it */
#define EB_STATUS_WRONG_BOOT 4u /* meant for the board before its reset */
#define EB_STATUS_UNKNOWN 5u /* no such actuator or parameter */
#define EB_STATUS_RANGE 6u /* value not finite or outside the allowed range */
#define EB_STATUS_REFUSED 7u /* the board's state forbids it */

/* States of heartbeat */
#define EB_STATE_STARTING 0u
#define EB_STATE_RUNNING 1u
#define EB_STATE_SAFE 2u
#define EB_STATE_FAULT 3u

/* Why a frame was not used: index into eb_counters.refused */
#define EB_REASON_OVERSIZED 0u /* no end within the largest frame */
#define EB_REASON_COBS 1u /* not COBS */
#define EB_REASON_SHORT 2u /* smaller than a header and its CRC */
#define EB_REASON_CRC 3u /* CRC-32C is wrong */
#define EB_REASON_VERSION 4u /* of another protocol version */
#define EB_REASON_LENGTH 5u /* right CRC, but not the length that the header says */
#define EB_REASON_DIRECTION 6u /* our own bytes came back */
#define EB_REASON_UNKNOWN 7u /* no such type, or a payload that does not fit its type */
#define EB_REASON_REPEATED 8u /* came twice */
#define EB_REASON_UNSIGNED 9u /* the type must be signed and is not */
#define EB_REASON_FORGED 10u /* the tag is wrong */
#define EB_REASON_REPLAYED 11u /* the counter did not rise */
#define EB_REASONS 12u

#define EB_SIGNED_TYPES(type) ((type) == EB_HELLO || (type) == EB_HEARTBEAT || (type) == EB_TIME_RESPONSE || (type) == EB_COMMAND || (type) == EB_COMMAND_ACK || (type) == EB_PARAMETER_SET || (type) == EB_PARAMETER_VALUE)

#define EB_CRC_TABLE_16 \
    0x00000000u, 0x105EC76Fu, 0x20BD8EDEu, 0x30E349B1u, 0x417B1DBCu, 0x5125DAD3u, 0x61C69362u, 0x7198540Du, \
    0x82F63B78u, 0x92A8FC17u, 0xA24BB5A6u, 0xB21572C9u, 0xC38D26C4u, 0xD3D3E1ABu, 0xE330A81Au, 0xF36E6F75u
#define EB_CRC_TABLE_256 \
    0x00000000u, 0xF26B8303u, 0xE13B70F7u, 0x1350F3F4u, 0xC79A971Fu, 0x35F1141Cu, 0x26A1E7E8u, 0xD4CA64EBu, \
    0x8AD958CFu, 0x78B2DBCCu, 0x6BE22838u, 0x9989AB3Bu, 0x4D43CFD0u, 0xBF284CD3u, 0xAC78BF27u, 0x5E133C24u, \
    0x105EC76Fu, 0xE235446Cu, 0xF165B798u, 0x030E349Bu, 0xD7C45070u, 0x25AFD373u, 0x36FF2087u, 0xC494A384u, \
    0x9A879FA0u, 0x68EC1CA3u, 0x7BBCEF57u, 0x89D76C54u, 0x5D1D08BFu, 0xAF768BBCu, 0xBC267848u, 0x4E4DFB4Bu, \
    0x20BD8EDEu, 0xD2D60DDDu, 0xC186FE29u, 0x33ED7D2Au, 0xE72719C1u, 0x154C9AC2u, 0x061C6936u, 0xF477EA35u, \
    0xAA64D611u, 0x580F5512u, 0x4B5FA6E6u, 0xB93425E5u, 0x6DFE410Eu, 0x9F95C20Du, 0x8CC531F9u, 0x7EAEB2FAu, \
    0x30E349B1u, 0xC288CAB2u, 0xD1D83946u, 0x23B3BA45u, 0xF779DEAEu, 0x05125DADu, 0x1642AE59u, 0xE4292D5Au, \
    0xBA3A117Eu, 0x4851927Du, 0x5B016189u, 0xA96AE28Au, 0x7DA08661u, 0x8FCB0562u, 0x9C9BF696u, 0x6EF07595u, \
    0x417B1DBCu, 0xB3109EBFu, 0xA0406D4Bu, 0x522BEE48u, 0x86E18AA3u, 0x748A09A0u, 0x67DAFA54u, 0x95B17957u, \
    0xCBA24573u, 0x39C9C670u, 0x2A993584u, 0xD8F2B687u, 0x0C38D26Cu, 0xFE53516Fu, 0xED03A29Bu, 0x1F682198u, \
    0x5125DAD3u, 0xA34E59D0u, 0xB01EAA24u, 0x42752927u, 0x96BF4DCCu, 0x64D4CECFu, 0x77843D3Bu, 0x85EFBE38u, \
    0xDBFC821Cu, 0x2997011Fu, 0x3AC7F2EBu, 0xC8AC71E8u, 0x1C661503u, 0xEE0D9600u, 0xFD5D65F4u, 0x0F36E6F7u, \
    0x61C69362u, 0x93AD1061u, 0x80FDE395u, 0x72966096u, 0xA65C047Du, 0x5437877Eu, 0x4767748Au, 0xB50CF789u, \
    0xEB1FCBADu, 0x197448AEu, 0x0A24BB5Au, 0xF84F3859u, 0x2C855CB2u, 0xDEEEDFB1u, 0xCDBE2C45u, 0x3FD5AF46u, \
    0x7198540Du, 0x83F3D70Eu, 0x90A324FAu, 0x62C8A7F9u, 0xB602C312u, 0x44694011u, 0x5739B3E5u, 0xA55230E6u, \
    0xFB410CC2u, 0x092A8FC1u, 0x1A7A7C35u, 0xE811FF36u, 0x3CDB9BDDu, 0xCEB018DEu, 0xDDE0EB2Au, 0x2F8B6829u, \
    0x82F63B78u, 0x709DB87Bu, 0x63CD4B8Fu, 0x91A6C88Cu, 0x456CAC67u, 0xB7072F64u, 0xA457DC90u, 0x563C5F93u, \
    0x082F63B7u, 0xFA44E0B4u, 0xE9141340u, 0x1B7F9043u, 0xCFB5F4A8u, 0x3DDE77ABu, 0x2E8E845Fu, 0xDCE5075Cu, \
    0x92A8FC17u, 0x60C37F14u, 0x73938CE0u, 0x81F80FE3u, 0x55326B08u, 0xA759E80Bu, 0xB4091BFFu, 0x466298FCu, \
    0x1871A4D8u, 0xEA1A27DBu, 0xF94AD42Fu, 0x0B21572Cu, 0xDFEB33C7u, 0x2D80B0C4u, 0x3ED04330u, 0xCCBBC033u, \
    0xA24BB5A6u, 0x502036A5u, 0x4370C551u, 0xB11B4652u, 0x65D122B9u, 0x97BAA1BAu, 0x84EA524Eu, 0x7681D14Du, \
    0x2892ED69u, 0xDAF96E6Au, 0xC9A99D9Eu, 0x3BC21E9Du, 0xEF087A76u, 0x1D63F975u, 0x0E330A81u, 0xFC588982u, \
    0xB21572C9u, 0x407EF1CAu, 0x532E023Eu, 0xA145813Du, 0x758FE5D6u, 0x87E466D5u, 0x94B49521u, 0x66DF1622u, \
    0x38CC2A06u, 0xCAA7A905u, 0xD9F75AF1u, 0x2B9CD9F2u, 0xFF56BD19u, 0x0D3D3E1Au, 0x1E6DCDEEu, 0xEC064EEDu, \
    0xC38D26C4u, 0x31E6A5C7u, 0x22B65633u, 0xD0DDD530u, 0x0417B1DBu, 0xF67C32D8u, 0xE52CC12Cu, 0x1747422Fu, \
    0x49547E0Bu, 0xBB3FFD08u, 0xA86F0EFCu, 0x5A048DFFu, 0x8ECEE914u, 0x7CA56A17u, 0x6FF599E3u, 0x9D9E1AE0u, \
    0xD3D3E1ABu, 0x21B862A8u, 0x32E8915Cu, 0xC083125Fu, 0x144976B4u, 0xE622F5B7u, 0xF5720643u, 0x07198540u, \
    0x590AB964u, 0xAB613A67u, 0xB831C993u, 0x4A5A4A90u, 0x9E902E7Bu, 0x6CFBAD78u, 0x7FAB5E8Cu, 0x8DC0DD8Fu, \
    0xE330A81Au, 0x115B2B19u, 0x020BD8EDu, 0xF0605BEEu, 0x24AA3F05u, 0xD6C1BC06u, 0xC5914FF2u, 0x37FACCF1u, \
    0x69E9F0D5u, 0x9B8273D6u, 0x88D28022u, 0x7AB90321u, 0xAE7367CAu, 0x5C18E4C9u, 0x4F48173Du, 0xBD23943Eu, \
    0xF36E6F75u, 0x0105EC76u, 0x12551F82u, 0xE03E9C81u, 0x34F4F86Au, 0xC69F7B69u, 0xD5CF889Du, 0x27A40B9Eu, \
    0x79B737BAu, 0x8BDCB4B9u, 0x988C474Du, 0x6AE7C44Eu, 0xBE2DA0A5u, 0x4C4623A6u, 0x5F16D052u, 0xAD7D5351u

static inline uint8_t *eb_put_u8(uint8_t *at, uint8_t value)
{
    at[0] = value;
    return at + 1;
}
static inline uint8_t *eb_put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    return at + 2;
}
static inline uint8_t *eb_put_u32(uint8_t *at, uint32_t value)
{
    return eb_put_u16(eb_put_u16(at, (uint16_t)value), (uint16_t)(value >> 16));
}
static inline uint8_t *eb_put_u64(uint8_t *at, uint64_t value)
{
    return eb_put_u32(eb_put_u32(at, (uint32_t)value), (uint32_t)(value >> 32));
}
static inline uint8_t *eb_put_f32(uint8_t *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return eb_put_u32(at, bits);
}
static inline uint8_t eb_get_u8(const uint8_t *at)
{
    return at[0];
}
static inline uint16_t eb_get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | (uint16_t)((uint16_t)at[1] << 8));
}
static inline uint32_t eb_get_u32(const uint8_t *at)
{
    return eb_get_u16(at) | ((uint32_t)eb_get_u16(at + 2) << 16);
}
static inline uint64_t eb_get_u64(const uint8_t *at)
{
    return eb_get_u32(at) | ((uint64_t)eb_get_u32(at + 4) << 32);
}
static inline float eb_get_f32(const uint8_t *at)
{
    uint32_t bits = eb_get_u32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Who is there? Starts a session: the board forgets the host's frame counter. From: host. */
typedef struct {
    uint64_t session; /* random number of the host's process; numbers its commands, makes the answer fresh */
} eb_hello_request_t;
#define EB_HELLO_REQUEST_BYTES 8u
static inline void eb_unpack_hello_request(eb_hello_request_t *message, const uint8_t *at)
{
    message->session = eb_get_u64(at + 0);
}

/* Schema of the board: streams with rates and units, actuators, parameters. From: board. */
typedef struct {
    uint64_t boot_id; /* another one after every reset, random when commands are signed */
    uint64_t session; /* of the request that this answers, or 0 */
    uint32_t counter; /* newest counter taken from a signed frame of the host in this boot */
    uint16_t max_payload; /* bytes, largest payload the board takes */
    uint16_t firmware; /* version of the firmware, major * 256 + minor */
} eb_hello_t;
#define EB_HELLO_BYTES 24u /* then text to the end */
static inline void eb_pack_hello(uint8_t *at, const eb_hello_t *message)
{
    at = eb_put_u64(at, message->boot_id);
    at = eb_put_u64(at, message->session);
    at = eb_put_u32(at, message->counter);
    at = eb_put_u16(at, message->max_payload);
    at = eb_put_u16(at, message->firmware);
    (void)at;
}

/* I live. A board whose host is silent goes to its safe state by itself. From: both. */
typedef struct {
    uint64_t boot_id; /* the board's; the host repeats it */
    uint32_t received; /* frames that came in, good or bad */
    uint32_t refused; /* of them, not used */
    uint32_t lost; /* frames of the peer that never came, by their counter */
    uint8_t state; /* 0 starting, 1 running, 2 safe, 3 fault */
    uint8_t load; /* percent, or 255 */
} eb_heartbeat_t;
#define EB_HEARTBEAT_BYTES 22u
static inline void eb_pack_heartbeat(uint8_t *at, const eb_heartbeat_t *message)
{
    at = eb_put_u64(at, message->boot_id);
    at = eb_put_u32(at, message->received);
    at = eb_put_u32(at, message->refused);
    at = eb_put_u32(at, message->lost);
    at = eb_put_u8(at, message->state);
    at = eb_put_u8(at, message->load);
    (void)at;
}
static inline void eb_unpack_heartbeat(eb_heartbeat_t *message, const uint8_t *at)
{
    message->boot_id = eb_get_u64(at + 0);
    message->received = eb_get_u32(at + 8);
    message->refused = eb_get_u32(at + 12);
    message->lost = eb_get_u32(at + 16);
    message->state = eb_get_u8(at + 20);
    message->load = eb_get_u8(at + 21);
}

/* What time is it? Deadlines of commands are by the board's clock. From: host. */
typedef struct {
    uint64_t host_us; /* host's clock when this was sent */
} eb_time_request_t;
#define EB_TIME_REQUEST_BYTES 8u
static inline void eb_unpack_time_request(eb_time_request_t *message, const uint8_t *at)
{
    message->host_us = eb_get_u64(at + 0);
}

/* The board's clock, with the time that the answer took. From: board. */
typedef struct {
    uint64_t host_us; /* of the request */
    uint64_t received_us; /* board's clock when the request came */
    uint64_t sent_us; /* board's clock when this was sent */
} eb_time_response_t;
#define EB_TIME_RESPONSE_BYTES 24u
static inline void eb_pack_time_response(uint8_t *at, const eb_time_response_t *message)
{
    at = eb_put_u64(at, message->host_us);
    at = eb_put_u64(at, message->received_us);
    at = eb_put_u64(at, message->sent_us);
    (void)at;
}

/* n samples of C channels. From: board. */
typedef struct {
    uint32_t number; /* counts the blocks of the stream, wraps */
    uint32_t period_ns; /* between two rows */
    uint16_t rows; /* n >= 1 */
    uint8_t channels; /* C >= 1 */
    uint8_t encoding; /* 0: little-endian float32, row by row */
} eb_telemetry_t;
#define EB_TELEMETRY_BYTES 12u /* then bytes to the end */
static inline void eb_pack_telemetry(uint8_t *at, const eb_telemetry_t *message)
{
    at = eb_put_u32(at, message->number);
    at = eb_put_u32(at, message->period_ns);
    at = eb_put_u16(at, message->rows);
    at = eb_put_u8(at, message->channels);
    at = eb_put_u8(at, message->encoding);
    (void)at;
}

/* Part of a scan. Chunks may come in any order; a scan with a missing one is dropped when a newer scan starts. From: board. */
typedef struct {
    uint32_t number; /* counts the scans of the stream, wraps */
    uint32_t points; /* of the whole scan */
    uint32_t first; /* index of the first point in this chunk */
    uint8_t columns; /* values a point */
    uint8_t encoding; /* 0: little-endian float32, point by point */
} eb_scan_chunk_t;
#define EB_SCAN_CHUNK_BYTES 14u /* then bytes to the end */
static inline void eb_pack_scan_chunk(uint8_t *at, const eb_scan_chunk_t *message)
{
    at = eb_put_u32(at, message->number);
    at = eb_put_u32(at, message->points);
    at = eb_put_u32(at, message->first);
    at = eb_put_u8(at, message->columns);
    at = eb_put_u8(at, message->encoding);
    (void)at;
}

/* Set an actuator, until the deadline. From: host. */
typedef struct {
    uint64_t deadline_us; /* board's clock; never obeyed after it */
    uint32_t boot; /* low 32 bits of the board's boot id: no command outlives a reset */
    uint32_t session; /* low 32 bits of the host's session */
    uint32_t number; /* counts the commands of the session; a repeated one is acknowledged again, not obeyed again */
    float value; /* in the actuator's unit */
    uint16_t actuator; /* which */
    uint16_t mode; /* 0 */
} eb_command_t;
#define EB_COMMAND_BYTES 28u
static inline void eb_unpack_command(eb_command_t *message, const uint8_t *at)
{
    message->deadline_us = eb_get_u64(at + 0);
    message->boot = eb_get_u32(at + 8);
    message->session = eb_get_u32(at + 12);
    message->number = eb_get_u32(at + 16);
    message->value = eb_get_f32(at + 20);
    message->actuator = eb_get_u16(at + 24);
    message->mode = eb_get_u16(at + 26);
}

/* What became of a command. From: board. */
typedef struct {
    uint32_t session; /* of the command */
    uint32_t number; /* of the command */
    uint32_t left_us; /* time that was left when it came */
    float value; /* what was set */
    uint16_t actuator; /* which */
    uint8_t status; /* see the table of statuses */
    uint8_t repeats; /* times that this command came again */
} eb_command_ack_t;
#define EB_COMMAND_ACK_BYTES 20u
static inline void eb_pack_command_ack(uint8_t *at, const eb_command_ack_t *message)
{
    at = eb_put_u32(at, message->session);
    at = eb_put_u32(at, message->number);
    at = eb_put_u32(at, message->left_us);
    at = eb_put_f32(at, message->value);
    at = eb_put_u16(at, message->actuator);
    at = eb_put_u8(at, message->status);
    at = eb_put_u8(at, message->repeats);
    (void)at;
}

/* Read a parameter. From: host. */
typedef struct {
    uint16_t request; /* comes back in the answer */
    uint16_t parameter; /* which */
} eb_parameter_get_t;
#define EB_PARAMETER_GET_BYTES 4u
static inline void eb_unpack_parameter_get(eb_parameter_get_t *message, const uint8_t *at)
{
    message->request = eb_get_u16(at + 0);
    message->parameter = eb_get_u16(at + 2);
}

/* Write a parameter. From: host. */
typedef struct {
    uint16_t request; /* comes back in the answer */
    uint16_t parameter; /* which */
    float value; /* new value */
} eb_parameter_set_t;
#define EB_PARAMETER_SET_BYTES 8u
static inline void eb_unpack_parameter_set(eb_parameter_set_t *message, const uint8_t *at)
{
    message->request = eb_get_u16(at + 0);
    message->parameter = eb_get_u16(at + 2);
    message->value = eb_get_f32(at + 4);
}

/* Answer to both. From: board. */
typedef struct {
    uint16_t request; /* of the request */
    uint16_t parameter; /* which */
    float value; /* now in force */
    uint8_t status; /* as in command_ack */
} eb_parameter_value_t;
#define EB_PARAMETER_VALUE_BYTES 9u
static inline void eb_pack_parameter_value(uint8_t *at, const eb_parameter_value_t *message)
{
    at = eb_put_u16(at, message->request);
    at = eb_put_u16(at, message->parameter);
    at = eb_put_f32(at, message->value);
    at = eb_put_u8(at, message->status);
    (void)at;
}

/* A line of the board's log. From: board. */
typedef struct {
    uint8_t level; /* 0 debug, 1 info, 2 warning, 3 error */
} eb_log_t;
#define EB_LOG_BYTES 1u /* then text to the end */
static inline void eb_pack_log(uint8_t *at, const eb_log_t *message)
{
    at = eb_put_u8(at, message->level);
    (void)at;
}

/* Something is wrong on the board. From: board. */
typedef struct {
    uint32_t count; /* times since boot */
    uint16_t code; /* the board's own number */
    uint8_t severity; /* 0 info, 1 warning, 2 critical */
} eb_fault_t;
#define EB_FAULT_BYTES 7u /* then text to the end */
static inline void eb_pack_fault(uint8_t *at, const eb_fault_t *message)
{
    at = eb_put_u32(at, message->count);
    at = eb_put_u16(at, message->code);
    at = eb_put_u8(at, message->severity);
    (void)at;
}

#endif
