/* tx:near(seat, count[, most | options]): free blocks of neighbours close to a seat, for a
 * refusal's alternative, and for "is there another choice of that size".
 *
 * Hot path of a sold-out sale: nearly every request is refused, and each refusal asks for an
 * alternative. So it is looked for in C, over the store's seats, in the seat's own row from the
 * seat outwards, then in the rows before and behind it, and given up after NEAR_SEATS_MAX seats
 * (unless `far`: then the whole house is looked through). Objects are made for what is found
 * only. A block never crosses an aisle or a row's end, keeps to the seat's category (unless
 * `any`), and leaves wheelchair and companion places alone unless the seat was one. Of an area it
 * finds other areas, as many looked at as seats would be. */
#include "policy/single.h"
#include "policy/vm.h"

/* Seats looked at before giving up: a few rows of a large house, some microseconds. */
#define NEAR_SEATS_MAX  400
#define NEAR_BLOCKS_MAX 16

struct near {
    const struct store *store;
    const struct event *ev;
    const struct places *leaves; /* count as free, or NULL */
    uint32_t count, category, looked, section;
    lua_Integer most;
    bool any, far, one_section;
    enum single worst;               /* what a block may leave beside it */
    uint8_t special;                 /* flags that a seat may have */
    uint32_t first[NEAR_BLOCKS_MAX]; /* found blocks by their first seat */
    uint32_t found;
};

static bool is_open(const void *arg, uint32_t seat)
{
    const struct near *n = arg;
    if (store_seat(n->store, n->ev, seat) == SEAT_FREE) {
        return true;
    }
    for (uint32_t i = 0; n->leaves != NULL && i < n->leaves->count; i++) {
        if (n->leaves->place[i].event == n->ev->number && n->leaves->place[i].number == seat) {
            return true;
        }
    }
    return false;
}

static bool fits(const struct near *n, uint32_t seat)
{
    const struct chart *c = n->ev->chart;
    if (!is_open(n, seat)) { /* first: mostly it is not */
        return false;
    }
    uint8_t flags = chart_seat_flags(c, seat) & (CHART_ACCESSIBLE | CHART_COMPANION);
    return (flags & ~n->special) == 0 && (n->any || chart_seat_category(c, seat) == n->category);
}

/* A block of n->count seats from `seat` on, all within the row. */
static bool block_at(const struct near *n, const struct chart_row *row, uint32_t seat)
{
    if (row->first + row->count - seat < n->count) {
        return false;
    }
    for (uint32_t i = 0; i < n->count; i++) {
        if (!fits(n, seat + i) ||
            (i + 1 < n->count && (chart_seat_flags(n->ev->chart, seat + i) & CHART_AISLE_AFTER))) {
            return false;
        }
    }
    return n->worst == SINGLE_INSIDE ||
           single_beside(n->ev->chart, row, seat, seat + n->count, is_open, n) <= n->worst;
}

/* Blocks of one row, nearest to position `at` first. */
static void look_in_row(struct near *n, uint32_t number, uint32_t at)
{
    struct chart_row row = chart_row(n->ev->chart, number);
    if (n->one_section && row.section != n->section) {
        return;
    }
    at = at < row.count ? at : row.count - 1;
    for (uint32_t away = 0; away < row.count && n->found < n->most; away++) {
        uint32_t after = at + away;
        if (after < row.count && block_at(n, &row, row.first + after)) {
            n->first[n->found++] = row.first + after;
        }
        if (away > 0 && away <= at && n->found < n->most &&
            block_at(n, &row, row.first + at - away)) {
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
    for (uint32_t away = 1; away < rows && (n->far || n->looked < NEAR_SEATS_MAX); away++) {
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

/* "never": no single seat may be left beside the block; "ends": only at aisles and row ends. */
static enum single single_arg(lua_State *L)
{
    struct span word = vm_check_span(L, -1, "singles");
    if (span_is(word, "never")) {
        return SINGLE_NOT;
    }
    if (!span_is(word, "ends")) {
        luaL_error(L, "tx:near: singles is \"never\" or \"ends\"");
    }
    return SINGLE_AT_END;
}

/* The options at `index`; a number is `most`. [-0, +0 or 1: the leaves' memory] */
static void options(lua_State *L, int index, struct near *n)
{
    static const char *const names[] = {
        "most", "singles", "section", "far", "any", "leaves", NULL
    };
    if (lua_isnoneornil(L, index)) {
        return;
    }
    if (lua_type(L, index) == LUA_TNUMBER) {
        n->most = luaL_checkinteger(L, index);
        return;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_settop(L, index + 1); /* index + 1: leaves */
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, index, names, "tx:near")) >= 0; lua_pop(L, 1)) {
        switch (i) {
        case 0: n->most = vm_check_integer(L, -1, "most"); break;
        case 1: n->worst = single_arg(L); break;
        case 2: n->one_section = lua_toboolean(L, -1); break;
        case 3: n->far = lua_toboolean(L, -1); break;
        case 4: n->any = lua_toboolean(L, -1); break;
        default: lua_copy(L, -1, index + 1); break;
        }
    }
    if (lua_type(L, index + 1) == LUA_TTABLE && lua_rawlen(L, index + 1) > 0) {
        n->leaves = places_read(L, index + 1, n->ev);
    }
}

/* ---- Areas ------------------------------------------------------------------------------- */

/* Areas with room: those of the wanted one's category, and others. */
struct near_areas {
    const struct store *store;
    const struct event *ev;
    uint32_t count, most, category;
    uint32_t same[NEAR_BLOCKS_MAX], other[NEAR_BLOCKS_MAX];
    uint32_t same_count, other_count;
};

static void look_at_area(struct near_areas *n, uint32_t number)
{
    struct chart_area area = chart_area(n->ev->chart, number);
    struct area_use use = store_area(n->store, n->ev, number);
    if ((uint64_t)use.held + use.booked + n->count > area.capacity) {
        return;
    }
    if (area.category != n->category && n->other_count < n->most) {
        n->other[n->other_count++] = number;
    } else if (area.category == n->category && n->same_count < n->most) {
        n->same[n->same_count++] = number;
    }
}

/* From the wanted one outwards, in the order of the chart, which is all that it tells of where
 * areas are. Returns how many were looked at. */
static uint32_t look_at_areas(struct near_areas *n, uint32_t wanted)
{
    uint32_t areas = chart_areas(n->ev->chart), looked = 0;
    for (uint32_t away = 1; away < areas && looked < NEAR_SEATS_MAX; away++) {
        if (away <= wanted) {
            look_at_area(n, wanted - away);
            looked++;
        }
        if (wanted + away < areas) {
            look_at_area(n, wanted + away);
            looked++;
        }
        if (n->same_count == n->most) {
            break;
        }
    }
    return looked;
}

/* tx:near(area, count[, most]) -> list of areas with so many free places, but for that one */
static int near_areas(lua_State *L, const struct object *area)
{
    lua_Integer count = luaL_checkinteger(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, NEAR_BLOCKS_MAX);
    luaL_argcheck(L, count >= 1 && count <= ORDER_SEATS_MAX, 3, "a number of places expected");
    luaL_argcheck(L, most >= 1 && most <= NEAR_BLOCKS_MAX, 4, "1 to 16 areas expected");
    struct near_areas n = { .store = vm_store(L), .ev = vm_event(L, area->event) };
    n.count = (uint32_t)count;
    n.most = (uint32_t)most;
    n.category = chart_area(n.ev->chart, area->number).category;
    sandbox_charge(L, look_at_areas(&n, area->number));
    lua_newtable(L);
    for (uint32_t i = 0; i < n.most && i < n.same_count + n.other_count; i++) {
        uint32_t number = i < n.same_count ? n.same[i] : n.other[i - n.same_count];
        object_push_area(L, n.ev->number, number);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* tx:near(seat, count[, options]) -> list of lists of seats */
int tx_near(lua_State *L)
{
    uint32_t event, seat;
    (void)object_check(L, 1, OBJECT_TX);
    if (object_test(L, 2, OBJECT_AREA) != NULL) {
        return near_areas(L, object_check(L, 2, OBJECT_AREA));
    }
    luaL_argcheck(L, object_seat(L, 2, &event, &seat), 2, "a seat or an area expected");
    lua_Integer count = luaL_checkinteger(L, 3);
    luaL_argcheck(L, count >= 1 && count <= ORDER_SEATS_MAX, 3, "a number of seats expected");
    struct near n = { .store = vm_store(L), .ev = vm_event(L, event) };
    n.count = (uint32_t)count;
    n.most = NEAR_BLOCKS_MAX;
    n.worst = SINGLE_INSIDE;
    n.category = chart_seat_category(n.ev->chart, seat);
    n.section = chart_row(n.ev->chart, chart_seat_row(n.ev->chart, seat)).section;
    n.special = chart_seat_flags(n.ev->chart, seat);
    options(L, 4, &n);
    luaL_argcheck(L, n.most >= 1 && n.most <= NEAR_BLOCKS_MAX, 4, "1 to 16 blocks expected");
    if (n.ev->counts[SEAT_FREE] + (n.leaves != NULL ? n.leaves->count : 0) >= n.count) {
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
