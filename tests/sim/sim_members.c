/* See sim_members.h. Who belongs to the cluster is read off its leader: a change whose end
 * nobody saw may have happened or not. */
#include "sim_members.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cluster/internal.h"

#define POLL_MS        100
#define VOTERS_MAX     7
#define FILE_NAMES_MAX 64

/* ---- An emptied disk ---------------------------------------------------------------------------
 */

struct names {
    char name[FILE_NAMES_MAX][64];
    unsigned count;
};

static void on_name(void *arg, const char *name)
{
    struct names *n = arg;
    if (n->count < FILE_NAMES_MAX) {
        (void)snprintf(n->name[n->count++], sizeof n->name[0], "%s", name);
    }
}

/* A new machine at the old address: nothing on its disk, nothing wrong with it. */
static void wipe(struct sim_node *n)
{
    char dir[16], path[128];
    struct error e = { 0 };
    struct sim_disk_rates none = { 0 };
    struct names *names = mem_zalloc(sizeof *names);
    ASSERT(names != NULL);
    world_crash(n, SIM_KILL);
    n->rotten = n->full = n->unwell = false;
    sim_points_off(n->w->sim, true);
    n->env = sim_env(n->w->sim, n->address);
    sim_set_disk_rates(n->env, &none);
    sim_set_disk_bytes(n->env, UINT64_C(1) << 40);
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    if (n->env->ops->list_dir(n->env, dir, on_name, names, &e) == 0) {
        for (unsigned i = 0; i < names->count; i++) {
            (void)snprintf(path, sizeof path, "%s/%s", dir, names->name[i]);
            (void)n->env->ops->remove(n->env, path, &e);
        }
        (void)n->env->ops->sync_dir(n->env, dir, &e);
    }
    mem_free(names);
    sim_crash(n->env, SIM_KILL);
    sim_points_off(n->w->sim, false);
    /* Its profile names the whole cluster: an empty node must not found one of its own. */
    for (unsigned i = 0; i < n->w->count; i++) {
        n->list[i] = n->w->nodes[i].address;
    }
}

/* ---- Asking
 * --------------------------------------------------------------------------------------- */

static void ask(struct members *m, int kind, const char *address, const char *other)
{
    m->asking = true;
    m->asked_ms = sim_now(m->w->sim);
    m->polled_ms = 0;
    m->state = (struct cluster_change_state){ 0 };
    m->change = (struct cluster_change){ .id = m->w->seed * 1000 + ++m->next_id,
                                         .kind = kind,
                                         .address = address,
                                         .other = other,
                                         .timeout_ms = kind == CHANGE_REMOVE ? 15000 : 60000 };
    sim_count(m->w->sim, SIM_N_MEMBER);
    if (m->w->verbose) {
        (void)fprintf(stderr, "%8llu member change %d %s %s\n", (unsigned long long)m->asked_ms,
                      kind, address, other);
    }
}

static bool is_member(const struct cluster_status *s, const char *address)
{
    for (size_t i = 0; i < s->members_count; i++) {
        if (strcmp(s->members[i].address, address) == 0) {
            return true;
        }
    }
    return false;
}

static struct sim_node *random_of(struct sim_world *w, const struct cluster_status *s, bool member)
{
    struct sim_node *chosen = NULL;
    uint64_t seen = 0;
    for (unsigned i = 0; i < w->count; i++) {
        if (is_member(s, w->nodes[i].address) == member && sim_rand(w->sim, ++seen) == 0) {
            chosen = &w->nodes[i];
        }
    }
    return chosen;
}

/* Nobody asks a machine that has just been set up, or one that was told to leave. */
static bool serves(struct sim_node *n)
{
    struct cluster_status s;
    cluster_status(n->cluster, &s);
    return s.role == ROLE_LEADER || s.role == ROLE_FOLLOWER || s.role == ROLE_CANDIDATE;
}

/* While a member's disk is empty nothing else is changed, and no other disk is emptied. */
static bool ask_for_emptied(struct members *m)
{
    const struct sim_node *l = world_leader(m->w);
    struct cluster_status s;
    for (unsigned i = 0; i < m->w->count && l != NULL; i++) {
        struct sim_node *n = &m->w->nodes[i];
        cluster_status(l->cluster, &s);
        /* An earlier asking may have done it, unseen: then it has a cluster again. */
        bool joined = n->running && !n->fatal && !sim_is_ghost(n->env) && serves(n);
        if (n->emptied && !joined && is_member(&s, n->address)) {
            ask(m, CHANGE_REPLACE, n->address, n->address);
            return true;
        }
        n->emptied = false;
    }
    return false;
}

static unsigned voters_of(const struct cluster_status *s)
{
    unsigned n = 0;
    for (size_t i = 0; i < s->members_count; i++) {
        n += s->members[i].voter;
    }
    return n;
}

/* An operator who empties a disk must know who is a member. While a change is under way, even
 * when its asker has given up, the leader may show what is not committed. */
static bool is_settled(const struct sim_node *leader)
{
    struct member_op op;
    member_load(leader->cluster, &op);
    return op.step == MEMBER_IDLE;
}

/* One that is a member for nobody. */
static bool is_stranger(struct sim_world *w, const struct sim_node *n)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct sim_node *other = &w->nodes[i];
        struct cluster_status s;
        if (other->running && !sim_is_ghost(other->env)) {
            cluster_status(other->cluster, &s);
            if (is_member(&s, n->address)) {
                return false;
            }
        }
    }
    return true;
}

bool members_ask_add(struct members *m)
{
    const struct sim_node *l = world_leader(m->w);
    struct cluster_status s;
    if (m->asking || l == NULL || !is_settled(l)) {
        return false;
    }
    cluster_status(l->cluster, &s);
    struct sim_node *out = random_of(m->w, &s, false);
    for (unsigned i = 0; i < m->w->count && out != NULL; i++) {
        if (!is_member(&s, m->w->nodes[i].address)) {
            m->w->nodes[i].touched = true;
            wipe(&m->w->nodes[i]); /* one that has left may still count another as a member */
        }
    }
    if (out != NULL) {
        ask(m, CHANGE_ADD, out->address, "");
        world_start(out);
    }
    return out != NULL;
}

bool members_ask_remove(struct members *m)
{
    const struct sim_node *l = world_leader(m->w);
    struct cluster_status s;
    if (m->asking || l == NULL) {
        return false;
    }
    cluster_status(l->cluster, &s);
    for (unsigned i = 0; i < m->w->count; i++) {
        struct sim_node *n = &m->w->nodes[i];
        if (n != l && is_member(&s, n->address)) {
            n->touched = true;
            ask(m, CHANGE_REMOVE, n->address, "");
            return true;
        }
    }
    return false;
}

static void begin_change(struct members *m)
{
    struct sim_world *w = m->w;
    struct sim_node *l = world_leader(w);
    struct cluster_status s;
    if (l == NULL || ask_for_emptied(m)) {
        return;
    }
    cluster_status(l->cluster, &s);
    struct sim_node *in = random_of(w, &s, true), *out = random_of(w, &s, false);
    switch (sim_rand(w->sim, 4)) {
    case 0:
        if (out != NULL && s.members_count < VOTERS_MAX && is_settled(l) && is_stranger(w, out)) {
            out->touched = true;
            wipe(out);
            ask(m, CHANGE_ADD, out->address, "");
            world_start(out);
        }
        break;
    case 1:
        if (in != NULL && s.members_count > 1) {
            in->touched = true;
            ask(m, CHANGE_REMOVE, in->address, "");
        }
        break;
    case 2:
        if (in != NULL && out != NULL && is_settled(l) && is_stranger(w, out)) {
            in->touched = out->touched = true;
            wipe(out);
            ask(m, CHANGE_REPLACE, in->address, out->address);
            world_start(out);
        }
        break;
    default:
        if (in != NULL && is_settled(l) && voters_of(&s) > 2) { /* the others are a majority */
            in->touched = in->emptied = true;
            wipe(in);
            ask(m, CHANGE_REPLACE, in->address, in->address);
            world_start(in);
        }
        break;
    }
}

static void poll_change(struct members *m)
{
    struct sim_world *w = m->w;
    uint64_t now = sim_now(w->sim);
    struct sim_node *n = world_random(w);
    if (now - m->polled_ms < POLL_MS || !n->running || n->paused || n->fatal || n->emptied ||
        sim_is_ghost(n->env) || !serves(n)) {
        return;
    }
    m->polled_ms = now;
    cluster_change_poll(n->cluster, &m->change, &m->state);
    if (m->state.stage != STAGE_DONE) {
        return;
    }
    m->asking = false;
    if (m->state.code == 0) {
        sim_count(w->sim, SIM_N_MEMBER_DONE);
    }
    if (w->verbose) {
        (void)fprintf(stderr, "%8llu member change ends: %d %s\n", (unsigned long long)now,
                      m->state.code, m->state.text);
    }
}

void members_turn(struct members *m, bool begin)
{
    if (m->asking) {
        poll_change(m);
        /* Now and then the operator's terminal dies. */
        m->asking = m->asking && (!begin || sim_rand(m->w->sim, 2000) != 0);
    } else if (begin) {
        begin_change(m);
    }
}

bool members_finished(struct members *m)
{
    members_turn(m, false);
    if (m->asking || world_leader(m->w) == NULL) {
        return false;
    }
    return !ask_for_emptied(m);
}
