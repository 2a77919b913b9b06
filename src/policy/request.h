/* A request as every surface hands it in: tokens, user, deadline, callback.
 *
 * Made by net (RESP), script (usher.call) and the simulator; carried out by service.
 * It stands here so that scripts can make requests without knowing the service, which
 * stands below them in the module order. */
#ifndef USHER_POLICY_REQUEST_H
#define USHER_POLICY_REQUEST_H

#include "policy/policy.h"

struct request;

/* Exactly once per request, on the loop, maybe from inside the submit. code 0: json is
 * the answer; else e (and `fields`, extra JSON members of the error). */
typedef void (*request_cb)(struct request *r, int code, const struct error *e, struct span fields,
                           struct span json);

/* Owned by the surface, alive until cb. Fill the first part; impl is the service's. */
struct request {
    const struct span *argv; /* must stay valid until cb */
    size_t argc;
    struct policy_user user;
    uint64_t deadline_ms; /* mono time; 0: 30 s from now */
    request_cb cb;
    void *arg;
    uint64_t client; /* connection or task id, for monitor and cancel */
    /* Of the session it belongs to: newest log index that an answer named; valid until cb, kept up
     * by the service. A local read of the session is not older. NULL: any age will do. */
    uint64_t *seen_index;
    /* What a node command prints while it runs: "out", "progress", "live", "change",
     * "columns". NULL: nobody listens, and what never ends by itself is refused. With it a
     * node command has no deadline. room(): false while its reader is slow. */
    void (*output)(struct request *r, const char *kind, struct span text);
    bool (*room)(struct request *r);
    void *impl;
};

/* What a node script can follow as it happens. */
enum feed_kind {
    FEED_CHANGES,  /* committed seat changes of one event, or of all: JSON as design.md 4.4 */
    FEED_REQUESTS, /* requests that arrive at this node */
    FEED_COMMITS   /* entries, as they commit: index only */
};
/* On the loop; json is valid during the call. index 0: what was between is not known (a
 * snapshot replaced the state): begin anew. */
typedef void (*feed_cb)(void *arg, uint64_t index, struct span json);

/* Refusals recorded by the nodes (policy/refusals.h), valid during the call; `missing`: so many
 * nodes did not answer. */
typedef void (*request_refusals_cb)(void *arg, struct span records, unsigned missing);

/* How scripts reach the service. */
struct request_sink {
    void (*submit)(void *arg, struct request *r);
    void (*cancel)(void *arg, struct request *r); /* cb is not called any more */
    /* Answers a node command (kind "node") that the service handed to the scripts. */
    void (*answer)(void *arg, struct request *r, int code, const struct error *e, struct span json);
    /* Output of a node command on its way, and whether its reader takes more (then true). */
    bool (*output)(void *arg, struct request *r, const char *kind, struct span text);
    bool (*listens)(void *arg, struct request *r); /* somebody takes its output */
    /* A live feed; NULL: out of memory, or the event's id is too long. May be NULL. */
    struct watch *(*feed)(void *arg, int kind, struct span event, feed_cb cb, void *cb_arg);
    void (*unfeed)(void *arg, struct watch *w); /* also from inside its callback */
    /* Gathers the refusals of all nodes; cb once, on the loop. May be NULL. */
    void (*refusals)(void *arg, request_refusals_cb cb, void *cb_arg);
    void *arg;
};

#endif
