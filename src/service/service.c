/* The way in: life of the service, submitting, routing, node commands, canceling.
 *
 * service_submit() only looks the command up and files the item; the work happens once per
 * loop turn (turn.c).
 *
 * How it fails: without a leader items wait; after LEADERLESS_MS those whose outcome cannot
 * be in a log get NOQUORUM, the others go on trying until their deadline and then get
 * UNKNOWN. The queue is bounded (BUSY). */
#include "service/service.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "service/rehearse_record.h"
#include "service/service_impl.h"

#define LOG_MODULE "service"
#include "base/log.h"

uint64_t service_now(const struct service *s) { return s->env->ops->mono_ms(s->env); }

bool service_leads(const struct service *s) { return s->role == ROLE_LEADER; }

void service_wake(struct service *s)
{
    if (!s->in_turn) {
        s->env->ops->defer(s->env, &s->turn);
    }
}

void service_resume(struct service *s) { s->env->ops->timer_start(s->resume, 1); }

int service_parse(struct service *s, const struct item *it, struct error *e)
{
    return call_parse(s->registry, it->argc, it->argv, &s->call, e);
}

int service_allowed(const struct command_def *def, const struct policy_user *user, struct error *e)
{
    if (user->access >= def->access) {
        return 0;
    }
    if (user->name.len == 0) {
        (void)error_set(e, ERR_NOAUTH, "`%s` needs a user with access `%s`", def->name,
                        access_name(def->access));
        error_hint(e, "log in first: AUTH USER PASSWORD");
        return e->code;
    }
    (void)error_set(e, ERR_NOPERM, "`%s` needs access `%s`; user %.*s has `%s`", def->name,
                    access_name(def->access), (int)user->name.len, user->name.data,
                    access_name(user->access));
    error_hint(e, "an admin can raise `access` of this user in config.lua");
    return e->code;
}

/* In no cluster: founders are missing, or there is a cluster that has to add this node. */
static void error_founding(const char *waiting, struct error *e)
{
    const char *way = strstr(waiting, "; to add it, run: ");
    if (way != NULL) {
        (void)error_set(e, ERR_NOTREADY, "this node is in no cluster yet: %.*s",
                        (int)(way - waiting), waiting);
        error_hint(e, "%s", way + strlen("; "));
    } else {
        (void)error_set(e, ERR_NOTREADY, "the cluster is not founded yet%s%s",
                        waiting[0] != 0 ? ": " : "", waiting);
        error_hint(e, "start the nodes that are missing");
    }
}

/* Why nothing can be decided now, and what to do about it. */
void service_error_no_leader(struct service *s, struct error *e)
{
    struct cluster_status st;
    if (s->cluster == NULL) {
        (void)error_set(e, ERR_NOTREADY, "this node is starting");
        error_hint(e, "try again in a moment");
        return;
    }
    cluster_status(s->cluster, &st);
    if (s->role == ROLE_FOUNDING) {
        error_founding(st.waiting, e);
        return;
    }
    if (s->role == ROLE_QUARANTINED || s->role == ROLE_REMOVED) {
        if (cluster_local_ready(s->cluster, e) == 0) {
            (void)error_set(e, ERR_NOTREADY, "this node is %s", cluster_role_name(s->role));
            error_hint(e, "ask another node");
        }
        return;
    }
    (void)error_set(e, ERR_NOQUORUM, "no leader: no majority of voters answers; nothing was done");
    char names[ERROR_HINT_BYTES / 2];
    size_t used = 0;
    for (size_t i = 0; i < st.members_count; i++) {
        const struct cluster_member *m = &st.members[i];
        if (!m->self && m->voter && !m->reachable && used < sizeof names) {
            int n = snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "",
                             m->address);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    if (used > 0) {
        error_hint(e, "not reachable from here: %s; start them, then try again", names);
    } else {
        error_hint(e, "an election may be under way: try again in a moment");
    }
}

/* True when waiting cannot help (founding, quarantined, removed). */
static bool hopeless(const struct service *s)
{
    return s->cluster == NULL || s->role == ROLE_FOUNDING || s->role == ROLE_QUARANTINED ||
           s->role == ROLE_REMOVED;
}

void service_route(struct item *it)
{
    struct service *s = it->service;
    if (it->peer != NULL && !service_leads(s)) {
        forward_bounce(it);
        item_free(it);
        return;
    }
    if (it->is_read) {
        item_move(it, ITEM_READ);
        items_push(&s->reads, it);
    } else {
        item_move(it, ITEM_QUEUED);
        items_push(&s->queue, it);
    }
    service_tick_start(s);
    service_wake(s);
}

/* ---- Submitting ------------------------------------------------------------ */

static void refuse(struct service *s, struct request *r, const struct error *e)
{
    s->counters.refused++;
    r->impl = NULL;
    r->cb(r, e->code, e, (struct span){ "", 0 }, (struct span){ "", 0 });
}

static void refuse_closing(struct error *e)
{
    (void)error_set(e, ERR_NOTREADY, "this node is stopping; nothing was done");
    error_hint(e, "ask another node");
}

/* A node command keeps its own copies: its client may go away before it ends. */
struct node_run {
    struct request proxy;
    struct call call;
    struct block *block;
    struct item *item;
    uint64_t seen_index; /* what it asks for in its turn is of its client's session */
};

static void node_run_free(struct node_run *run)
{
    call_free(&run->call);
    if (run->block != NULL) {
        block_unref(run->block);
    }
    mem_free(run);
}

static struct node_run *node_run_new(const struct request *r)
{
    struct node_run *run = mem_zalloc(sizeof *run);
    struct buf bytes = BUF_INIT;
    if (run == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < r->argc; i++) {
        buf_put(&bytes, r->argv[i].data, r->argv[i].len);
    }
    buf_put(&bytes, r->user.name.data, r->user.name.len);
    run->block = bytes.failed ? NULL : block_new(bytes.data, bytes.len, r->argc, 0);
    buf_free(&bytes);
    if (run->block == NULL) {
        mem_free(run);
        return NULL;
    }
    const char *p = (const char *)run->block->bytes.data;
    for (size_t i = 0; i < r->argc; i++) {
        run->block->spans[i] = span_make(p, r->argv[i].len);
        p += r->argv[i].len;
    }
    run->proxy = *r;
    run->proxy.argv = run->block->spans;
    run->seen_index = r->seen_index != NULL ? *r->seen_index : 0;
    run->proxy.seen_index = &run->seen_index;
    run->proxy.user.name = span_make(r->user.name.len > 0 ? p : "", r->user.name.len);
    return run;
}

static void submit_node(struct service *s, struct request *r, struct item *it)
{
    struct error e;
    struct node_run *run = s->node_command != NULL ? node_run_new(r) : NULL;
    if (run == NULL) {
        (void)error_set(&e, s->node_command != NULL ? ERR_NOMEM : ERR_NOTREADY,
                        "node commands cannot run now");
    } else if (call_parse(s->registry, run->proxy.argc, run->proxy.argv, &run->call, &e) == 0) {
        item_move(it, ITEM_NODE);
        run->item = it;
        run->proxy.impl = run;
        it->run = run;
        s->node_command(s->arg, &run->proxy, &run->call);
        return;
    }
    if (run != NULL) {
        node_run_free(run);
    }
    it->state = ITEM_NODE;
    item_refuse(it, &e);
    item_free(it);
}

void service_answer(struct service *s, struct request *r, int code, const struct error *e,
                    struct span json)
{
    struct node_run *run = r->impl;
    (void)s;
    ASSERT(run != NULL && r == &run->proxy);
    struct item *it = run->item;
    uint64_t *seen = it->r != NULL ? it->r->seen_index : NULL;
    if (seen != NULL && *seen < run->seen_index) {
        *seen = run->seen_index;
    }
    item_answer(it, code, e, (struct span){ "", 0 }, json);
    it->run = NULL;
    item_free(it);
    node_run_free(run);
}

static int find_command(struct service *s, const struct request *r, const struct command_def **def,
                        struct error *e)
{
    *def = r->argc > 0 ? registry_find(s->registry, r->argv[0]) : NULL;
    if (*def != NULL) {
        return service_allowed(*def, &r->user, e);
    }
    /* The grammar's own words for "no such command". */
    if (call_parse(s->registry, r->argc, r->argv, &s->call, e) == 0) {
        return error_set(e, ERR_NOTFOUND, "unknown command");
    }
    return e->code;
}

void service_submit(struct service *s, struct request *r)
{
    struct error e;
    const struct command_def *def;
    s->counters.requests++;
    error_clear(&e);
    if (s->monitors != NULL) {
        monitor_tell(s, r);
    }
    if (s->closing) {
        refuse_closing(&e);
        refuse(s, r, &e);
        return;
    }
    if (find_command(s, r, &def, &e) != 0) {
        refuse(s, r, &e);
        return;
    }
    ASSERT(def != NULL);
    if (def->kind == COMMAND_TRANSACTION && hopeless(s) && def->read != READ_LOCAL) {
        service_error_no_leader(s, &e);
        refuse(s, r, &e);
        return;
    }
    if (def->kind == COMMAND_TRANSACTION && s->cluster != NULL && cluster_draining(s->cluster) &&
        !service_leads(s)) {
        (void)error_set(&e, ERR_NOTREADY,
                        "this node is draining before a restart; nothing was done");
        error_hint(&e, "ask another node; `drain off` ends it");
        refuse(s, r, &e);
        return;
    }
    struct item *it = s->count < QUEUE_REQUESTS_MAX ? item_new(s) : NULL;
    if (it == NULL) {
        (void)error_set(&e, ERR_BUSY, "%zu requests wait on this node; nothing was done", s->count);
        error_hint(&e, "slow down and try again");
        refuse(s, r, &e);
        return;
    }
    it->r = r;
    it->argv = r->argv;
    it->argc = r->argc;
    it->user = r->user;
    it->is_read = def->read != READ_NONE;
    it->deadline_ms = r->deadline_ms != 0 ? r->deadline_ms : service_now(s) + REQUEST_DEADLINE_MS;
    r->impl = it;
    if (def->kind == COMMAND_NODE && r->output != NULL) {
        it->deadline_ms = UINT64_MAX; /* it says how it goes on; whoever asked may end it */
    }
    if (def->kind == COMMAND_NODE) {
        submit_node(s, r, it);
    } else {
        service_route(it);
    }
}

void service_cancel(struct service *s, struct request *r)
{
    struct item *it = r->impl;
    if (it == NULL) {
        return;
    }
    r->impl = NULL;
    it->r = NULL;
    it->answered = true;
    if (it->state == ITEM_NODE && s->node_cancel != NULL && it->run != NULL) {
        s->node_cancel(s->arg, &it->run->proxy);
    }
    /* Its container frees it; it is not evaluated any more (V1). */
}

/* ---- Life ------------------------------------------------------------------------ */

static void on_upkeep(void *arg)
{
    struct service *s = arg;
    s->upkeep_due = true;
    service_wake(s);
}

static void on_resume(void *arg) { service_wake(arg); }

int service_new(const struct service_options *o, struct service **out, struct error *e)
{
    struct service *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return error_set(e, ERR_NOMEM, "service: out of memory");
    }
    s->env = o->env;
    s->policy = o->policy;
    s->registry = o->registry;
    s->node_command = o->node_command;
    s->node_cancel = o->node_cancel;
    s->arg = o->arg;
    s->role = ROLE_FOUNDING;
    s->turn.cb = service_turn;
    s->turn.arg = s;
    s->recorder = recorder_new(s, o->env, o->dir);
    buf_put(&s->first_policy, o->first_policy.data, o->first_policy.len);
    if (o->first_policy_path != NULL) {
        s->first_policy_path = mem_strndup(o->first_policy_path, strlen(o->first_policy_path));
    }
    s->tick = s->env->ops->timer_new(s->env, service_tick, s);
    s->upkeep = s->env->ops->timer_new(s->env, on_upkeep, s);
    s->resume = s->env->ops->timer_new(s->env, on_resume, s);
    s->env->ops->random(s->env, &s->id_prefix, sizeof s->id_prefix);
    s->env->ops->random(s->env, &s->generation, sizeof s->generation);
    if (s->tick == NULL || s->upkeep == NULL || s->resume == NULL || s->first_policy.failed) {
        service_free(s);
        return error_set(e, ERR_NOMEM, "service: out of memory");
    }
    if (o->cluster != NULL) {
        service_attach(s, o->cluster);
    }
    *out = s;
    return 0;
}

void service_attach(struct service *s, struct cluster *c)
{
    struct cluster_status st;
    s->cluster = c;
    cluster_status(c, &st);
    s->role = st.role;
    s->term = st.term;
    (void)snprintf(s->leader, sizeof s->leader, "%s", st.leader);
    s->leaderless_ms = s->leader[0] == 0 ? service_now(s) : 0;
    s->policy_stale = true;
    service_wake(s);
}

void service_detach(struct service *s)
{
    s->cluster = NULL;
    s->env->ops->undefer(s->env, &s->turn);
    s->env->ops->timer_stop(s->tick);
    s->env->ops->timer_stop(s->upkeep);
    s->env->ops->timer_stop(s->resume);
    recorder_end(s->recorder);
}

/* Every item is answered. The scripts are gone by now: nobody frees an item meanwhile. */
static void close_items(struct service *s)
{
    buf_clear(&s->scratch);
    for (struct item *it = s->all; it != NULL; it = it->all_next) {
        buf_put(&s->scratch, &it, sizeof it);
    }
    for (size_t at = 0; at < s->scratch.len; at += sizeof(struct item *)) {
        struct item *it;
        memcpy(&it, s->scratch.data + at, sizeof it);
        if (it->state == ITEM_FLIGHT || it->state == ITEM_FORWARDED || it->maybe) {
            item_unknown(it, "this node is stopping");
        } else if (!it->answered) {
            struct error e;
            refuse_closing(&e);
            item_refuse(it, &e);
        }
        if (it->run != NULL) {
            node_run_free(it->run);
            it->run = NULL;
        }
        if (it->block != NULL) {
            block_unref(it->block);
        }
    }
}

static void groups_free(struct groups *l)
{
    struct group *g;
    while ((g = groups_pop(l)) != NULL) {
        buf_free(&g->text);
        mem_free(g);
    }
}

void service_free(struct service *s)
{
    if (s == NULL) {
        return;
    }
    s->closing = true;
    close_items(s);
    s->env->ops->undefer(s->env, &s->turn);
    struct env_timer *timers[] = { s->tick, s->upkeep, s->resume };
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        if (timers[i] != NULL) {
            s->env->ops->timer_free(timers[i]);
        }
    }
    groups_free(&s->flight);
    groups_free(&s->ready);
    groups_free(&s->reading);
    while (s->spare != NULL) {
        struct group *next = s->spare->next;
        buf_free(&s->spare->text);
        mem_free(s->spare);
        s->spare = next;
    }
    items_free_all(s);
    forward_free(s);
    watch_free_all(s);
    call_free(&s->call);
    policy_answer_free(&s->answer);
    buf_free(&s->entry);
    recorder_free(s->recorder);
    buf_free(&s->first_policy);
    mem_free(s->first_policy_path);
    buf_free(&s->scratch);
    mem_free(s);
}

static void sink_submit(void *arg, struct request *r) { service_submit(arg, r); }
static void sink_cancel(void *arg, struct request *r) { service_cancel(arg, r); }
static void sink_answer(void *arg, struct request *r, int code, const struct error *e,
                        struct span json)
{
    service_answer(arg, r, code, e, json);
}

static struct request *listener_of(struct request *r)
{
    const struct node_run *run = r->impl;
    struct request *to = run->item->r; /* NULL: canceled */
    return to != NULL && to->output != NULL ? to : NULL;
}

static bool sink_output(void *arg, struct request *r, const char *kind, struct span text)
{
    struct request *to = listener_of(r);
    (void)arg;
    if (to != NULL && text.data != NULL) {
        to->output(to, kind, text);
    }
    to = listener_of(r);
    return to == NULL || to->room == NULL || to->room(to);
}

static bool sink_listens(void *arg, struct request *r)
{
    (void)arg;
    return listener_of(r) != NULL;
}

static void sink_refusals(void *arg, request_refusals_cb cb, void *cb_arg)
{
    struct service *s = arg;
    recorder_gather(s->recorder, cb, cb_arg);
}

void service_sink(struct service *s, struct request_sink *out)
{
    *out = (struct request_sink){ .submit = sink_submit,
                                  .cancel = sink_cancel,
                                  .answer = sink_answer,
                                  .output = sink_output,
                                  .listens = sink_listens,
                                  .feed = feed_open,
                                  .unfeed = feed_close,
                                  .refusals = sink_refusals,
                                  .arg = s };
}

void service_counters(const struct service *s, struct service_counters *out)
{
    *out = s->counters;
    out->queue = s->count;
}

struct cluster *service_cluster(struct service *s) { return s->cluster; }
struct registry *service_registry(struct service *s) { return s->registry; }
