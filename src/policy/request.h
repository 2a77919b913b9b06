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
    void *impl;
};

/* How scripts reach the service. */
struct request_sink {
    void (*submit)(void *arg, struct request *r);
    void (*cancel)(void *arg, struct request *r); /* cb is not called any more */
    /* Answers a node command (kind "node") that the service handed to the scripts. */
    void (*answer)(void *arg, struct request *r, int code, const struct error *e, struct span json);
    void *arg;
};

#endif
