/* A whole node: loop, env, store, policy, scripts, service, cluster, listener, wired
 * together. Used by `usher node`; one per process. */
#ifndef USHER_NET_NODE_H
#define USHER_NET_NODE_H

#include "base/error.h"
#include "script/config.h"

struct node;

struct node_options {
    const struct config *config; /* stays valid until node_run returns */
    const char *address;         /* one of config->nodes */
    const char *dir;             /* data directory */
    const char *version;
    bool found;
};

/* Binds the address, opens the data directory, restores the state. Errors say what to do;
 * nothing has been changed then. */
int node_start(const struct node_options *o, struct node **out, struct error *e);
/* Serves until SIGINT or SIGTERM (0) or until the node cannot go on (the error); frees the
 * node. On SIGTERM leadership is handed over and what is in flight is finished first. */
int node_run(struct node *n, struct error *e);

#endif
