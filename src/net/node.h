/* A whole node: loop, env, store, policy, scripts, service, cluster, listener, wired
 * together. Used by `usher node` and by the C API (net/embed.c). */
#ifndef USHER_NET_NODE_H
#define USHER_NET_NODE_H

#include "base/error.h"
#include "script/config.h"
#include "script/script.h"
#include "service/service.h"

struct node;

struct node_options {
    const struct config *config; /* stays valid until node_run returns */
    const char *address;         /* one of config->nodes */
    const char *dir;             /* data directory */
    const char *version;
    bool found;
    bool embedded;                /* in another program: takes no signals, raises no limits */
    const struct script_tap *tap; /* hears the hooks; NULL: nobody */
};

/* Binds the address, opens the data directory, restores the state. Errors say what to do;
 * nothing has been changed then. */
int node_start(const struct node_options *o, struct node **out, struct error *e);
/* Serves until SIGINT or SIGTERM (0) or until the node cannot go on (the error); frees the
 * node. On SIGTERM leadership is handed over and what is in flight is finished first. */
int node_run(struct node *n, struct error *e);

/* The same in pieces, for a program with its own loop or thread. All on the loop's thread. */
struct uv_loop_s *node_loop(struct node *n);
struct service *node_service(struct node *n);
void node_stop(struct node *n);        /* as SIGTERM; once it has happened nothing more */
bool node_ended(const struct node *n); /* run the loop until then */
int node_finish(struct node *n, struct error *e); /* after it: frees; why it ended by itself */

#endif
