/* tx:near(seat, count[, most]): free blocks of neighbours close to a seat, for a refusal's
 * alternative.
 *
 * Hot path of a sold-out sale: nearly every request is refused, and each refusal asks for an
 * alternative. So it is looked for in C, over status bytes, in the seat's own row from the seat
 * outwards, then in the rows before and behind it, and given up after NEAR_SEATS_MAX seats.
 * Objects are made for what is found only. A block never crosses an aisle or a row's end,
 * keeps to the seat's category, and leaves wheelchair and companion places alone unless the
 * seat was one. */
#include "policy/vm.h"

/* Seats looked at before giving up: a few rows of a large house, some microseconds. */
#define NEAR_SEATS_MAX  400
#define NEAR_BLOCKS_MAX 16

struct near {
    const struct store *store;
    const struct event *ev;
    uint32_t count, most, category, looked;
    uint8_t special;                 /* flags that a seat may have */
    uint32_t first[NEAR_BLOCKS_MAX]; /* found blocks by their first seat */
    uint32_t found;
};

static bool fits(const struct near *n, uint32_t seat)
{
    const struct chart *c = n->ev->chart;
    if (store_seat(n->store, n->ev, seat) != SEAT_FREE) { /* first: mostly it is not */
        return false;
    }
    uint8_t flags = chart_seat_flags(c, seat) & (CHART_ACCESSIBLE | CHART_COMPANION);
    return (flags & ~n->special) == 0 && chart_seat_category(c, seat) == n->category;
}

/* A block of n->count seats from `seat` on, all within the row that ends before `end`. */
static bool block_at(const struct near *n, uint32_t seat, uint32_t end)
{
    if (end - seat < n->count) {
        return false;
    }
    for (uint32_t i = 0; i < n->count; i++) {
        if (!fits(n, seat + i) ||
            (i + 1 < n->count && (chart_seat_flags(n->ev->chart, seat + i) & CHART_AISLE_AFTER))) {
            return false;
        }
    }
    return true;
}

/* Blocks of one row, nearest to position `at` first. */
static void look_in_row(struct near *n, uint32_t number, uint32_t at)
{
    struct chart_row row = chart_row(n->ev->chart, number);
    uint32_t end = row.first + row.count;
    at = at < row.count ? at : row.count - 1;
    for (uint32_t away = 0; away < row.count && n->found < n->most; away++) {
        uint32_t after = at + away;
        if (after < row.count && block_at(n, row.first + after, end)) {
            n->first[n->found++] = row.first + after;
        }
        if (away > 0 && away <= at && n->found < n->most &&
            block_at(n, row.first + at - away, end)) {
            n->first[n->found++] = row.first + at - away;
        }
    }
    n->looked += row.count;
}

/* The seat's row, then the rows before and behind it by turns. */
static void look(struct near *n, uint32_t seat)
{
    const struct chart *c = n->ev->chart;
    uint32_t own = chart_seat_row(c, seat), rows = chart_rows(c);
    uint32_t at = seat - chart_row(c, own).first;
    look_in_row(n, own, at);
    for (uint32_t away = 1; away < rows && n->looked < NEAR_SEATS_MAX; away++) {
        if (own >= away && n->found < n->most) {
            look_in_row(n, own - away, at);
        }
        if (own + away < rows && n->found < n->most) {
            look_in_row(n, own + away, at);
        }
        if (n->found == n->most || (own < away && own + away >= rows)) {
            return;
        }
    }
}

/* tx:near(seat, count[, most]) -> list of lists of seats */
int tx_near(lua_State *L)
{
    uint32_t event, seat;
    (void)object_check(L, 1, OBJECT_TX);
    luaL_argcheck(L, object_seat(L, 2, &event, &seat), 2, "a seat expected");
    lua_Integer count = luaL_checkinteger(L, 3), most = luaL_optinteger(L, 4, NEAR_BLOCKS_MAX);
    luaL_argcheck(L, count >= 1 && count <= ORDER_SEATS_MAX, 3, "a number of seats expected");
    luaL_argcheck(L, most >= 1 && most <= NEAR_BLOCKS_MAX, 4, "1 to 16 blocks expected");
    struct near n = { .store = vm_store(L), .ev = vm_event(L, event) };
    n.count = (uint32_t)count;
    n.most = (uint32_t)most;
    n.category = chart_seat_category(n.ev->chart, seat);
    n.special = chart_seat_flags(n.ev->chart, seat);
    if (n.ev->counts[SEAT_FREE] >= n.count) {
        look(&n, seat);
    }
    sandbox_charge(L, n.looked);
    lua_createtable(L, (int)n.found, 0);
    for (uint32_t i = 0; i < n.found; i++) {
        lua_createtable(L, (int)n.count, 0);
        for (uint32_t k = 0; k < n.count; k++) {
            object_push_seat(L, event, n.first[i] + k);
            lua_rawseti(L, -2, (lua_Integer)k + 1);
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}
