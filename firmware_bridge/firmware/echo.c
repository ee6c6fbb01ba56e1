/* Sends back what comes, frame by frame (a frame ends with a zero byte): what the line alone costs, to set beside the firmware. */
#include "board.h"

static void tick(void)
{
}

int main(void)
{
    static uint8_t bytes[1024];
    size_t n = 0;
    (void)board_start();
    board_tick(tick);
    for (;;) {
        while (n < sizeof bytes && board_read(PORT_HOST, bytes + n, 1) == 1) {
            n++;
            if (bytes[n - 1] == 0) {
                (void)board_write(PORT_HOST, bytes, n);
                n = 0;
            }
        }
        n = n == sizeof bytes ? 0 : n;
        board_push();
        board_feed();
        board_sleep();
    }
}
