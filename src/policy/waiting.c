/* Waiting lists: what a transaction gives back goes to those who wait, before anybody else.
 *
 * A list is the keys "wait:EVENT:NUMBER" of the policy's own data; who fits and what they get
 * is decided in lua/usher/waiting.lua. Here it is noticed that seats came free (a release, a
 * cancel, an expiry, a move, an unblock, an event that opens), and the list is served in the
 * same transaction, after its command has answered: so nobody can come between.
 *
 * A line may be longer than one transaction can ask the rules about. How far the round of an
 * event has come is then kept beside the list, so that any leader can go on with it, a
 * transaction at a time, from policy_expire().
 *
 * W1 a booking costs nothing here: its effect gives nothing back.
 * W2 serving that fails leaves the transaction as it was. A wait that fails (its rules err, or
 *    cost too much) is undone by itself and passed over, as if refused.
 * W3 a round ends: each transaction gets past one wait at least, or drops the round. */
#include <stdio.h>
#include <string.h>

#include "policy/vm.h"

static void note(struct policy *p, uint32_t event)
{
    struct freed *f = &p->freed;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->event[i] == event) {
            return;
        }
    }
    if (f->count < FREED_EVENTS_MAX) {
        f->event[f->count++] = event;
    }
}

static void note_places(struct policy *p, const struct place *places, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || places[i].event != places[i - 1].event) {
            note(p, places[i].event);
        }
    }
}

void waiting_note_order(struct policy *p, const struct order *o)
{
    note_places(p, o->places, o->places_count);
}

void waiting_note(struct policy *p, const struct effect *f)
{
    if (f->kind == EFFECT_FINISH || f->kind == EFFECT_RESEAT) {
        const struct order *o = store_order(p->store, f->id);
        if (o != NULL) {
            waiting_note_order(p, o);
        }
    } else if (f->kind == EFFECT_UNBLOCK) {
        note_places(p, f->places, f->places_count);
    } else if (f->kind == EFFECT_EVENT_SET && (f->set & (SET_OPEN | SET_CHART | SET_RULESET))) {
        const struct event *ev = store_event(p->store, f->id);
        if (ev != NULL) {
            note(p, ev->number);
        }
    }
}

/* Where a round stands that is longer than one transaction: the key "wait::EVENT". */
#define ROUNDS "wait::"

static bool found(void *arg, const struct kv *kv)
{
    (void)kv;
    *(bool *)arg = true;
    return false;
}

static bool anybody_waits(const struct policy *p, const struct event *ev)
{
    char prefix[ID_BYTES_MAX + 8];
    bool any = false;
    int n = snprintf(prefix, sizeof(prefix), "wait:%.*s:", (int)ev->id.len, ev->id.data);
    store_keys(p->store, span_make(prefix, (size_t)n), span_make(NULL, 0), found, &any);
    return any;
}

/* Calls serve(tx, event) for each event noted so far; serving notes nothing that counts. */
static int serve_entry(lua_State *L)
{
    struct policy *p = vm_of(L);
    uint32_t count = p->freed.count;
    for (uint32_t i = 0; i < count; i++) {
        const struct event *ev = store_event_number(p->store, p->freed.event[i]);
        if (ev != NULL && ev->open && anybody_waits(p, ev)) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->serve);
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
            object_push_event(L, ev);
            lua_call(L, 2, 0);
        }
    }
    return 0;
}

void waiting_serve(struct policy *p)
{
    bool any = false;
    for (uint32_t i = 0; i < p->freed.count && !any; i++) {
        const struct event *ev = store_event_number(p->store, p->freed.event[i]);
        any = ev != NULL && ev->open && anybody_waits(p, ev);
    }
    if (!any) {
        return;
    }
    struct error e;
    error_clear(&e);
    p->call = NULL; /* its codes and its user are not those of who waits */
    p->user = NULL;
    p->user_epoch = 0;
    size_t mark = store_tx_mark(p->store);
    if (vm_run(p, serve_entry, p->budget, &e) != 0) {
        store_tx_undo_to(p->store, mark); /* W2 */
        p->untold = e;
        error_prefix(&p->untold, "serving a waiting list");
    }
}

/* ---- Rounds ------------------------------------------------------------------------------ */

bool policy_waiting_due(const struct store *s)
{
    bool any = false;
    store_keys(s, span_of(ROUNDS), span_make(NULL, 0), found, &any);
    return any;
}

static bool found_round(void *arg, const struct kv *kv)
{
    struct policy *p = arg;
    memcpy(p->round, kv->key.data, kv->key.len);
    p->round_len = kv->key.len;
    return false;
}

/* The one behind that which went on last: a long line must not keep those of others waiting. */
bool waiting_find_round(struct policy *p, const struct store *s)
{
    char last[KV_KEY_BYTES_MAX] = { 0 };
    struct span after = span_make(last, p->round_len);
    memcpy(last, p->round, p->round_len);
    p->round_len = 0;
    store_keys(s, span_of(ROUNDS), after, found_round, p);
    if (p->round_len == 0 && after.len > 0) {
        store_keys(s, span_of(ROUNDS), span_make(NULL, 0), found_round, p);
    }
    return p->round_len > 0;
}

static const struct event *round_event(const struct policy *p)
{
    const size_t skip = sizeof(ROUNDS) - 1;
    return store_event(p->store, span_make(p->round + skip, p->round_len - skip));
}

static int go_on_entry(lua_State *L)
{
    struct policy *p = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->serve);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    object_push_event(L, round_event(p));
    lua_pushboolean(L, 1);
    lua_call(L, 3, 0);
    return 0;
}

void waiting_go_on(struct policy *p)
{
    struct error e;
    error_clear(&e);
    const struct event *ev = round_event(p);
    size_t mark = store_tx_mark(p->store);
    bool open = ev != NULL && ev->open;
    if (open && vm_run(p, go_on_entry, p->budget, &e) == 0 && store_tx_effects(p->store).len > 0) {
        return;
    }
    if (e.code != 0) {
        p->untold = e;
        error_prefix(&p->untold, "serving a waiting list");
    }
    /* W3; an event that opens again begins a new one. */
    store_tx_undo_to(p->store, mark);
    struct effect f = { .kind = EFFECT_KV_SET, .id = span_make(p->round, p->round_len) };
    (void)store_do(p->store, &f, &e);
}

/* ---- What one wait may cost ---------------------------------------------------------------- */

/* tx:attempt(f, ...) -> true, ... | false, error: calls f(...). When it fails, or would use up
 * the budget, its effects are undone and the command goes on. */
int tx_attempt(lua_State *L)
{
    struct policy *p = vm_of(L);
    (void)object_check(L, 1, OBJECT_TX);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct store *s = vm_store(L);
    if (p->read_only) {
        return luaL_error(L, "this command only reads: it has nothing to attempt");
    }
    size_t mark = store_tx_mark(s);
    if (sandbox_pcall(L, lua_gettop(L) - 2, POLICY_ATTEMPT_PERCENT) != LUA_OK) {
        store_tx_undo_to(s, mark);
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_replace(L, 1);
    return lua_gettop(L);
}

/* tx:used() -> how much of the budget is used, in percent */
int tx_used(lua_State *L)
{
    (void)object_check(L, 1, OBJECT_TX);
    lua_pushinteger(L, sandbox_used(sandbox_of(L)));
    return 1;
}
