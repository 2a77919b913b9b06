/* Handlers of hooks and timers: shared by hooks.c (running them) and events.c (what happens
 * in the node). Nobody else includes it. */
#ifndef USHER_SCRIPT_HOOKS_IMPL_H
#define USHER_SCRIPT_HOOKS_IMPL_H

#include "base/log.h"
#include "script/script_impl.h"

struct payload {
    unsigned refs;
    uint64_t index; /* commits: of the entry */
    size_t len;
    char text[];
};

struct item {
    struct item *next;
    struct payload *payload;
    uint64_t missed; /* left out before it */
};

struct handler {
    struct handler *next;
    struct vm *vm;
    char name[16];   /* "commit"; timers: "every" */
    char where[160]; /* file:line that made it */
    int fn;          /* registry reference */
    bool leader_only;
    uint64_t period_ms; /* timers only */
    struct env_timer *timer;
    struct task *task; /* NULL until there is something to do */
    struct item *first, *last, *working;
    size_t queued, queued_bytes;
    uint64_t calls, errors, missed, missed_now, skipped;
    struct log_limit loud;
    char last_error[ERROR_MESSAGE_BYTES];
};

struct payload *payload_new(struct span text, uint64_t index);
void hook_payload_unref(struct payload *p);
void handler_give(struct handler *h, struct payload *p);
bool handler_idle(const struct handler *h);
bool hooks_leading(const struct scripts *s);

#endif
