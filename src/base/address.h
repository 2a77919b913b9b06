/* "host:port" and "[v6]:port": the one reader of addresses in C.
 *
 * `localhost` always means this machine (RFC 6761, 6.3), also where no resolver knows it: a
 * minimal container or chroot has no /etc/hosts. Whoever looks a name up asks for it as it is,
 * and when that fails for what address_fallback() says. */
#ifndef USHER_BASE_ADDRESS_H
#define USHER_BASE_ADDRESS_H

#include <stddef.h>

#define ADDRESS_PORT_BYTES 6 /* with its NUL */

/* Copies both parts, NUL-terminated, the brackets of a v6 host left away. Returns the port,
 * 1 to 65535, or 0: this is no address, or its host does not fit. */
unsigned address_split(const char *address, char *host, size_t cap, char port[ADDRESS_PORT_BYTES]);
/* A numeric host to try when `host` was not found, or NULL. */
const char *address_fallback(const char *host);

#endif
