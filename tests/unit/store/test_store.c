/* Every effect on orders and seats, and every refusal with its words. */
#include "kit.h"

/* A taken seat is refused by name and state, for a hold and for a booking, and never by
 * naming who has it. */
static void test_taken(void **state)
{
    struct kit *k = *state;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 A2", 0), 0);
    assert_int_equal(kit_take(k, "o2", "ann", "1", "B1", T0 + 10), 0);
    assert_refused(k, kit_take(k, "o3", "bob", "1", "A3 A1", 0), ERR_TAKEN,
                   "seat A1 of event 1 is booked");
    assert_refused(k, kit_take(k, "o3", "bob", "1", "B1", 0), ERR_TAKEN,
                   "seat B1 of event 1 is held");
    assert_int_equal(kit_seat(k, "1", "A3"), SEAT_FREE);
    assert_int_equal(kit_take(k, "o3", "bob", "2", "A1", 0), 0);
}

/* What a taken order looks like from all sides. */
static void test_order_shows(void **state)
{
    struct kit *k = *state;
    struct place places[4];
    struct span types[] = { sp("child"), sp("") };
    struct effect f = { .kind = EFFECT_TAKE,
                        .id = sp("o1"),
                        .customer = sp("ann"),
                        .text = sp("{\"note\":1}"),
                        .types = types,
                        .price = 250,
                        .until_ms = T0 + 5000,
                        .version = 7,
                        .unjudged = true };
    f.places_count = kit_places(k, "1", "A1 2:B2", places);
    places[0].price = 100;
    places[1].price = 150;
    f.places = places;
    assert_int_equal(kit_do(k, f), 0);
    const struct order *o = store_order(k->s, sp("o1"));
    assert_non_null(o);
    assert_true(span_is(order_id(o), "o1") && span_is(order_customer(o), "ann"));
    assert_true(span_is(order_metadata(o), "{\"note\":1}"));
    assert_int_equal(o->status, ORDER_HELD);
    assert_int_equal(o->expires_ms, T0 + 5000);
    assert_int_equal(o->first_held_ms, T0);
    assert_int_equal(o->index, k->index);
    assert_int_equal(o->price, 250);
    assert_int_equal(o->policy, 7);
    assert_int_equal(o->unjudged, 1);
    assert_int_equal(o->places[1].price, 150);
    assert_true(span_is(store_name(k->s, o->places[0].type), "child"));
    assert_int_equal(o->places[1].type, 0);
    const struct event *ev = store_event(k->s, sp("2"));
    assert_ptr_equal(store_seat_order(k->s, ev, o->places[1].number), o);
    assert_int_equal(ev->counts[SEAT_HELD], 1);
    assert_int_equal(ev->counts[SEAT_FREE], 17);
    assert_int_equal(ev->index, k->index);
    struct customer_use use = store_customer(k->s, ev, sp("ann"), -1);
    assert_int_equal(use.held, 1);
    assert_ptr_equal(store_next_expiry(k->s), o);
    uint8_t map[18];
    store_seats(k->s, ev, map);
    assert_int_equal(map[o->places[1].number], SEAT_HELD);
}

/* Arguments that make no sense are refused before anything is looked at. */
static void test_take_bad_arguments(void **state)
{
    struct kit *k = *state;
    assert_refused(k, kit_take(k, "o1", "ann", "1", "A1 A1", 0), ERR_BADARG,
                   "seat A1 of event 1 is named twice");
    assert_refused(k, kit_take(k, "o1", "ann", "1", "", 0), ERR_BADARG,
                   "an order needs at least one seat");
    assert_refused(k, kit_take(k, "-o", "ann", "1", "A1", 0), ERR_BADARG,
                   "the order's id is not a valid id");
    assert_refused(k, kit_take(k, "o", "a n", "1", "A1", 0), ERR_BADARG,
                   "the customer is not a valid id");
    assert_refused(k, kit_take(k, "o", "ann", "1", "A1", T0), ERR_BADARG,
                   "the hold would end before it begins");
    assert_refused(k, kit_take(k, "o", "ann", "1", "FLOOR*0", 0), ERR_BADARG,
                   "0 places of an area: must be 1 to 1000");
    struct place places[] = { { .event = 9, .count = 1 },
                              { .event = 1, .number = 99, .count = 1 },
                              { .event = 1, .count = 2 },
                              { .event = 1, .number = PLACE_AREA | 7, .count = 1 },
                              { .event = 1, .number = 1, .count = 1, .type = 5 } };
    struct effect f = {
        .kind = EFFECT_TAKE, .id = sp("o"), .customer = sp("ann"), .places_count = 1
    };
    f.places = &places[0];
    assert_refused(k, kit_do(k, f), ERR_NOTFOUND, "no event has number 9");
    f.places = &places[1];
    assert_refused(k, kit_do(k, f), ERR_NOTFOUND, "event 1 has no seat number 99");
    f.places = &places[2];
    assert_refused(k, kit_do(k, f), ERR_BADARG, "a numbered seat is taken once, not 2 times");
    f.places = &places[3];
    assert_refused(k, kit_do(k, f), ERR_NOTFOUND, "event 1 has no area number 7");
    f.places = &places[4];
    assert_refused(k, kit_do(k, f), ERR_BADARG, "no ticket type has number 5");
    f.price = PRICE_MAX + 1;
    assert_refused(k, kit_do(k, f), ERR_BADARG, "the price is out of range");
    f.price = 0;
    f.places_count = ORDER_SEATS_MAX + 1;
    struct place *many = calloc(f.places_count, sizeof *many);
    for (uint32_t i = 0; i < f.places_count; i++) {
        many[i] = (struct place){ .event = 1, .number = PLACE_AREA, .count = 1 };
    }
    f.places = many;
    assert_refused(k, kit_do(k, f), ERR_TOOBIG, "1001 places in one order; at most 1000");
    free(many);
    assert_int_equal(kit_take(k, "o", "ann", "1", "A1", 0), 0);
    assert_refused(k, kit_take(k, "o", "ann", "1", "A2", 0), ERR_CONFLICT,
                   "order o exists already");
}

/* A closed event lets nothing new in, but holds may be confirmed; an order counts in one
 * currency, which the first order fixes. */
static void test_closed_and_currency(void **state)
{
    struct kit *k = *state;
    struct effect eur = {
        .kind = EFFECT_EVENT_SET, .id = sp("1"), .set = SET_CURRENCY, .currency = sp("EUR")
    };
    struct effect sek = {
        .kind = EFFECT_EVENT_SET, .id = sp("2"), .set = SET_CURRENCY, .currency = sp("SEK")
    };
    struct effect closed = { .kind = EFFECT_EVENT_SET, .id = sp("1"), .set = SET_OPEN };
    assert_int_equal(kit_do(k, eur), 0);
    assert_int_equal(kit_do(k, sek), 0);
    assert_refused(k, kit_take(k, "o1", "ann", "1", "A1 2:A1", 0), ERR_CONFLICT,
                   "events 1 and 2 have different currencies");
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1", T0 + 10), 0);
    eur.currency = sp("USD");
    assert_refused(k, kit_do(k, eur), ERR_CONFLICT,
                   "the currency of event 1 is fixed by its first order");
    sek.currency = sp("sek");
    assert_refused(k, kit_do(k, sek), ERR_BADARG, "a currency has three capital letters, like EUR");
    assert_int_equal(kit_do(k, closed), 0);
    assert_refused(k, kit_take(k, "o2", "ann", "1", "A2", 0), ERR_DENIED, "event 1 is closed");
    assert_int_equal(kit_do(k, (struct effect){ .kind = EFFECT_CONFIRM, .id = sp("o1") }), 0);
}

/* A hold is confirmed or extended only before its end, and only once. */
static void test_hold(void **state)
{
    struct kit *k = *state;
    struct effect confirm = { .kind = EFFECT_CONFIRM, .id = sp("o1") };
    struct effect extend = { .kind = EFFECT_EXTEND, .id = sp("o1"), .until_ms = T0 + 200 };
    assert_refused(k, kit_do(k, confirm), ERR_NOTFOUND, "order o1 does not exist");
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1", T0 + 100), 0);
    k->time_ms = T0 + 99;
    assert_int_equal(kit_do(k, extend), 0);
    assert_int_equal(store_order(k->s, sp("o1"))->first_held_ms, T0);
    extend.until_ms = T0 + 99;
    assert_refused(k, kit_do(k, extend), ERR_BADARG, "the hold would end before it begins");
    k->time_ms = T0 + 200;
    extend.until_ms = T0 + 300;
    assert_refused(k, kit_do(k, confirm), ERR_EXPIRED, "the hold of order o1 has expired");
    assert_refused(k, kit_do(k, extend), ERR_EXPIRED, "the hold of order o1 has expired");
    assert_refused(k, kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "A2"), ERR_EXPIRED,
                   "the hold of order o1 has expired");
    assert_int_equal(kit_seat(k, "1", "A1"), SEAT_HELD);
    assert_int_equal(kit_take(k, "o2", "ann", "1", "A2", T0 + 300), 0);
    confirm.id = sp("o2");
    assert_int_equal(kit_do(k, confirm), 0);
    assert_int_equal(store_order(k->s, sp("o2"))->expires_ms, 0);
    assert_refused(k, kit_do(k, confirm), ERR_CONFLICT, "order o2 is booked already");
}

/* Ends free the seats, keep the order's list of them, and happen once. */
static void test_finish(void **state)
{
    struct kit *k = *state;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 A2", T0 + 100), 0);
    assert_int_equal(kit_take(k, "o2", "ann", "1", "B1 B2 FLOOR*4", 0), 0);
    assert_refused(k, kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_RELEASED, "1", ""),
                   ERR_CONFLICT, "order o2 is booked, so it can only be cancelled");
    assert_refused(k, kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_BOOKED, "1", ""), ERR_BADARG,
                   "an order cannot end as booked");
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_EXPIRED, "1", ""), 0);
    const struct order *o = store_order(k->s, sp("o1"));
    assert_int_equal(o->status, ORDER_EXPIRED);
    assert_int_equal(o->places_count, 2);
    assert_int_equal(kit_seat(k, "1", "A1"), SEAT_FREE);
    assert_ptr_equal(store_oldest_ended(k->s), o);
    assert_null(store_next_expiry(k->s));
    assert_refused(k, kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_EXPIRED, "1", ""),
                   ERR_EXPIRED, "order o1 is expired already");
    assert_refused(k, kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_CANCELLED, "1", "A1"),
                   ERR_NOTFOUND, "order o2 does not hold A1");
    assert_refused(k, kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_CANCELLED, "1", "FLOOR*5"),
                   ERR_NOTFOUND, "order o2 does not hold FLOOR as often as that");
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_CANCELLED, "1", "B1 FLOOR*3"),
                     0);
    o = store_order(k->s, sp("o2"));
    assert_int_equal(o->status, ORDER_BOOKED);
    assert_int_equal(o->places_count, 2);
    assert_int_equal(store_area(k->s, store_event(k->s, sp("1")), 0).booked, 1);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_CANCELLED, "1", "B2 FLOOR*1"),
                     0);
    assert_int_equal(store_order(k->s, sp("o2"))->status, ORDER_CANCELLED);
    assert_int_equal(store_order(k->s, sp("o2"))->places_count, 2);
    assert_int_equal(store_customer(k->s, store_event(k->s, sp("1")), sp("ann"), -1).booked, 0);
}

/* The price of places that leave goes with them, also of some of an area's. */
static void test_prices(void **state)
{
    struct kit *k = *state;
    struct place places[2];
    struct effect f = {
        .kind = EFFECT_TAKE, .id = sp("o1"), .customer = sp("ann"), .price = 400, .places = places
    };
    f.places_count = kit_places(k, "1", "A1 FLOOR*3", places);
    places[0].price = 100;
    places[1].price = 300;
    assert_int_equal(kit_do(k, f), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_CANCELLED, "1", "FLOOR*2"), 0);
    const struct order *o = store_order(k->s, sp("o1"));
    assert_int_equal(o->price, 200);
    assert_int_equal(o->places[1].price, 100);
    struct effect amend = { .kind = EFFECT_AMEND,
                            .id = sp("o1"),
                            .price = 7,
                            .set = SET_PRICE | SET_METADATA,
                            .text = sp("{}") };
    assert_int_equal(kit_do(k, amend), 0);
    assert_int_equal(store_order(k->s, sp("o1"))->price, 7);
    assert_true(span_is(order_metadata(store_order(k->s, sp("o1"))), "{}"));
}

/* A late confirm takes the expired order's own seats again, if they are free. */
static void test_late_confirm(void **state)
{
    struct kit *k = *state;
    struct effect late = { .kind = EFFECT_TAKE, .id = sp("o1"), .late = true };
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 A2", T0 + 100), 0);
    assert_refused(k, kit_do(k, late), ERR_CONFLICT, "order o1 is held, not expired");
    k->time_ms = T0 + 100;
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_EXPIRED, "1", ""), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "1", "A2", 0), 0);
    assert_refused(k, kit_do(k, late), ERR_TAKEN, "seat A2 of event 1 is booked");
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o2", ORDER_CANCELLED, "1", ""), 0);
    struct place other[1];
    late.places_count = kit_places(k, "1", "A3", other);
    late.places = other;
    assert_refused(k, kit_do(k, late), ERR_BADARG,
                   "a late confirm takes the order's own seats again");
    late.places_count = 0;
    assert_int_equal(kit_do(k, late), 0);
    const struct order *o = store_order(k->s, sp("o1"));
    assert_int_equal(o->status, ORDER_BOOKED);
    assert_int_equal(o->first_held_ms, T0);
    assert_int_equal(kit_seat(k, "1", "A1"), SEAT_BOOKED);
}

/* A reseat counts the order's own seats as free and may cross events. */
static void test_reseat(void **state)
{
    struct kit *k = *state;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 A2 FLOOR*9", T0 + 100), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "1", "A4", 0), 0);
    assert_refused(k, kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "A3 A4"), ERR_TAKEN,
                   "seat A4 of event 1 is booked");
    assert_refused(k, kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "A2 A3 A2"), ERR_BADARG,
                   "seat A2 of event 1 is named twice");
    assert_refused(k, kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "FLOOR*11"), ERR_TAKEN,
                   "area FLOOR of event 1 has 10 places left");
    assert_int_equal(kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "1", "A2 A3 FLOOR*10"), 0);
    assert_int_equal(kit_seat(k, "1", "A1"), SEAT_FREE);
    assert_int_equal(kit_seat(k, "1", "A2"), SEAT_HELD);
    assert_int_equal(kit_places_effect(k, EFFECT_RESEAT, "o1", 0, "2", "B1 1:C1"), 0);
    assert_int_equal(store_event(k->s, sp("1"))->counts[SEAT_HELD], 1);
    assert_int_equal(store_customer(k->s, store_event(k->s, sp("2")), sp("ann"), -1).held, 1);
}

/* Some places become a new order with a price of its own; both stay live. */
static void test_split(void **state)
{
    struct kit *k = *state;
    struct place places[4];
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1 A2 FLOOR*3", T0 + 100), 0);
    struct effect f = { .kind = EFFECT_SPLIT, .id = sp("o1"), .id2 = sp("o2"), .price = 30 };
    assert_refused(k, kit_do(k, f), ERR_BADARG, "a split needs the seats of the new order");
    f.places_count = kit_places(k, "1", "A2 FLOOR*1", places);
    f.places = places;
    f.id2 = sp("o1");
    assert_refused(k, kit_do(k, f), ERR_CONFLICT, "order o1 exists already");
    f.id2 = sp("o2");
    assert_int_equal(kit_do(k, f), 0);
    const struct order *a = store_order(k->s, sp("o1")), *b = store_order(k->s, sp("o2"));
    assert_int_equal(a->price, 70);
    assert_int_equal(b->price, 30);
    assert_int_equal(b->status, ORDER_HELD);
    assert_int_equal(b->expires_ms, T0 + 100);
    assert_true(span_is(order_customer(b), "ann"));
    assert_int_equal(a->places[1].count, 2);
    assert_int_equal(b->places[1].count, 1);
    f.id = sp("o2");
    f.id2 = sp("o3");
    assert_refused(k, kit_do(k, f), ERR_BADARG, "a split must leave a seat in order o2");
}

/* Areas end at their capacity unless the effect says overbook. */
static void test_areas(void **state)
{
    struct kit *k = *state;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "FLOOR*4 FLOOR*4", 0), 0);
    assert_refused(k, kit_take(k, "o2", "bob", "1", "FLOOR*3", 0), ERR_TAKEN,
                   "area FLOOR of event 1 has 2 places left");
    assert_refused(k, kit_take(k, "o2", "bob", "1", "FLOOR*1 LAWN*1 FLOOR*2", 0), ERR_TAKEN,
                   "area FLOOR of event 1 has 2 places left");
    struct place places[1];
    struct effect f = { .kind = EFFECT_TAKE,
                        .id = sp("o2"),
                        .customer = sp("bob"),
                        .places = places,
                        .overbook = true };
    f.places_count = kit_places(k, "1", "FLOOR*3", places);
    assert_int_equal(kit_do(k, f), 0);
    assert_int_equal(store_area(k->s, store_event(k->s, sp("1")), 0).booked, 11);
    assert_int_equal(store_customer(k->s, store_event(k->s, sp("1")), sp("ann"), 0).booked, 8);
    assert_int_equal(store_customer(k->s, store_event(k->s, sp("1")), sp("ann"), 1).booked, 0);
}

/* Blocked seats keep their reason, cannot be taken, and only free ones can be blocked. */
static void test_block(void **state)
{
    struct kit *k = *state;
    struct place places[3];
    struct effect f = { .kind = EFFECT_BLOCK, .text = sp("rain"), .places = places };
    f.places_count = kit_places(k, "1", "A1 A2", places);
    assert_int_equal(kit_do(k, f), 0);
    assert_true(span_is(store_seat_reason(k->s, store_event(k->s, sp("1")), 0), "rain"));
    assert_refused(k, kit_take(k, "o1", "ann", "1", "A1", 0), ERR_TAKEN,
                   "seat A1 of event 1 is blocked");
    f.places_count = kit_places(k, "1", "A3 A2", places);
    assert_refused(k, kit_do(k, f), ERR_TAKEN, "seat A2 of event 1 is blocked");
    assert_int_equal(kit_seat(k, "1", "A3"), SEAT_FREE);
    f.kind = EFFECT_UNBLOCK;
    f.text = sp("");
    assert_refused(k, kit_do(k, f), ERR_CONFLICT, "seat A3 of event 1 is free, not blocked");
    f.places_count = kit_places(k, "1", "A2", places);
    assert_int_equal(kit_do(k, f), 0);
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A2", 0), 0);
    f.places_count = kit_places(k, "1", "FLOOR*1", places);
    assert_refused(k, kit_do(k, f), ERR_BADARG,
                   "an area cannot be blocked; its capacity is the chart's");
}

/* Only ended orders can be dropped; a dropped one is gone, and its result says so. */
static void test_drop(void **state)
{
    struct kit *k = *state;
    struct effect drop = { .kind = EFFECT_ORDER_DROP, .id = sp("o1") };
    struct effect result = { .kind = EFFECT_RESULT,
                             .user = sp("u"),
                             .request = sp("r1"),
                             .id2 = sp("o1"),
                             .args_digest = 42 };
    struct result r;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1", 0), 0);
    assert_int_equal(kit_do(k, result), 0);
    assert_true(store_result(k->s, sp("u"), sp("r1"), &r));
    assert_true(span_is(r.order, "o1") && r.args_digest == 42 && r.time_ms == T0);
    assert_refused(k, kit_do(k, drop), ERR_CONFLICT,
                   "order o1 is booked; only an ended order can be dropped");
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_CANCELLED, "1", ""), 0);
    assert_int_equal(kit_do(k, drop), 0);
    assert_null(store_order(k->s, sp("o1")));
    assert_int_equal(kit_take(k, "o9", "bob", "1", "A1", 0), 0); /* takes over the slot */
    assert_true(store_result(k->s, sp("u"), sp("r1"), &r));
    assert_int_equal(r.order.len, 0);
}

/* Forgetting replaces a customer on all orders, live and ended, and drops metadata. */
static void test_forget(void **state)
{
    struct kit *k = *state;
    struct effect f = { .kind = EFFECT_FORGET, .id = sp("ann"), .id2 = sp("x1") };
    assert_refused(k, kit_do(k, f), ERR_NOTFOUND, "customer ann has no orders");
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1", 0), 0);
    assert_int_equal(kit_take(k, "o2", "ann", "2", "A1", T0 + 10), 0);
    assert_int_equal(kit_take(k, "o3", "bob", "2", "A2", 0), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_CANCELLED, "1", ""), 0);
    f.id2 = sp("bob");
    assert_refused(k, kit_do(k, f), ERR_CONFLICT, "the customer's new id is in use");
    f.id2 = sp("x1");
    assert_int_equal(kit_do(k, f), 0);
    assert_true(span_is(order_customer(store_order(k->s, sp("o1"))), "x1"));
    assert_true(span_is(order_customer(store_order(k->s, sp("o2"))), "x1"));
    const struct event *ev = store_event(k->s, sp("2"));
    assert_int_equal(store_customer(k->s, ev, sp("ann"), -1).held, 0);
    assert_int_equal(store_customer(k->s, ev, sp("x1"), -1).held, 1);
}

struct collected {
    char text[256];
    int limit;
};

static bool collect(void *arg, const struct order *o)
{
    struct collected *c = arg;
    size_t len = strlen(c->text);
    (void)snprintf(c->text + len, sizeof c->text - len, "%.*s ", (int)o->id_len, order_id(o).data);
    return --c->limit > 0;
}

static const char *list(const struct kit *k, struct order_filter f, int limit)
{
    static struct collected c;
    c.text[0] = 0;
    c.limit = limit;
    store_orders(k->s, &f, collect, &c);
    return c.text;
}

/* Lists come in order of creation whatever the filter, and resume after an order. */
static void test_lists(void **state)
{
    struct kit *k = *state;
    assert_int_equal(kit_take(k, "o1", "ann", "1", "A1", 0), 0);
    assert_int_equal(kit_take(k, "o2", "bob", "2", "A1 1:A2", 0), 0);
    assert_int_equal(kit_take(k, "o3", "ann", "1", "A3 2:A3", T0 + 9), 0);
    assert_int_equal(kit_take(k, "o4", "ann", "2", "A4", 0), 0);
    assert_int_equal(kit_take(k, "o5", "bob", "1", "A5", 0), 0);
    assert_int_equal(kit_places_effect(k, EFFECT_FINISH, "o1", ORDER_CANCELLED, "1", ""), 0);
    const struct event *one = store_event(k->s, sp("1")), *two = store_event(k->s, sp("2"));
    assert_string_equal(list(k, (struct order_filter){ .status = -1 }, 9), "o1 o2 o3 o4 o5 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -1 }, 2), "o1 o2 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .after = sp("o2") }, 2),
                        "o3 o4 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -2, .event = one }, 9),
                        "o2 o3 o5 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .event = one }, 9),
                        "o1 o2 o3 o5 ");
    assert_string_equal(
        list(k, (struct order_filter){ .status = -1, .event = two, .after = sp("o2") }, 9),
        "o3 o4 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .customer = sp("ann") }, 9),
                        "o1 o3 o4 ");
    assert_string_equal(
        list(k, (struct order_filter){ .status = ORDER_HELD, .customer = sp("ann") }, 9), "o3 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .customer = sp("x") }, 9), "");
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .after = sp("gone") }, 9), "");
    assert_int_equal(kit_places_effect(k, EFFECT_RESEAT, "o2", 0, "1", "C1"), 0);
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .event = one }, 9),
                        "o1 o2 o3 o5 ");
    assert_string_equal(list(k, (struct order_filter){ .status = -1, .event = two }, 9), "o3 o4 ");
}

/* A list of all orders goes past the scan's window without loss or repetition. */
static void test_long_list(void **state)
{
    struct kit *k = *state;
    kit_add_chart(k, "big", 60, 60);
    kit_add_event(k, "3", "big");
    kit_group(k);
    for (uint32_t i = 0; i < 3000; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "n%u", i);
        struct place p = { .event = kit_event(k, "3"), .number = i, .count = 1 };
        struct effect f = { .kind = EFFECT_TAKE,
                            .id = sp(id),
                            .customer = sp("ann"),
                            .places = &p,
                            .places_count = 1 };
        assert_int_equal(store_do(k->s, &f, &k->e), 0);
    }
    kit_commit(k);
    struct order_filter f = { .status = -1 };
    for (uint32_t from = 0; from < 3000; from += 1000) {
        char text[16];
        (void)snprintf(text, sizeof text, "n%u ", from);
        assert_string_equal(list(k, f, 1), text);
        static char after[16];
        (void)snprintf(after, sizeof after, "n%u", from + 999);
        f.after = sp(after);
    }
    f.after = sp("");
    assert_int_equal(strncmp(list(k, f, 9999), "n0 n1 n2 n3 n4 n5 n6 ", 21), 0);
}

/* Whatever was taken, extended or released in between, holds come up for expiry in order
 * of their time, and ended orders in order of their end; equal times by age. */
static void test_queues(void **state)
{
    struct kit *k = *state;
    kit_add_chart(k, "big", 30, 20);
    kit_add_event(k, "3", "big");
    uint32_t event = kit_event(k, "3"), random = 12345, live = 0;
    for (uint32_t i = 0; i < 600; i++) {
        char id[16];
        random = random * 1103515245u + 12345u;
        uint64_t until = T0 + 1 + (random >> 16) % 5000;
        struct place p = { .event = event, .number = i, .count = 1 };
        struct effect f = { .kind = EFFECT_TAKE,
                            .customer = sp("ann"),
                            .until_ms = until,
                            .places = &p,
                            .places_count = 1 };
        (void)snprintf(id, sizeof id, "q%u", i);
        f.id = sp(id);
        assert_int_equal(kit_do(k, f), 0);
        (void)snprintf(id, sizeof id, "q%u", i / 3);
        f = (struct effect){ .kind = i % 3 == 0 ? EFFECT_CONFIRM : EFFECT_EXTEND,
                             .id = sp(id),
                             .until_ms = T0 + 1 + (random >> 8) % 9000 };
        live += kit_do(k, f) != 0 || f.kind == EFFECT_EXTEND;
    }
    assert_true(live > 300);
    uint64_t last = 0;
    const struct order *o;
    while ((o = store_next_expiry(k->s)) != NULL) {
        assert_true(o->expires_ms >= last);
        last = o->expires_ms;
        k->time_ms = last + (uint64_t)(last % 7 == 0);
        struct effect f = { .kind = EFFECT_FINISH, .id = order_id(o), .code = ORDER_EXPIRED };
        assert_int_equal(kit_do(k, f), 0);
    }
    last = 0;
    while ((o = store_oldest_ended(k->s)) != NULL) {
        assert_true(o->changed_ms >= last);
        last = o->changed_ms;
        struct effect f = { .kind = EFFECT_ORDER_DROP, .id = order_id(o) };
        assert_int_equal(kit_do(k, f), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)
        T(test_taken),
        T(test_order_shows),
        T(test_take_bad_arguments),
        T(test_closed_and_currency),
        T(test_hold),
        T(test_finish),
        T(test_prices),
        T(test_late_confirm),
        T(test_reseat),
        T(test_split),
        T(test_areas),
        T(test_block),
        T(test_drop),
        T(test_forget),
        T(test_lists),
        T(test_long_list),
        T(test_queues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
