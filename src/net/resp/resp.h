/* The RESP server: connections that speak RESP2 or RESP3 (design.md 4.4, docs/protocol.md). */
#ifndef USHER_NET_RESP_RESP_H
#define USHER_NET_RESP_RESP_H

#include <uv.h>

#include "net/access.h"
#include "script/script.h"
#include "service/service.h"

struct resp;

struct resp_options {
    uv_loop_t *loop;
    struct env *env; /* env_uv of the same loop */
    struct service *service;
    struct scripts *scripts; /* NULL: no console sessions */
    struct access *access;   /* NULL: everybody is admin */
    size_t untaken_max;      /* bytes that wait for all clients; 0: OUT_BYTES_ALL_MAX */
};
int resp_new(const struct resp_options *o, struct resp **out, struct error *e);
/* Takes a connected stream socket; on error it is still the caller's. */
int resp_accept(struct resp *r, int fd, struct error *e);
size_t resp_connections(const struct resp *r);
/* No more requests are read; what was read is answered, then connections end. cb, maybe from
 * inside, when none is left: resp_close() may come before. */
void resp_drain(struct resp *r, void (*cb)(void *arg), void *arg);
/* Ends every connection, frees, then cb. */
void resp_close(struct resp *r, void (*cb)(void *arg), void *arg);

#endif
