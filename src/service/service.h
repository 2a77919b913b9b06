/* The service: one place that every surface hands its requests to.
 *
 * It parses them with the registry, decides where they run (here, or forwarded to the
 * leader over the peer link), batches transactions into entries (design.md 2.1), holds
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
    service_node_cb node_command; /* NULL: node commands are refused */
    /* The client of a node command went away (may be NULL): it should end soon. The request
     * given to node_command is the service's own copy: it and its call stay valid until
     * service_answer, which must still come. */
    void (*node_cancel)(void *arg, struct request *r);
    void *arg;
    struct span first_policy;      /* bundle for a new cluster, may be empty; copied */
    const char *first_policy_path; /* where it was read, for messages; copied, may be NULL */
    const char *dir; /* of the node: refusals are recorded there; NULL: they are not */
};

/* Made before the cluster (whose events it receives) and freed after the listener, the
 * cluster and the scripts are gone: by then every read and wait given to the cluster has
 * come back, and no node command will answer any more. */
int service_new(const struct service_options *o, struct service **out, struct error *e);
/* The cluster is gone: nothing more begins by itself. Jobs on workers may still come back. */
void service_detach(struct service *s);
void service_free(struct service *s); /* answers UNKNOWN or NOTREADY to what still waits */
/* Before the loop runs; also where the store's policy is loaded. */
void service_attach(struct service *s, struct cluster *c);
/* The cluster's events; main wires cluster_options.on to these, with the service as arg. */
void service_cluster_events(struct cluster_events *on);

/* What main and the script hooks want to know. Any member may be NULL. */
struct service_events {
    void (*role)(void *arg, int role, const char *leader, uint64_t term);
    /* As cluster_events.committed: inside, store_changes() works when entry is not empty. */
    void (*committed)(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine);
    void (*restored)(void *arg, struct store *store);
    void (*member)(void *arg, const struct cluster_member_change *m);
    void (*policy)(void *arg, uint32_t version); /* another policy is active on this node */
    void (*fatal)(void *arg, const struct error *e, bool stop_process);
};
/* At most SERVICE_LISTENERS_MAX; `on` must outlive the service. */
void service_listen(struct service *s, const struct service_events *on, void *arg);
/* The service as scripts see it. */
void service_sink(struct service *s, struct request_sink *out);

void service_submit(struct service *s, struct request *r);
/* The client went away: cb is not called any more; a proposal already in the log stays. */
void service_cancel(struct service *s, struct request *r);
/* Answer of a node command. */
void service_answer(struct service *s, struct request *r, int code, const struct error *e,
                    struct span json);

/* Committed seat changes of one event, in index order: JSON text as design.md 4.4. Index 0 and
 * no text: a snapshot replaced the state, changes were missed; read `seats` anew. */
struct watch;
typedef void (*watch_cb)(void *arg, struct span event, uint64_t index, struct span json);
struct watch *service_watch(struct service *s, struct span event /* empty: all */, watch_cb cb,
                            void *arg);
void service_unwatch(struct watch *w);

struct service_counters {
    uint64_t requests, granted, refused, forwarded, batches, batched_requests, reads_local,
        reads_linearizable, queue /* waiting now */, duplicates, expired, unknown;
};
/* Fills in policy_state and policy_place. */
void service_vitals(const struct service *s, struct cluster_vitals *v);
void service_counters(const struct service *s, struct service_counters *out);
struct cluster *service_cluster(struct service *s);
struct registry *service_registry(struct service *s);

#endif
