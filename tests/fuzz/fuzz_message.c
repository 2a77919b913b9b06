/* Any bytes into the decoder of raft messages: no crash, no leak, and what it accepts
 * encodes back to the same bytes. */
#include <string.h>

#include "base/assert.h"
#include "cluster/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_message m, rest;
    struct error e;
    if (message_decode(data, size, &m, &e) != 0) {
        return 0;
    }
    struct buf b = BUF_INIT;
    int rv = message_encode(&m, &b);
    ASSERT(rv == 0 && b.len == size && memcmp(b.data, data, size) == 0);
    buf_free(&b);
    int status;
    while (message_split(&m, &rest, &status)) {
        message_release(&m);
        m = rest;
    }
    message_release(&m);
    return 0;
}
