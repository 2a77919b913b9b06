/* tx:take, tx:confirm, tx:reseat: the three that are judged.
 *
 * Order of events: places are collected; if all of them are free, the rules of every event
 * touched judge the request and the price function prices it; the effect is carried out (the
 * store has the last word: TAKEN, EXPIRED ...); the hook runs. With the default policy there
 * are no rules, no price and no hooks, and no Lua runs in here: that is the measured path.
 *
 * A seat that is taken is reported as TAKEN before any rule is asked: "B4 is booked" helps
 * more than "B5 would be left alone". */
#include <stddef.h>
#include <string.h>

#include "base/text.h"
#include "policy/vm.h"

/* One request on its way through judge, price, effect and hook. */
struct taking {
    struct effect f;
    struct ask ask;
    struct places *places;
    bool rules, priced;
    char id[ORDER_ID_BYTES], old_id[ID_BYTES_MAX];
    struct places_room room;
};

/* Every numbered seat is free, or given up by the same request. */
static bool all_free(lua_State *L, const struct places *seats, const struct order *own)
{
    struct store *s = vm_store(L);
    const struct event *ev = NULL;
    for (uint32_t i = 0; i < seats->count; i++) {
        const struct place *p = &seats->place[i];
        if (p->number & PLACE_AREA) {
            continue;
        }
        if (ev == NULL || ev->number != p->event) {
            ev = vm_event(L, p->event);
        }
        if (store_seat(s, ev, p->number) != SEAT_FREE &&
            (own == NULL || store_seat_order(s, ev, p->number) != own)) {
            return false;
        }
    }
    return true;
}

/* Judges and prices; fills f->price. Leaves the stack as it was. */
static void judge_and_price(lua_State *L, struct taking *t)
{
    bool judge, price;
    int top = lua_gettop(L);
    rules_wanted(L, t->places, t->ask.verb, &judge, &price);
    t->f.unjudged = !t->rules;
    t->f.version = vm_of(L)->active.version;
    t->priced = price && t->ask.verb != VERB_CONFIRM;
    judge = judge && t->rules;
    if (!judge && !t->priced) {
        return;
    }
    rules_push_ask(L, &t->ask);
    if (judge) {
        rules_judge(L, -1);
    }
    if (t->priced) {
        t->f.price = rules_price(L, lua_gettop(L), t->places);
    }
    lua_settop(L, top);
}

static void set_places(lua_State *L, struct taking *t)
{
    struct effect *f = &t->f;
    const struct places *p = t->places;
    f->overbook = f->overbook || (t->rules && rules_overbook(L, p));
    f->places = p->place;
    f->places_count = p->count;
    f->types = p->typed ? p->type : NULL;
}

/* ---- take --------------------------------------------------------------------------- */

/* The least over the events of how long a hold lasts by itself, and at most. */
static void hold_times(lua_State *L, const struct places *seats, uint64_t *ttl, uint64_t *max)
{
    *ttl = *max = UINT64_MAX;
    for (uint32_t i = 0; i < seats->count; i++) {
        if (i == 0 || seats->place[i].event != seats->place[i - 1].event) {
            const struct ruleset *set = vm_ruleset(L, vm_event(L, seats->place[i].event));
            *ttl = set->hold_ttl_ms < *ttl ? set->hold_ttl_ms : *ttl;
            *max = set->hold_max_ms < *max ? set->hold_max_ms : *max;
        }
    }
}

/* How long the hold lasts: as asked for, or else as the events say. */
static uint64_t check_hold(lua_State *L, const struct taking *t, bool asked, uint64_t hold)
{
    uint64_t ttl, max;
    hold_times(L, t->places, &ttl, &max);
    if (!asked) {
        return ttl; /* no ruleset's hold_max is less than its hold_ttl */
    }
    if (hold == 0) {
        vm_refusef(L, ERR_BADARG, "a hold lasts more than no time");
    }
    if (t->rules && hold > max) {
        vm_refusef(L, ERR_LIMIT, "a hold lasts at most %llu seconds here",
                   (unsigned long long)(max / 1000));
    }
    return hold;
}

/* An expired order is no hold: a closed event has nothing for it. The store would give it the
 * seats, for logs are full of those it did give. */
static void check_late(lua_State *L, const struct places *seats)
{
    for (uint32_t i = 0; i < seats->count; i++) {
        const struct event *ev = vm_event(L, seats->place[i].event);
        if (!ev->open) {
            vm_refusef(L, ERR_DENIED, "event %.*s is closed", (int)ev->id.len, ev->id.data);
        }
    }
}

/* A late confirm: the expired order's own seats, under its own id, booked. An order that is
 * still held past its time expires first. Replaces the seats argument (index 3). */
static void late_order(lua_State *L, struct taking *t, int order)
{
    const struct order *o = object_order(L, order);
    if (o->status == ORDER_HELD && o->expires_ms <= vm_of(L)->now_ms) {
        struct effect f = { .kind = EFFECT_FINISH, .id = order_id(o), .code = ORDER_EXPIRED };
        vm_do(L, &f);
        rules_hook(L, HOOK_EXPIRE, order);
        o = object_order(L, order);
    }
    if (o->status != ORDER_EXPIRED) {
        vm_refusef(L, ERR_CONFLICT, "the order is %s: only an expired one is confirmed late",
                   order_status_name(o->status));
    }
    t->f.late = true;
    memcpy(t->old_id, order_id(o).data, order_id(o).len);
    t->f.id = span_make(t->old_id, order_id(o).len);
    places_push_order(L, o);
    lua_replace(L, 3);
    vm_push_span(L, order_customer(o)); /* the store's copy moves with the order */
    t->f.customer = vm_to_span(L, -1);
    if (t->f.text.len == 0) {
        vm_push_span(L, order_metadata(o));
        t->f.text = vm_to_span(L, -1);
    }
}

enum take_field {
    TAKE_CUSTOMER,
    TAKE_SEATS,
    TAKE_HOLD,
    TAKE_METADATA,
    TAKE_RULES,
    TAKE_OVERBOOK,
    TAKE_EVENT,
    TAKE_LATE
};

/* tx:take{...} -> order. [1] tx, [2] the table, [3] seats, [4] event, [5] late, [6] customer,
 * [7] metadata: a rule may empty the table while its texts are still needed. */
static int do_take(lua_State *L)
{
    static const char *const names[] = { "customer", "seats", "hold", "metadata", "rules",
                                         "overbook", "event", "late", NULL };
    struct taking t;
    memset(&t, 0, offsetof(struct taking, id));
    t.f.kind = EFFECT_TAKE;
    t.rules = true;
    uint64_t hold = 0;
    bool held = false, asked = false;
    (void)object_check(L, 1, OBJECT_TX);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 7);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, 2, names, "tx:take")) >= 0; lua_pop(L, 1)) {
        switch ((enum take_field)i) {
        case TAKE_CUSTOMER:
            t.f.customer = vm_check_span(L, -1, "customer");
            lua_copy(L, -1, 6);
            break;
        case TAKE_HOLD:
            asked = !lua_isboolean(L, -1);
            hold = asked ? vm_check_duration(L, -1, "hold") : 0;
            held = asked || lua_toboolean(L, -1);
            break;
        case TAKE_METADATA:
            t.f.text = vm_check_json(L, -1, "metadata");
            lua_copy(L, -1, 7);
            break;
        case TAKE_RULES: t.rules = lua_toboolean(L, -1); break;
        case TAKE_OVERBOOK: t.f.overbook = lua_toboolean(L, -1); break;
        case TAKE_SEATS: lua_copy(L, -1, 3); break;
        case TAKE_EVENT: lua_copy(L, -1, 4); break;
        case TAKE_LATE: lua_copy(L, -1, 5); break;
        }
    }
    const struct event *ev = lua_isnil(L, 4) ? NULL : vm_check_event(L, 4);
    if (!lua_isnil(L, 5)) {
        late_order(L, &t, 5);
    }
    t.places = places_read_into(L, 3, ev, &t.room);
    for (uint32_t i = 0; i < t.places->count && !t.f.late; i++) {
        t.places->place[i].price = 0;
    }
    if (held) {
        t.f.until_ms = vm_of(L)->now_ms + check_hold(L, &t, asked, hold);
    }
    if (t.f.late) {
        check_late(L, t.places);
    } else {
        if (lua_isnil(L, 6)) {
            vm_misuse(L, "tx:take: customer is missing");
        }
        if (!text_is_id(t.f.customer)) {
            vm_refusef(L, ERR_BADARG, "tx:take needs a customer: an id of at most %d bytes",
                       ID_BYTES_MAX);
        }
        random_order_id(&vm_of(L)->random, t.id); /* 65 bits: the store refuses a repetition */
        t.f.id = span_make(t.id, ORDER_ID_BYTES);
    }
    for (uint32_t i = 0; i < t.places->count; i++) {
        t.f.price += t.places->place[i].price;
    }
    t.ask = (struct ask){ .verb = VERB_TAKE,
                          .after = held ? "held" : "booked",
                          .customer = t.f.customer,
                          .metadata = t.f.text,
                          .order = t.f.late ? 5 : 0,
                          .seats = t.places,
                          .gains = t.places,
                          .until_ms = t.f.until_ms };
    if (all_free(L, t.places, NULL)) {
        judge_and_price(L, &t);
    }
    set_places(L, &t);
    vm_do(L, &t.f);
    object_push_order(L, t.f.id);
    rules_hook(L, HOOK_TAKE, lua_gettop(L));
    return 1;
}

/* ---- confirm and reseat ------------------------------------------------------------------ */

/* Reads the optional last argument {rules=, metadata=, overbook=}. [-0, +1] what keeps the metadata
 * alive: a rule may empty the table. */
static void options(lua_State *L, int index, struct taking *t, const char *what)
{
    static const char *const names[] = { "rules", "metadata", "overbook", NULL };
    t->rules = true;
    lua_pushnil(L);
    int text = lua_gettop(L);
    if (lua_isnoneornil(L, index)) {
        return;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, index, names, what)) >= 0; lua_pop(L, 1)) {
        if (i == 0) {
            t->rules = lua_toboolean(L, -1);
        } else if (i == 1) {
            t->f.text = vm_check_json(L, -1, "metadata");
            lua_copy(L, -1, text);
        } else {
            t->f.overbook = lua_toboolean(L, -1);
        }
    }
}

/* Keeps the id over effects that move the order in memory. */
static void hold_id(struct taking *t, const struct order *o)
{
    memcpy(t->old_id, order_id(o).data, order_id(o).len);
    t->f.id = span_make(t->old_id, order_id(o).len);
}

/* tx:confirm(o[, {metadata=, rules=}]) -> o */
static int do_confirm(lua_State *L)
{
    struct taking t;
    memset(&t, 0, sizeof(t));
    t.f.kind = EFFECT_CONFIRM;
    lua_settop(L, 3);
    const struct order *o = object_order(L, 2);
    options(L, 3, &t, "tx:confirm");
    hold_id(&t, o);
    bool judge = false;
    for (uint32_t i = 0; t.rules && i < o->places_count && !judge; i++) {
        judge = vm_ruleset(L, vm_event(L, o->places[i].event))->judges[VERB_CONFIRM];
    }
    if (judge && o->status == ORDER_HELD && o->expires_ms > vm_of(L)->now_ms) {
        places_push_order(L, o);
        t.places = places_read(L, -1, NULL);
        struct places *none = places_new(L, 0);
        t.ask = (struct ask){ .verb = VERB_CONFIRM,
                              .after = "booked",
                              .customer = order_customer(o),
                              .order = 2,
                              .metadata = t.f.text.len > 0 ? t.f.text : order_metadata(o),
                              .seats = t.places,
                              .gains = none };
        judge_and_price(L, &t);
    }
    struct span metadata = t.f.text;
    t.f.text = span_make(NULL, 0);
    vm_do(L, &t.f);
    if (metadata.len > 0) {
        struct effect amend = {
            .kind = EFFECT_AMEND, .id = t.f.id, .set = SET_METADATA, .text = metadata
        };
        vm_do(L, &amend);
    }
    object_push_order(L, t.f.id);
    rules_hook(L, HOOK_CONFIRM, lua_gettop(L));
    return 1;
}

static uint32_t count_at(const struct place *list, uint32_t n, uint32_t event)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += list[i].event == event ? list[i].count : 0;
    }
    return count;
}

/* A closed event lets nobody new in; who is in may still be seated elsewhere, at check-in say. The
 * store holds a take to that, but not a reseat: logs are full of those it granted. */
static void check_open(lua_State *L, const struct places *after, const struct order *o)
{
    for (uint32_t i = 0; i < after->count; i++) {
        const struct place *p = &after->place[i];
        const struct event *ev = vm_event(L, p->event);
        if (!ev->open && count_at(after->place, after->count, p->event) >
                             count_at(o->places, o->places_count, p->event)) {
            vm_refusef(L, ERR_DENIED, "event %.*s is closed", (int)ev->id.len, ev->id.data);
        }
    }
}

/* tx:reseat(o, seats[, {rules=, overbook=}]) -> o. `seats` are all its places afterwards. */
static int do_reseat(lua_State *L)
{
    struct taking t;
    memset(&t, 0, sizeof(t));
    t.f.kind = EFFECT_RESEAT;
    lua_settop(L, 4);
    const struct order *o = object_order(L, 2);
    const struct event *ev =
        o->places_count > 0 ? store_event_number(vm_store(L), o->places[0].event) : NULL;
    options(L, 4, &t, "tx:reseat");
    hold_id(&t, o);
    t.places = places_read(L, 3, ev);
    if (t.rules) {
        check_open(L, t.places, o);
    }
    t.f.price = o->price;
    const struct places *before = places_of_order(L, o);
    const struct places *gains = places_minus(L, t.places, before);
    const struct places *leaves = places_minus(L, before, t.places);
    t.ask = (struct ask){ .verb = VERB_RESEAT,
                          .customer = order_customer(o),
                          .order = 2,
                          .metadata = order_metadata(o),
                          .seats = t.places,
                          .gains = gains,
                          .leaves = leaves };
    if (all_free(L, t.places, o)) {
        judge_and_price(L, &t);
    }
    set_places(L, &t);
    vm_do(L, &t.f);
    object_push_order(L, t.f.id);
    rules_hook(L, HOOK_RESEAT, lua_gettop(L));
    return 1;
}

static enum verb check_verb(lua_State *L)
{
    struct span word = vm_check_span(L, -1, "verb");
    for (int v = 0; v < VERBS; v++) {
        if (span_is(word, rules_verbs[v])) {
            return (enum verb)v;
        }
    }
    luaL_error(L, "tx:judge: verb is \"take\", \"confirm\", \"reseat\", \"extend\" or \"wait\"");
    return VERB_TAKE;
}

/* Who waits has no places yet, and gives none up. */
static struct places *waiting_places(lua_State *L, struct ask *ask, const struct event *ev)
{
    if (ev == NULL || ask->size < 1) {
        luaL_error(L, "tx:judge: \"wait\" needs the event and a count of 1 or more");
    }
    if (!lua_isnil(L, 3) || !lua_isnil(L, 4) || !lua_isnil(L, 5)) {
        luaL_error(L, "tx:judge: \"wait\" takes no seats, leaves or order");
    }
    ask->waits = ev;
    ask->after = "held";
    return places_new(L, 0);
}

/* What a tx:judge was given. */
struct judging {
    struct ask ask;
    bool rules, price, trace;
};

/* The table at 2. [-0, +4]: 3 seats, 4 leaves, 5 order, 6 event */
static void read_judging(lua_State *L, struct judging *j)
{
    static const char *const names[] = { "verb",     "customer", "seats", "leaves", "order",
                                         "metadata", "event",    "hold",  "price",  "count",
                                         "trace",    "rules",    NULL };
    memset(j, 0, sizeof(*j));
    j->rules = true;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 6);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, 2, names, "tx:judge")) >= 0; lua_pop(L, 1)) {
        switch (i) {
        case 0: j->ask.verb = (enum verb)check_verb(L); break;
        case 1: j->ask.customer = vm_check_span(L, -1, "customer"); break;
        case 2: lua_copy(L, -1, 3); break;
        case 3: lua_copy(L, -1, 4); break;
        case 4: lua_copy(L, -1, 5); break;
        case 5: j->ask.metadata = vm_check_span(L, -1, "metadata"); break;
        case 6: lua_copy(L, -1, 6); break;
        case 8: j->price = lua_toboolean(L, -1); break;
        case 9: j->ask.size = vm_check_integer(L, -1, "count"); break;
        case 10: j->trace = lua_toboolean(L, -1); break;
        case 11: j->rules = lua_toboolean(L, -1); break;
        default: j->ask.until_ms = vm_of(L)->now_ms + vm_check_duration(L, -1, "hold"); break;
        }
    }
}

/* The places it is about, and what is new and given up by them. [-0, +n] */
static struct places *judged_places(lua_State *L, struct ask *ask)
{
    const struct event *ev = lua_isnil(L, 6) ? NULL : vm_check_event(L, 6);
    if (ask->verb != VERB_WAIT && ask->size != 0) {
        luaL_error(L, "tx:judge: a count is for \"wait\": the seats say how many they are");
    }
    ask->order = lua_isnil(L, 5) ? 0 : 5;
    struct places *seats =
        ask->verb == VERB_WAIT ? waiting_places(L, ask, ev) : places_read(L, 3, ev);
    ask->seats = ask->gains = seats;
    if (!lua_isnil(L, 4)) {
        ask->leaves = places_read(L, 4, ev);
    }
    if (ask->order != 0 && ask->verb != VERB_TAKE) {
        const struct places *before = places_of_order(L, object_order(L, 5));
        ask->gains = places_minus(L, seats, before);
        if (ask->leaves == NULL) {
            ask->leaves = places_minus(L, before, seats);
        }
    }
    return seats;
}

/* tx:judge{verb=, customer=, seats=, leaves=, order=, metadata=, event=, hold=, price=, count=,
 * trace=, rules=} -> true[, price] | nil, denial. With `hold` as tx:take with the same, a take
 * without it is a booking. With `price` the price functions are asked as well, with `rules` = false
 * they alone. A "wait" has a `count` and no seats. With `trace` it is the request itself: a dry run
 * shows what each rule says. */
static int tx_judge(lua_State *L)
{
    struct judging j;
    read_judging(L, &j);
    if (j.ask.verb == VERB_TAKE) {
        j.ask.after = j.ask.until_ms != 0 ? "held" : "booked";
    }
    struct places *seats = judged_places(L, &j.ask);
    rules_push_ask(L, &j.ask);
    int ask = lua_gettop(L);
    lua_pushnil(L);
    if (j.rules) {
        rules_try(L, ask, j.trace);
    }
    if (lua_isnil(L, -1) && j.price) {
        rules_try_price(L, ask, seats);
    }
    if (!lua_isnil(L, -1)) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    int64_t total = 0;
    for (uint32_t i = 0; i < seats->count; i++) {
        total += seats->place[i].price; /* rules_price() has refused what is too much */
    }
    lua_pushboolean(L, 1);
    if (j.price) {
        lua_pushinteger(L, total);
    }
    return j.price ? 2 : 1;
}

/* With hooks, one of these is several effects: all or none, also when the script catches. */
static int tx_take(lua_State *L) { return rules_atomic(L, do_take); }
static int tx_confirm(lua_State *L) { return rules_atomic(L, do_confirm); }
static int tx_reseat(lua_State *L) { return rules_atomic(L, do_reseat); }

const luaL_Reg tx_write_methods[] = {
    { "take", tx_take }, { "confirm", tx_confirm }, { "reseat", tx_reseat },
    { "swap", tx_swap }, { "judge", tx_judge },     { NULL, NULL },
};
