/* See address.h. */
#include "base/address.h"

#include <string.h>
#include <strings.h>

unsigned address_split(const char *address, char *host, size_t cap, char port[ADDRESS_PORT_BYTES])
{
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    size_t digits = colon != NULL ? strlen(colon + 1) : 0;
    if (len == 0 || digits == 0 || digits >= ADDRESS_PORT_BYTES) {
        return 0;
    }
    unsigned value = 0;
    for (const char *p = colon + 1; *p != 0; p++) {
        if (*p < '0' || *p > '9') {
            return 0;
        }
        value = value * 10 + (unsigned)(*p - '0');
    }
    if (address[0] == '[') {
        if (len < 3 || address[len - 1] != ']') {
            return 0;
        }
        address++;
        len -= 2;
    }
    if (value > 65535 || len >= cap) {
        return 0;
    }
    memcpy(host, address, len);
    host[len] = 0;
    memcpy(port, colon + 1, digits + 1);
    return value;
}

const char *address_fallback(const char *host)
{
    return strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : NULL;
}
