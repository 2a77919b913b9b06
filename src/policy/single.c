/* What rules ask about a seat's surroundings, answered in C because a rule asks it for every
 * booking:
 *
 *   tx:single(ask[, aisles])              the free seat that a request would leave alone, or nil
 *   tx:within(seat, distance[, same_row]) taken seats nearer than `distance`
 *
 * Both look at the house as it is; an ask's `gains` are the seats that the request newly takes,
 * its `leaves` those it gives up (in an exchange to the other order: they are not free). */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/best_order.h"
#include "policy/single.h"
#include "policy/vm.h"

/* ---- tx:single ------------------------------------------------------------------------ */

struct view {
    const struct store *store;
    const struct event *ev;
    const struct places *gains, *leaves; /* sorted by event and number; leaves may be NULL */
};

static int by_number(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->event != y->event) {
        return x->event < y->event ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

/* Parties are small: a scan beats a search for most. */
static bool listed(const struct places *p, uint32_t event, uint32_t seat)
{
    struct place key = { .event = event, .number = seat };
    if (p == NULL) {
        return false;
    }
    if (p->count > 16) {
        return bsearch(&key, p->place, p->count, sizeof(key), by_number) != NULL;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->place[i].number == seat && p->place[i].event == event) {
            return true;
        }
    }
    return false;
}

static bool open_after(const void *arg, uint32_t seat)
{
    const struct view *v = arg;
    bool open =
        store_seat(v->store, v->ev, seat) == SEAT_FREE || listed(v->leaves, v->ev->number, seat);
    return open && !listed(v->gains, v->ev->number, seat);
}

static bool alone(const struct view *v, const struct chart_row *row, uint32_t seat, bool aisles)
{
    if (!open_after(v, seat)) {
        return false;
    }
    enum single single = single_seat(v->ev->chart, row, seat, open_after, v);
    return single == SINGLE_INSIDE || (single == SINGLE_AT_END && !aisles);
}

/* A seat beside the taken one, or `seat` itself when it is given up; -1: nobody is alone. */
static int64_t alone_at(const struct view *v, uint32_t seat, bool gained, bool aisles)
{
    const struct chart *c = v->ev->chart;
    struct chart_row row = chart_row(c, chart_seat_row(c, seat));
    if (!gained) {
        return alone(v, &row, seat, aisles) ? (int64_t)seat : (int64_t)-1;
    }
    if (seat > row.first && !single_aisle(c, seat - 1) && alone(v, &row, seat - 1, aisles)) {
        return seat - 1;
    }
    bool next = seat + 1 < row.first + row.count && !single_aisle(c, seat);
    return next && alone(v, &row, seat + 1, aisles) ? (int64_t)seat + 1 : (int64_t)-1;
}

static int64_t look(lua_State *L, struct view *v, const struct places *list, bool gained,
                    bool aisles)
{
    for (uint32_t i = 0; i < list->count; i++) {
        const struct place *p = &list->place[i];
        if (p->number & PLACE_AREA) {
            continue;
        }
        if (v->ev == NULL || v->ev->number != p->event) {
            v->ev = vm_event(L, p->event);
        }
        int64_t seat = alone_at(v, p->number, gained, aisles);
        if (seat >= 0) {
            return seat;
        }
    }
    return -1;
}

/* A list of the ask at index 2, sorted; NULL when it is empty. [-0, +1 or 2] */
static struct places *read_list(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, 2) != LUA_TTABLE || lua_rawlen(L, -1) == 0) {
        return NULL;
    }
    struct places *p = places_read(L, -1, NULL);
    if (p->count > 16) {
        qsort(p->place, p->count, sizeof(p->place[0]), by_number);
    }
    return p;
}

/* tx:single(ask[, aisles]) -> seat | nil */
int tx_single(lua_State *L)
{
    static const struct places none = { 0 };
    (void)object_check(L, 1, OBJECT_TX);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    bool aisles = lua_toboolean(L, 3);
    struct view v = { .store = vm_store(L) };
    lua_pushliteral(L, "exchange");
    bool exchange = lua_rawget(L, 2) != LUA_TNIL;
    struct places *gains = read_list(L, "gains");
    struct places *leaves = exchange ? NULL : read_list(L, "leaves");
    v.gains = gains != NULL ? gains : &none;
    v.leaves = leaves;
    int64_t seat = gains != NULL ? look(L, &v, gains, true, aisles) : -1;
    if (seat < 0 && leaves != NULL) {
        seat = look(L, &v, leaves, false, aisles);
    }
    if (seat < 0) {
        lua_pushnil(L);
    } else {
        object_push_seat(L, v.ev->number, (uint32_t)seat);
    }
    return 1;
}

/* ---- tx:within -------------------------------------------------------------------------- */

/* How far apart two points may be: the coordinates are kept as float, and a rule that says 1.1
 * finds 0.55 and 1.65 a little nearer than that. Exactly the distance is enough. */
static double apart(double x, double y, double ox, double oy)
{
    double most = fabs(x) + fabs(y) + fabs(ox) + fabs(oy);
    return hypot(ox - x, oy - y) + most * (double)FLT_EPSILON;
}

/* tx:within(seat, distance[, same_row]) -> taken seats that are nearer than that, each with
 * its order; blocked ones are nobody's. In one row the distance is counted in seats. */
int tx_within(lua_State *L)
{
    uint32_t event, seat;
    (void)object_check(L, 1, OBJECT_TX);
    luaL_argcheck(L, object_seat(L, 2, &event, &seat), 2, "a seat expected");
    double distance = luaL_checknumber(L, 3);
    bool same_row = lua_toboolean(L, 4);
    const struct event *ev = vm_event(L, event);
    const struct store *s = vm_store(L);
    struct chart_row row = chart_row(ev->chart, chart_seat_row(ev->chart, seat));
    uint32_t first = same_row ? row.first : 0;
    uint32_t end = same_row ? row.first + row.count : chart_seats(ev->chart);
    double x, y;
    seat_where(ev->chart, seat, &x, &y);
    sandbox_charge(L, (end - first) / 8 + 1);
    lua_newtable(L);
    for (uint32_t i = first; i < end; i++) {
        enum seat_status status = store_seat(s, ev, i);
        if (i == seat || (status != SEAT_HELD && status != SEAT_BOOKED)) {
            continue;
        }
        double away = i > seat ? (double)(i - seat) : (double)(seat - i);
        if (!same_row) {
            double ox, oy;
            seat_where(ev->chart, i, &ox, &oy);
            away = apart(x, y, ox, oy);
        }
        if (away < distance) {
            object_push_seat(L, event, i);
            lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        }
    }
    return 1;
}
