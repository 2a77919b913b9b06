/* The service: one place that every surface hands its requests to.
 *
 * It parses them with the registry, decides where they run (here, or forwarded to the
 * leader over the peer link), batches transactions into entries (DESIGN 2.1), holds
 * answers until their entry has committed, remembers results, serves reads, and tells
 * watchers about committed changes. No uv, no sockets: runs in the simulator. */
#ifndef USHER_SERVICE_SERVICE_H
#define USHER_SERVICE_SERVICE_H

#include "base/env.h"
#include "base/error.h"
#include "cluster/cluster.h"
#include "policy/command.h"
#include "policy/policy.h"
#include "policy/request.h"

struct service;
/* Node commands (kind "node") are run by the script module through this hook; it must
 * call the request's answer function exactly once, later or at once. */
typedef void (*service_node_cb)(void *arg, struct request *r, const struct call *call);

struct service_options {
    struct env *env;
    struct cluster *cluster; /* may be set later with service_attach */
    struct policy *policy;
    struct registry *registry;
    service_node_cb node_command;
    void *arg;
    struct span first_policy; /* bundle for a new cluster, may be empty */
};

int service_new(const struct service_options *o, struct service **out, struct error *e);
void service_free(struct service *s); /* cancels what waits */
void service_attach(struct service *s, struct cluster *c);
/* The cluster's events; main wires cluster_options.on to these. */
void service_cluster_events(struct cluster_events *on);

void service_submit(struct service *s, struct request *r);
/* The client went away: cb is not called any more; a proposal already in the log stays. */
void service_cancel(struct service *s, struct request *r);
/* Answer of a node command. */
void service_answer(struct service *s, struct request *r, int code, const struct error *e,
                    struct span json);

/* Committed seat changes of one event, in index order: JSON text as DESIGN 4.4. */
struct watch;
typedef void (*watch_cb)(void *arg, struct span event, uint64_t index, struct span json);
struct watch *service_watch(struct service *s, struct span event /* empty: all */, watch_cb cb,
                            void *arg);
void service_unwatch(struct watch *w);

struct service_counters {
    uint64_t requests, granted, refused, forwarded, batches, batched_requests, reads_local,
        reads_linearizable, queue, duplicates;
};
void service_counters(const struct service *s, struct service_counters *out);
struct cluster *service_cluster(struct service *s);
struct registry *service_registry(struct service *s);

#endif
