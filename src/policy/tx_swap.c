/* tx:swap(o1, seats1, o2, seats2): two orders exchange seats in one effect.
 *
 * The exchange is carried out first and judged afterwards, for both orders, with the seats as
 * they are then: judged one by one before it, each order would see the other's seats as
 * taken, or its own as left free. A denial takes the effect back before it is raised, so a
 * script that catches it sees the orders as they were. */
#include <string.h>

#include "policy/vm.h"

struct side {
    int order;             /* stack index */
    char id[ID_BYTES_MAX]; /* copied: effects move orders in memory */
    size_t id_len;
    struct places *seats; /* what it gives, with their prices and types */
};

static struct span side_id(const struct side *s) { return span_make(s->id, s->id_len); }

/* The order's own place for one that was named: with the price and type it has there. */
static const struct place *own_place(lua_State *L, const struct order *o, const struct place *want)
{
    for (uint32_t i = 0; i < o->places_count; i++) {
        if (o->places[i].event == want->event && o->places[i].number == want->number) {
            return &o->places[i];
        }
    }
    const struct event *ev = vm_event(L, want->event);
    struct span label = place_label(ev, want->number);
    vm_refusef(L, ERR_NOTFOUND, "%.*s is not a seat of this order", (int)label.len, label.data);
    return NULL;
}

/* Reads one side; its places stay on the stack. [-0, +1] */
static void read_side(lua_State *L, int order, int seats, struct side *side)
{
    const struct order *o = object_order(L, order);
    const struct event *ev =
        o->places_count > 0 ? store_event_number(vm_store(L), o->places[0].event) : NULL;
    side->order = order;
    side->id_len = order_id(o).len;
    memcpy(side->id, order_id(o).data, side->id_len);
    side->seats = places_read(L, seats, ev);
    o = object_order(L, order);
    for (uint32_t i = 0; i < side->seats->count; i++) {
        if (side->seats->place[i].number & PLACE_AREA) {
            vm_refusef(L, ERR_BADARG, "only numbered seats are swapped");
        }
        side->seats->place[i] = *own_place(L, o, &side->seats->place[i]);
    }
}

static bool gives(const struct side *side, const struct place *p)
{
    for (uint32_t i = 0; i < side->seats->count; i++) {
        if (side->seats->place[i].event == p->event && side->seats->place[i].number == p->number) {
            return true;
        }
    }
    return false;
}

/* hold_max counts from an order's first hold, which a swap leaves with the order: a seat of an
 * older hold would begin anew in a younger one, and nobody else could ever get it. */
static void check_age(lua_State *L, const struct side *to, const struct side *from)
{
    const struct order *getter = object_order(L, to->order), *giver = object_order(L, from->order);
    if (getter->status == ORDER_HELD && giver->status == ORDER_HELD &&
        giver->first_held_ms < getter->first_held_ms) {
        struct span seat =
            place_label(vm_event(L, from->seats->place[0].event), from->seats->place[0].number);
        struct error e;
        error_clear(&e);
        (void)error_set(&e, ERR_LIMIT, "%.*s cannot go into a hold that began after its own",
                        (int)seat.len, seat.data);
        error_hint(&e, "confirm order %.*s first", (int)to->id_len, to->id);
        vm_refuse_seat(L, &e, seat);
    }
}

/* tx:amend may have made an order cheaper than the seats it gives. The store would let the first
 * of two fall below nothing, and refuse the second in words that help nobody. */
static void check_price(lua_State *L, const struct side *side, int64_t price)
{
    if (price < 0) {
        vm_refusef(L, ERR_CONFLICT, "order %.*s would cost %lld: it was cheaper than its seats",
                   (int)side->id_len, side->id, (long long)price);
    }
}

/* Carries the exchange out. [-0, +1] */
static void exchange(lua_State *L, const struct side *one, const struct side *two, bool unjudged)
{
    const struct order *o = object_order(L, one->order);
    struct places *after = places_new(L, o->places_count + two->seats->count);
    int64_t price = o->price;
    after->count = 0;
    for (uint32_t i = 0; i < o->places_count; i++) {
        if (gives(one, &o->places[i])) {
            price -= o->places[i].price;
        } else {
            after->place[after->count++] = o->places[i];
        }
    }
    for (uint32_t i = 0; i < two->seats->count; i++) {
        after->place[after->count++] = two->seats->place[i];
        price += two->seats->place[i].price;
    }
    check_price(L, one, price);
    check_price(L, two, object_order(L, two->order)->price + o->price - price);
    struct effect f = { .kind = EFFECT_RESEAT,
                        .id = side_id(one),
                        .id2 = side_id(two),
                        .places = after->place,
                        .places_count = after->count,
                        .price = price,
                        .version = vm_of(L)->active.version,
                        .unjudged = unjudged };
    vm_do(L, &f);
}

/* Judges one order as it is now; a denial is on top then. [-0, +1 or 0] */
static bool denied(lua_State *L, const struct side *side, const struct side *other)
{
    bool judge, price;
    int top = lua_gettop(L);
    places_push_order(L, object_order(L, side->order));
    struct places *seats = places_read(L, -1, NULL);
    const struct order *o = object_order(L, side->order);
    struct ask ask = { .verb = VERB_RESEAT,
                       .customer = order_customer(o),
                       .metadata = order_metadata(o),
                       .order = side->order,
                       .seats = seats,
                       .gains = other->seats,
                       .leaves = side->seats,
                       .exchange = true };
    rules_wanted(L, seats, VERB_RESEAT, &judge, &price);
    if (judge) {
        rules_push_ask(L, &ask);
        rules_try(L, -1, true);
        if (!lua_isnil(L, -1)) {
            return true;
        }
    }
    lua_settop(L, top);
    return false;
}

/* tx:swap(o1, seats1, o2, seats2[, {rules=}]) -> o1, o2 */
static int do_swap(lua_State *L)
{
    struct side one = { 0 }, two = { 0 };
    bool rules = true;
    (void)object_check(L, 1, OBJECT_TX);
    lua_settop(L, 6);
    if (!lua_isnil(L, 6)) {
        luaL_checktype(L, 6, LUA_TTABLE);
        rules = lua_getfield(L, 6, "rules") == LUA_TNIL || lua_toboolean(L, -1);
        lua_settop(L, 6);
    }
    read_side(L, 2, 3, &one);
    read_side(L, 4, 5, &two);
    if (rules) {
        check_age(L, &one, &two);
        check_age(L, &two, &one);
    }
    size_t mark = store_tx_mark(vm_store(L));
    exchange(L, &one, &two, !rules);
    if (rules && (denied(L, &one, &two) || denied(L, &two, &one))) {
        store_tx_undo_to(vm_store(L), mark);
        return lua_error(L);
    }
    object_push_order(L, side_id(&one));
    rules_hook(L, HOOK_RESEAT, lua_gettop(L));
    object_push_order(L, side_id(&two));
    rules_hook(L, HOOK_RESEAT, lua_gettop(L));
    return 2;
}

/* A hook may deny what is done by then: all or nothing, also when the script catches it. */
int tx_swap(lua_State *L) { return rules_atomic(L, do_swap); }
