/* Worlds whose members change: who asks, how long, and what the voters are afterwards. */
#ifndef USHER_TESTS_UNIT_CLUSTER_MEMBER_FIXTURE_H
#define USHER_TESTS_UNIT_CLUSTER_MEMBER_FIXTURE_H

#include "unit/cluster/world.h"

#include "cluster/internal.h"

/* The first `members` nodes know of each other only; the rest know all of them. */
static struct world *house(uint64_t seed, unsigned members, unsigned all)
{
    struct world *w = world_new(seed, all);
    for (unsigned i = 0; i < all; i++) {
        w->nodes[i].outside = i >= members;
        if (i < members) {
            w->nodes[i].list[members] = NULL;
        }
    }
    for (unsigned i = 0; i < members; i++) {
        node_start(&w->nodes[i]);
    }
    world_propose(w, 3);
    return w;
}

struct asking {
    struct node *by;
    struct cluster_change change;
    struct cluster_change_state st;
    uint64_t polled_ms;
    int seen; /* bits of the stages seen */
};

static uint64_t next_id = 1;

static struct asking want(struct node *by, int kind, const char *address, const char *other)
{
    return (struct asking){ .by = by,
                            .change = { .id = next_id++,
                                        .kind = kind,
                                        .address = address,
                                        .other = other,
                                        .timeout_ms = kind == CHANGE_REMOVE ? 15000 : 60000 } };
}

static bool poll_done(void *arg)
{
    struct asking *a = arg;
    uint64_t now = sim_now(a->by->w->sim);
    if (a->st.stage == STAGE_DONE || (a->polled_ms != 0 && now - a->polled_ms < 100)) {
        return a->st.stage == STAGE_DONE;
    }
    a->polled_ms = now;
    if (a->by->running) {
        cluster_change_poll(a->by->c, &a->change, &a->st);
        a->seen |= 1 << a->st.stage;
    }
    return a->st.stage == STAGE_DONE;
}

/* Asks until it is over; no answer within its time is a failure. */
static int finish(struct asking *a)
{
    if (!sim_run_until(a->by->w->sim, a->change.timeout_ms + 15000, poll_done, a)) {
        fail_msg("%s of %s hangs in stage %s: %s", a->by->address, a->change.address,
                 change_stage_name(a->st.stage), a->st.text);
    }
    return a->st.code;
}

static int change(struct node *by, int kind, const char *address, const char *other)
{
    struct asking a = want(by, kind, address, other);
    int code = finish(&a);
    if (getenv("WORLD_LOG") != NULL) {
        print_message("-> %d %s; %s\n", code, a.st.text, a.st.hint);
    }
    return code;
}

static unsigned voters(struct world *w)
{
    struct cluster_status s = node_status(world_wait_leader(w));
    unsigned n = 0;
    for (size_t i = 0; i < s.members_count; i++) {
        n += s.members[i].voter;
    }
    assert_int_equal(n, s.members_count); /* no learner is left behind */
    return n;
}

static struct node *follower(struct world *w)
{
    struct node *l = world_wait_leader(w);
    for (unsigned i = 0; i < w->count; i++) {
        if (&w->nodes[i] != l && w->nodes[i].running && !w->nodes[i].outside) {
            return &w->nodes[i];
        }
    }
    return NULL;
}

#endif
