/* Waiting lists: what a transaction gives back goes to those who wait, before anybody else.
 *
 * A list is the keys "wait:EVENT:NUMBER" of the policy's own data; who fits and what they get
 * is decided in lua/usher/waiting.lua. Here it is noticed that seats came free (a release, a
 * cancel, an expiry, a move, an unblock, an event that opens), and the list is served in the
 * same transaction, after its command has answered: so nobody can come between.
 *
 * W1 a booking costs nothing here: its effect gives nothing back.
 * W2 serving that fails (a rule that errors, a budget) leaves the transaction as it was. */
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
    }
}
