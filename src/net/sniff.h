/* Who speaks, from the first bytes of a connection (peeked, not consumed). */
#ifndef USHER_NET_SNIFF_H
#define USHER_NET_SNIFF_H

#include <stddef.h>

enum sniff { SNIFF_PEER, SNIFF_RESP, SNIFF_HTTP, SNIFF_TLS, SNIFF_MORE };

/* MORE sets *need to the number of bytes (over len) that could decide. */
enum sniff sniff(const void *bytes, size_t len, size_t *need);
#define SNIFF_BYTES_MAX 10

#endif
