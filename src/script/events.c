/* What happens in the node, on its way to handlers (hooks.c): commits, roles, policies,
 * snapshots, start and stop; and the place up to which commits need not be told again.
 *
 * While no handler wants an event, it costs a look at a few short lists. */
#define LOG_MODULE "script"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/text.h"
#include "script/hook.h"
#include "script/hooks_impl.h"

#define PLACE_FILE  "hooks"
/* The place is kept every so many ticks: once a second. */
#define PLACE_TICKS 5

bool hooks_leading(const struct scripts *s) { return s->role == ROLE_LEADER; }

static bool wants(const struct handler *h, const char *hook, bool mine)
{
    return strcmp(h->name, hook) == 0 && (!h->leader_only || mine);
}

void scripts_tap(struct scripts *s, const struct script_tap *tap) { s->tap = *tap; }

static bool taps(const struct scripts *s, const char *hook)
{
    return s->tap.wants != NULL && s->tap.wants(s->tap.arg, hook);
}

static bool anybody(const struct scripts *s, const char *hook, bool mine)
{
    if (taps(s, hook)) {
        return true;
    }
    for (const struct vm *vm = s->vms; vm != NULL; vm = vm->next) {
        for (const struct handler *h = vm->handlers; h != NULL; h = h->next) {
            if (!vm->retired && !vm->loading && wants(h, hook, mine)) {
                return true;
            }
        }
    }
    return false;
}

/* `mine`: handlers for the leader's node get it too; `again`: the others had it before. */
static void give(struct scripts *s, const char *hook, struct span json, uint64_t index, bool mine,
                 bool again)
{
    struct payload *p = payload_new(json, index);
    if (!again && taps(s, hook)) {
        s->tap.event(s->tap.arg, hook, json);
    }
    for (struct vm *vm = s->vms; vm != NULL && p != NULL; vm = vm->next) {
        for (struct handler *h = vm->handlers; h != NULL; h = h->next) {
            if (!vm->retired && !vm->loading && wants(h, hook, mine) &&
                (h->leader_only || !again)) {
                handler_give(h, p);
            }
        }
    }
    hook_payload_unref(p);
}

void scripts_event(struct scripts *s, const char *hook, struct span json)
{
    if (anybody(s, hook, hooks_leading(s))) {
        give(s, hook, json, 0, hooks_leading(s), false);
    }
}

static void event_of(struct scripts *s, const char *hook, struct buf *json)
{
    if (!json->failed) {
        scripts_event(s, hook, span_make((const char *)json->data, json->len));
    }
    buf_free(json);
}

/* ---- Commits -------------------------------------------------------------------------------- */

void scripts_committed(struct scripts *s, uint64_t index, uint64_t term, struct span entry,
                       bool mine)
{
    bool again = index <= s->place;
    s->seen = index > s->seen ? index : s->seen;
    if (entry.len == 0 || (again && !mine) || !anybody(s, "commit", mine)) {
        return;
    }
    struct buf json = BUF_INIT;
    hook_commit_json(cluster_store(s->cluster), index, term, entry, &json);
    if (!json.failed && json.len > 0) {
        give(s, "commit", span_make((const char *)json.data, json.len), index, mine, again);
    }
    buf_free(&json);
}

/* The lowest index that some handler of commits everywhere still has before it, minus one. */
static uint64_t place_now(const struct scripts *s, bool *any)
{
    uint64_t place = s->seen;
    *any = false;
    for (const struct vm *vm = s->vms; vm != NULL; vm = vm->next) {
        for (const struct handler *h = vm->handlers; h != NULL; h = h->next) {
            if (vm->retired || vm->loading || h->leader_only || strcmp(h->name, "commit") != 0) {
                continue;
            }
            const struct item *it = h->working != NULL ? h->working : h->first;
            *any = true;
            if (it != NULL && it->payload->index <= place) {
                place = it->payload->index - 1;
            }
        }
    }
    return place;
}

static void keep_place(struct scripts *s)
{
    bool any;
    char text[32];
    uint64_t place = place_now(s, &any);
    if (!any || place <= s->place_kept) {
        return;
    }
    s->place_kept = place;
    (void)snprintf(text, sizeof text, "%llu\n", (unsigned long long)place);
    file_queue_replace(s->out, PLACE_FILE, span_of(text));
}

/* Blocking: at the start only. */
static bool read_place(struct scripts *s, uint64_t *place)
{
    char path[4400], text[32] = "";
    struct env_file *f;
    size_t got = 0;
    int64_t n = 0;
    const struct env_ops *ops = s->env->ops;
    (void)snprintf(path, sizeof path, "%s/%s", s->dir, PLACE_FILE);
    if (ops->file_open(s->env, path, ENV_READ, &f, NULL) != 0) {
        return false;
    }
    int code = ops->file_read(f, 0, text, sizeof text - 1, &got, NULL);
    ops->file_close(f);
    text[code == 0 ? got : 0] = 0;
    text[strcspn(text, "\n")] = 0;
    if (!text_int64(span_of(text), &n) || n < 0) {
        return false;
    }
    *place = (uint64_t)n;
    return true;
}

/* ---- The rest -----------------------------------------------------------------------------------
 */

void scripts_role(struct scripts *s, int role, const char *leader, uint64_t term)
{
    struct buf json = BUF_INIT;
    bool self = role == ROLE_LEADER;
    s->role = role;
    s->term = term;
    (void)snprintf(s->leader, sizeof s->leader, "%s", leader);
    if (leader[0] == 0 ||
        (term == s->told_term && self == s->told_self && strcmp(leader, s->told_leader) == 0)) {
        return;
    }
    s->told_term = term;
    s->told_self = self;
    (void)snprintf(s->told_leader, sizeof s->told_leader, "%s", leader);
    buf_put_u8(&json, '{');
    json_field_string(&json, "leader", span_of(leader));
    json_field_int(&json, "term", (int64_t)term);
    json_field_bool(&json, "self", self);
    buf_put_u8(&json, '}');
    event_of(s, "leader", &json);
}

void scripts_restored(struct scripts *s, const struct store *store)
{
    struct buf json = BUF_INIT;
    struct cluster_status st;
    if (s->cluster != NULL) { /* the snapshot came from outside: no `snapshot` for it */
        cluster_status(s->cluster, &st);
        s->snapshot_seen = st.snapshot_index;
    }
    s->seen = store_index(store) > s->seen ? store_index(store) : s->seen;
    buf_put_u8(&json, '{');
    json_field_int(&json, "index", (int64_t)store_index(store));
    buf_put_u8(&json, '}');
    event_of(s, "restore", &json);
}

void scripts_policy(struct scripts *s, uint32_t version)
{
    struct buf json = BUF_INIT;
    struct policy_record p;
    buf_put_u8(&json, '{');
    json_field_int(&json, "version", version);
    json_field_int(&json, "previous", s->policy);
    if (s->cluster != NULL && store_policy(cluster_store(s->cluster), version, &p)) {
        json_field_string(&json, "hash", p.sha256);
        json_field_string(&json, "author", p.author);
        json_field_int(&json, "time", (int64_t)p.time_ms);
    }
    buf_put_u8(&json, '}');
    s->policy = version;
    event_of(s, "policy", &json);
}

static void look_for_snapshot(struct scripts *s)
{
    struct cluster_status st;
    if (s->cluster == NULL || !anybody(s, "snapshot", true)) {
        return;
    }
    cluster_status(s->cluster, &st);
    if (st.snapshot_index > s->snapshot_seen) {
        struct buf json = BUF_INIT;
        s->snapshot_seen = st.snapshot_index;
        buf_put_u8(&json, '{');
        json_field_int(&json, "index", (int64_t)st.snapshot_index);
        json_field_int(&json, "log_bytes", (int64_t)st.log_bytes);
        buf_put_u8(&json, '}');
        event_of(s, "snapshot", &json);
    }
}

void scripts_begin(struct scripts *s)
{
    struct buf json = BUF_INIT;
    struct cluster_status st;
    cluster_status(s->cluster, &st);
    s->snapshot_seen = st.snapshot_index;
    if (!read_place(s, &s->place)) {
        s->place = st.last; /* what was before these scripts is not theirs */
    }
    s->place_kept = s->place;
    s->seen = s->place;
    s->env->ops->timer_start(s->tick, SCRIPTS_TICK_MS);
    buf_put_u8(&json, '{');
    json_field_string(&json, "address", span_of(st.address));
    json_field_string(&json, "profile", span_of(s->profile));
    json_field_string(&json, "version", span_of(s->version));
    buf_put_u8(&json, '}');
    event_of(s, "start", &json);
}

static bool all_idle(const struct scripts *s)
{
    for (const struct vm *vm = s->vms; vm != NULL; vm = vm->next) {
        for (const struct handler *h = vm->handlers; h != NULL; h = h->next) {
            if (!vm->retired && !vm->loading && h->period_ms == 0 && !handler_idle(h)) {
                return false;
            }
        }
    }
    return true;
}

static void stop_if_idle(struct scripts *s)
{
    bool late = s->env->ops->mono_ms(s->env) >= s->stop_deadline_ms;
    if (!late && !all_idle(s)) {
        return;
    }
    keep_place(s);
    if (late || file_queue_idle(s->out)) {
        void (*cb)(void *arg) = s->stopped;
        s->stopped = NULL;
        if (cb != NULL) {
            cb(s->stopped_arg);
        }
    }
}

void scripts_stop(struct scripts *s, void (*cb)(void *arg), void *arg)
{
    scripts_event(s, "stop", span_of("{}"));
    s->stopped = cb;
    s->stopped_arg = arg;
    s->stop_deadline_ms = s->env->ops->mono_ms(s->env) + HOOK_STOP_MS;
    stop_if_idle(s);
    if (s->stopped != NULL) {
        s->env->ops->timer_start(s->tick, 5);
    }
}

void scripts_halt(struct scripts *s, void (*cb)(void *arg), void *arg)
{
    keep_place(s);
    s->env->ops->timer_stop(s->tick);
    s->halting = true;
    s->halted = cb;
    s->halted_arg = arg;
    tasks_kill_all(s);
}

void hooks_tick(struct scripts *s)
{
    if (s->stopped != NULL) {
        s->env->ops->timer_start(s->tick, 5);
        stop_if_idle(s);
        return;
    }
    look_for_snapshot(s);
    if (++s->ticks % PLACE_TICKS == 0) {
        keep_place(s);
    }
}
