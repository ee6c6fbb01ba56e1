/* The floor: what a round trip costs when nothing is computed. Sends every payload back as it came.
 *
 * It drives libmosquitto through its external-loop calls, because mosquitto_loop_forever, which queues an answer and wakes itself
 * through a socket pair before it sends it, is slower and would make a higher floor (70 us against 100 us at 5,000/s).
 *
 * usage: echo PORT TOPIC_IN TOPIC_OUT
 */
#include <mosquitto.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MISC_MS 1000

static const char *topic_in, *topic_out;
static uint64_t answered;

static void on_connect(struct mosquitto *client, void *context, int code)
{
    (void)context;
    if (code == 0) {
        mosquitto_subscribe(client, NULL, topic_in, 0);
    }
}

static void on_message(struct mosquitto *client, void *context, const struct mosquitto_message *message)
{
    (void)context;
    answered++;
    mosquitto_publish(client, NULL, topic_out, message->payloadlen, message->payload, 0, false);
}

/* Wait for the socket, then read and answer until it is empty. */
static int serve(struct mosquitto *client)
{
    struct pollfd fd = {.fd = mosquitto_socket(client), .events = POLLIN};
    if (mosquitto_want_write(client)) {
        fd.events |= POLLOUT;
    }
    if (poll(&fd, 1, MISC_MS) == 0) {
        return mosquitto_loop_misc(client);
    }
    uint64_t before;
    int code;
    do { /* one call reads one message */
        before = answered;
        code = mosquitto_loop_read(client, 1);
        if (code == MOSQ_ERR_SUCCESS && mosquitto_want_write(client)) {
            code = mosquitto_loop_write(client, 1);
        }
    } while (code == MOSQ_ERR_SUCCESS && answered != before);
    return code;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: echo PORT TOPIC_IN TOPIC_OUT\n");
        return 2;
    }
    topic_in = argv[2];
    topic_out = argv[3];
    mosquitto_lib_init();
    struct mosquitto *client = mosquitto_new(NULL, true, NULL);
    mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_message_callback_set(client, on_message);
    int code = mosquitto_connect(client, "127.0.0.1", atoi(argv[1]), 600);
    while (code == MOSQ_ERR_SUCCESS) {
        code = serve(client);
    }
    fprintf(stderr, "echo: %s\n", mosquitto_strerror(code));
    return 1;
}
