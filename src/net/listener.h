/* The one address of a node: accepts, peeks at the first bytes with a deadline, decides
 * once who speaks, and hands the connection over: TRANSPORT_MAGIC -> peer link, a RESP
 * type byte or a word -> RESP, "GET "/"POST " -> HTTP (planned, not built: a clear
 * answer until then). */
#ifndef USHER_NET_LISTENER_H
#define USHER_NET_LISTENER_H

#include <uv.h>

#include "base/error.h"
#include "script/script.h"
#include "service/service.h"

struct access;
struct listener;

struct listener_options {
    uv_loop_t *loop;
    struct env *env;     /* env_uv of the same loop */
    const char *address; /* "localhost:6000" */
    bool loopback_only;  /* no users and no secret in the profile */
    struct service *service;
    struct scripts *scripts;
    struct cluster *cluster; /* peer connections; may be set later */
    struct access *access;   /* users of the profile (net/access.h), NULL: everybody is admin */
};
/* Binds and listens at once, on every address of the host's name (localhost: both families):
 * ERR_CONFLICT when the port is in use, ERR_BADARG for an address that cannot be used. */
int listener_start(const struct listener_options *o, struct listener **out, struct error *e);
void listener_set_cluster(struct listener *l, struct cluster *c);
/* Accepts nobody any more; the connections that are there go on. */
void listener_refuse(struct listener *l);
/* What was read is answered, nothing more is read; cb, maybe from inside, when no client's
 * connection is left. listener_close() may come before: then cb does not. */
void listener_drain(struct listener *l, void (*cb)(void *arg), void *arg);
/* Ends every connection (requests are canceled), then cb. */
void listener_close(struct listener *l, void (*cb)(void *arg), void *arg);

#endif
