/* Some places of an order, by ticket type: what a partial finish and a split are about.
 *
 * Their effects name event, place and count but no ticket type, and the store takes an area's
 * places from the order's first entry on (do_party.c); logs are read so for ever. So where another
 * type is meant than the first, the order's entries are put into a new sequence before: those that
 * go, one by one as they are named, then those that stay. That is a reseat which changes nothing
 * else, so it is neither judged nor priced, and every version of the program can read it.
 *
 * P1 a place without a type means the order's first ones of it, whatever their type.
 * P2 price and type of what goes are those that the order has for it. */
#include "policy/vm.h"

struct division {
    const struct order *o;
    const struct places *want;
    struct places *go, *stay; /* entries of the order, some of them parts of one */
    bool other_first;         /* the store would take other entries than `go` */
};

static bool type_fits(lua_State *L, const struct place *own, struct span type)
{
    if (type.len == 0 || !(own->number & PLACE_AREA)) {
        return true;
    }
    return own->type != 0 && span_eq(store_name(vm_store(L), own->type), type);
}

static void move_part(struct division *d, struct place *from, uint32_t count)
{
    struct place *to = &d->go->place[d->go->count++];
    *to = *from;
    to->count = count;
    to->price = place_share(from, count);
    from->count -= count;
    from->price -= to->price;
}

/* Takes the k-th wanted place; how many of it the order does not have. */
static uint32_t take_part(lua_State *L, struct division *d, uint32_t k)
{
    const struct place *want = &d->want->place[k];
    uint32_t left = want->count;
    for (uint32_t i = 0; i < d->o->places_count && left > 0; i++) {
        struct place *from = &d->stay->place[i];
        if (from->event != want->event || from->number != want->number || from->count == 0) {
            continue;
        }
        if (!type_fits(L, from, d->want->type[k])) {
            d->other_first = true;
            continue;
        }
        uint32_t count = left < from->count ? left : from->count;
        move_part(d, from, count);
        left -= count;
    }
    return left;
}

/* The store refuses what is not there, but it does not know of types. */
static void refuse_type(lua_State *L, const struct division *d, uint32_t k)
{
    const struct place *want = &d->want->place[k];
    struct span id = order_id(d->o), type = d->want->type[k];
    struct span label = place_label(vm_event(L, want->event), want->number);
    vm_refusef(L, ERR_NOTFOUND, "order %.*s does not hold %.*s=%.*s as often as that", (int)id.len,
               id.data, (int)label.len, label.data, (int)type.len, type.data);
}

static bool over_capacity(lua_State *L, const struct order *o)
{
    bool over = false;
    for (uint32_t i = 0; i < o->places_count && !over; i++) {
        const struct place *p = &o->places[i];
        if (p->number & PLACE_AREA) {
            uint32_t area = p->number & ~PLACE_AREA;
            const struct event *ev = vm_event(L, p->event);
            struct area_use use = store_area(vm_store(L), ev, area);
            over = (uint64_t)use.held + use.booked > chart_area(ev->chart, area).capacity;
        }
    }
    return over;
}

static void put_first(lua_State *L, struct span id, struct division *d)
{
    const struct order *o = d->o;
    struct places *all = d->go;
    for (uint32_t i = 0; i < o->places_count; i++) {
        if (d->stay->place[i].count > 0) {
            all->place[all->count++] = d->stay->place[i];
        }
    }
    struct effect f = { .kind = EFFECT_RESEAT,
                        .id = id,
                        .places = all->place,
                        .places_count = all->count,
                        .price = o->price,
                        .version = o->policy,
                        .unjudged = o->unjudged,
                        .overbook = over_capacity(L, o) };
    vm_do(L, &f);
}

int64_t parts_arrange(lua_State *L, struct span id, const struct places *want)
{
    int top = lua_gettop(L);
    const struct order *o = store_order(vm_store(L), id);
    if (o == NULL || !order_live(o)) {
        return 0; /* the store refuses and says why */
    }
    struct division d = { .o = o, .want = want };
    d.go = places_new(L, want->count + 2u * o->places_count);
    d.stay = places_new(L, o->places_count);
    d.go->count = 0;
    int64_t price = 0;
    for (uint32_t i = 0; i < o->places_count; i++) {
        d.stay->place[i] = o->places[i];
    }
    for (uint32_t k = 0; k < want->count; k++) {
        if (take_part(L, &d, k) > 0 && want->type[k].len > 0) {
            refuse_type(L, &d, k);
        }
    }
    for (uint32_t i = 0; i < d.go->count; i++) {
        price += d.go->place[i].price;
    }
    if (d.other_first) {
        put_first(L, id, &d);
    }
    lua_settop(L, top);
    return price;
}
