/* See sniff.h. RESP is everything that is nothing else: a wrong guess gets a RESP error. */
#include "net/sniff.h"

#include <string.h>

#include "raftio/transport.h"

/* HTTP requests begin with one of these; `GET KEY` is also a command of ours, but keys
 * never begin with a slash. */
static const char *const http[] = { "GET /",   "POST /",   "PUT /",   "HEAD /",
                                    "PATCH /", "OPTIONS ", "DELETE /" };

enum sniff sniff(const void *bytes, size_t len, size_t *need)
{
    const char *p = bytes;
    if (len == 0) {
        *need = 1;
        return SNIFF_MORE;
    }
    size_t n = len < TRANSPORT_MAGIC_BYTES ? len : TRANSPORT_MAGIC_BYTES;
    if (memcmp(p, TRANSPORT_MAGIC, n) == 0) {
        *need = TRANSPORT_MAGIC_BYTES;
        return n == TRANSPORT_MAGIC_BYTES ? SNIFF_PEER : SNIFF_MORE;
    }
    if (p[0] == 0x16) { /* a TLS handshake record */
        return SNIFF_TLS;
    }
    for (size_t i = 0; i < sizeof http / sizeof http[0]; i++) {
        size_t full = strlen(http[i]);
        n = len < full ? len : full;
        if (memcmp(p, http[i], n) == 0) {
            *need = full;
            return n == full ? SNIFF_HTTP : SNIFF_MORE;
        }
    }
    return SNIFF_RESP;
}
