/* tx:best: the best free seats for a party.
 *
 * Rows are tried front to back (chart order), blocks within a row from its middle outwards, in
 * four tiers, each over the whole house before the next:
 *
 *   1 one block of neighbours that leaves no single free seat beside it
 *   2 one block, single seats left over allowed
 *   3 parts in several rows of one section, nobody alone
 *   4 parts over several sections, nobody alone
 *
 * (`orphans`: false leaves out tier 2, true makes tiers 1 and 2 one.)
 * This is what seats.io does (the oracle is in tests/unit/policy/test_policy_best.c). Seats for
 * wheelchair users and their companions come only when nothing else is left. What a policy's
 * `seat` rules refuse is never part of a block; each block is judged by all the rules before it
 * is returned, at most BEST_CANDIDATES_MAX of them. With `score`, that many blocks are
 * collected first and tried in order of their score, highest first.
 *
 * Cost: one byte per seat is copied from the store, then rows are scanned until the first block
 * that passes. Rules are asked about a seat only when a row has room for a block there. */
#include <string.h>

#include "base/assert.h"
#include "policy/best_order.h"
#include "policy/single.h"
#include "policy/vm.h"

#define EVENTS_MAX 32 /* legs of a journey: the same seats on all */

enum { SEAT_OK = 1, SEAT_OPEN = 2, SEAT_ASKED = 4 }; /* eligible; free at all; rules asked */

struct search {
    lua_State *L;
    const struct chart *chart;
    const struct event *event[EVENTS_MAX];
    uint32_t events, count;
    uint32_t shown;    /* events whose seats are returned: 1, or all when given as a list */
    uint8_t *seat;     /* flags above */
    bool seat_rules;   /* the ruleset has `seat` functions */
    bool judged;       /* there are rules at all */
    bool special;      /* this pass takes wheelchair and companion seats too */
    bool special_seen; /* there were some */
    bool split;        /* the party may be parted */
    int ask;           /* stack index of the ask for seat rules */
    int score, scored; /* stack indices: function, list of {score, seats}; 0: none */
    struct span customer;
    const struct places *leaves;
    unsigned tried;
    uint32_t *block; /* the candidate: `count` seats */
    bool found;
    bool limit;
    int refusals; /* stack index: {rule name = how often it refused}; 0: none yet */
    struct best_order
        order; /* kind BEST_FRONT: rows from the front, no search of the whole house */
    struct best_block *heap; /* of the other kinds: the blocks of one tier */
};

/* ---- Judging a block ------------------------------------------------------------------ */

/* [-0, +1] the candidate's seats at all events as places */
static struct places *block_places(const struct search *s)
{
    struct places *p = places_new(s->L, s->count * s->events);
    for (uint32_t e = 0; e < s->events; e++) {
        for (uint32_t i = 0; i < s->count; i++) {
            struct place *place = &p->place[e * s->count + i];
            place->event = s->event[e]->number;
            place->number = s->block[i];
            place->count = 1;
        }
    }
    return p;
}

/* Counts a refusal by the rule whose name is on top. [-0, +0] */
static void count_refusal(const struct search *s)
{
    lua_State *L = s->L;
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushvalue(L, -1);
        lua_pushvalue(L, -1);
        lua_rawget(L, s->refusals);
        lua_Integer n = lua_tointeger(L, -1);
        lua_pop(L, 1);
        lua_pushinteger(L, n + 1);
        lua_rawset(L, s->refusals);
    }
}

static bool judge_block(struct search *s)
{
    lua_State *L = s->L;
    if (!s->judged) {
        return true;
    }
    int top = lua_gettop(L);
    struct places *p = block_places(s);
    struct ask ask = { .verb = VERB_TAKE,
                       .customer = s->customer,
                       .seats = p,
                       .gains = p,
                       .leaves = s->leaves,
                       .after = "held" };
    rules_push_ask(L, &ask);
    rules_try(L, -1);
    bool ok = lua_isnil(L, -1);
    if (!ok && lua_type(L, -1) == LUA_TTABLE) {
        lua_getfield(L, -1, "rule");
        count_refusal(s);
    }
    lua_settop(L, top);
    return ok;
}

/* [-0, +1] the candidate as a list of seats */
static void push_block(const struct search *s)
{
    lua_State *L = s->L;
    lua_createtable(L, (int)(s->count * s->shown), 0);
    for (uint32_t e = 0; e < s->shown; e++) {
        for (uint32_t i = 0; i < s->count; i++) {
            object_push_seat(L, s->event[e]->number, s->block[i]);
            lua_rawseti(L, -2, (lua_Integer)(e * s->count + i) + 1);
        }
    }
}

/* Keeps the candidate with its score for later. */
static void score_block(struct search *s)
{
    lua_State *L = s->L;
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, s->score);
    push_block(s);
    lua_pushvalue(L, -1);
    lua_insert(L, -3); /* entry, seats, score, seats */
    lua_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TNUMBER) {
        luaL_error(L, "tx:best: score must return a number, not %s", luaL_typename(L, -1));
    }
    lua_rawseti(L, -3, 1);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, s->scored, (lua_Integer)lua_rawlen(L, s->scored) + 1);
}

/* True ends the search. */
static bool try_block(struct search *s)
{
    if (s->tried >= BEST_CANDIDATES_MAX) {
        s->limit = true;
        return true;
    }
    s->tried++;
    sandbox_charge(s->L, 16);
    if (s->score != 0) {
        score_block(s);
        return false;
    }
    s->found = judge_block(s);
    return s->found;
}

/* ---- Which seats are eligible ------------------------------------------------------------- */

static bool usable(struct search *s, uint32_t i)
{
    if (!(s->seat[i] & SEAT_OK)) {
        return false;
    }
    if (!s->special && (chart_seat_flags(s->chart, i) & (CHART_ACCESSIBLE | CHART_COMPANION))) {
        s->special_seen = true;
        return false;
    }
    return true;
}

/* Asks the `seat` rules about [first, end), each seat once. True when all may be taken. */
static bool ask_seats(struct search *s, uint32_t first, uint32_t end)
{
    lua_State *L = s->L;
    struct policy *p = vm_of(L);
    bool all = true;
    for (uint32_t i = first; i < end; i++) {
        if (s->seat[i] & SEAT_ASKED) {
            continue;
        }
        s->seat[i] |= SEAT_ASKED;
        for (uint32_t e = 0; e < s->events && (s->seat[i] & SEAT_OK); e++) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->filter);
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
            lua_pushvalue(L, s->ask);
            object_push_seat(L, s->event[e]->number, i);
            rules_call(L, 3, 2); /* fits, or false and the rule's name */
            if (!lua_toboolean(L, -2)) {
                s->seat[i] &= (uint8_t)~SEAT_OK;
                count_refusal(s);
                all = false;
            }
            lua_pop(L, 2);
        }
    }
    return all;
}

/* The next run of usable neighbours of the row at or after *at with at least `min` seats;
 * its end is returned through *end. */
static bool next_run(struct search *s, const struct chart_row *row, uint32_t min, uint32_t *at,
                     uint32_t *end)
{
    uint32_t last = row->first + row->count;
    for (uint32_t i = *at; i < last;) {
        if (!usable(s, i)) {
            i++;
            continue;
        }
        uint32_t k = i + 1;
        while (k < last && usable(s, k) &&
               !(chart_seat_flags(s->chart, k - 1) & CHART_AISLE_AFTER)) {
            k++;
        }
        if (k - i < min) {
            i = k;
            continue;
        }
        if (s->seat_rules && !ask_seats(s, i, k)) {
            continue; /* look again at what is left of it */
        }
        *at = i;
        *end = k;
        return true;
    }
    return false;
}

/* ---- Tiers 1 and 2: one block -----------------------------------------------------------------
 */

static bool is_open(const void *arg, uint32_t seat)
{
    return (((const struct search *)arg)->seat[seat] & SEAT_OPEN) != 0;
}

/* What blocks may leave single free seats behind, and where. */
enum singles { SINGLES_NEVER, SINGLES_AT_ENDS, SINGLES_INSIDE, SINGLES_ANYWHERE, SINGLES_EITHER };

/* Does the block [a, b) belong to this tier? */
static bool in_tier(const struct search *s, const struct chart_row *row, uint32_t a, uint32_t b,
                    enum singles singles)
{
    if (singles == SINGLES_EITHER) {
        return true;
    }
    enum single single = single_beside(s->chart, row, a, b, is_open, s);
    switch (singles) {
    case SINGLES_NEVER: return single == SINGLE_NOT;
    case SINGLES_AT_ENDS: return single == SINGLE_AT_END;
    case SINGLES_INSIDE: return single == SINGLE_INSIDE;
    default: return single != SINGLE_NOT;
    }
}

/* The best block of the row whose key is above *after; false: no more. */
static bool next_block(struct search *s, const struct chart_row *row, enum singles singles,
                       uint64_t *after, uint32_t *best)
{
    uint64_t least = UINT64_MAX;
    uint32_t at = row->first, end;
    while (next_run(s, row, s->count, &at, &end)) {
        for (uint32_t a = at; a + s->count <= end; a++) {
            if (!in_tier(s, row, a, a + s->count, singles)) {
                continue;
            }
            uint64_t key = best_row_key(row, a, s->count) + 1;
            if (key > *after && key < least) {
                least = key;
                *best = a;
            }
        }
        at = end;
    }
    *after = least;
    return least != UINT64_MAX;
}

static bool try_at(struct search *s, uint32_t first)
{
    for (uint32_t i = 0; i < s->count; i++) {
        s->block[i] = first + i;
    }
    return try_block(s);
}

/* With an order of its own: all blocks of the tier in the whole house, the best first. */
static bool one_ordered(struct search *s, enum singles singles)
{
    size_t n = 0;
    for (uint32_t r = 0; r < chart_rows(s->chart); r++) {
        struct chart_row row = chart_row(s->chart, r);
        uint32_t at = row.first, end;
        sandbox_charge(s->L, row.count / 4 + 1);
        while (row.count >= s->count && next_run(s, &row, s->count, &at, &end)) {
            for (uint32_t a = at; a + s->count <= end; a++) {
                if (in_tier(s, &row, a, a + s->count, singles)) {
                    best_key(&s->order, s->chart, r, a, s->count, end - at, &s->heap[n++]);
                }
            }
            at = end;
        }
    }
    best_heapify(s->heap, n);
    while (n > 0) {
        if (try_at(s, best_pop(s->heap, &n))) {
            return true;
        }
    }
    return false;
}

static bool one_block(struct search *s, enum singles singles)
{
    uint32_t rows = chart_rows(s->chart);
    if (s->heap != NULL) {
        return one_ordered(s, singles);
    }
    for (uint32_t r = 0; r < rows; r++) {
        struct chart_row row = chart_row(s->chart, r);
        uint64_t after = 0;
        uint32_t a = 0;
        if (row.count < s->count) {
            continue;
        }
        sandbox_charge(s->L, row.count / 8 + 1);
        while (next_block(s, &row, singles, &after, &a)) {
            if (try_at(s, a)) {
                return true;
            }
        }
    }
    return false;
}

/* ---- Tiers 3 and 4: parts -----------------------------------------------------------------------
 */

/* The part of `n` seats of the run [at, end) nearest to the row's middle, at one of its ends so
 * that what is left of it stays together. */
static uint32_t part_start(const struct chart_row *row, uint32_t at, uint32_t end, uint32_t n)
{
    return best_row_key(row, at, n) <= best_row_key(row, end - n, n) ? at : end - n;
}

/* How many of `left` people to seat in a run of `room`: nobody alone, and (tidy) no seat alone. */
static uint32_t part_size(uint32_t room, uint32_t left, bool tidy)
{
    uint32_t n = room < left ? room : left;
    while (n >= 2 && (left - n == 1 || (tidy && room - n == 1))) {
        n--;
    }
    return n >= 2 ? n : 0;
}

/* Takes parts of the row; returns how many of the party are seated afterwards. */
static uint32_t fill_row(struct search *s, const struct chart_row *row, uint32_t seated, bool tidy)
{
    uint32_t at = row->first, end;
    while (seated < s->count && next_run(s, row, 2, &at, &end)) {
        uint32_t n = part_size(end - at, s->count - seated, tidy);
        uint32_t a = n > 0 ? part_start(row, at, end, n) : at;
        for (uint32_t i = 0; i < n; i++) {
            s->block[seated++] = a + i;
        }
        at = end;
    }
    return seated;
}

static bool in_parts(struct search *s, bool sections, bool tidy)
{
    uint32_t rows = chart_rows(s->chart);
    for (uint32_t first = 0; s->count >= 4 && first < rows; first++) {
        uint32_t section = chart_row(s->chart, first).section, seated = 0;
        for (uint32_t r = first; r < rows && seated < s->count; r++) {
            struct chart_row row = chart_row(s->chart, r);
            if (row.section != section && !sections) {
                break;
            }
            sandbox_charge(s->L, row.count / 8 + 1);
            seated = fill_row(s, &row, seated, tidy);
            if (r == first && seated == 0) {
                break; /* the next start finds the same, or better */
            }
        }
        if (seated == s->count && try_block(s)) {
            return true;
        }
    }
    return false;
}

static bool any_parts(struct search *s, int orphans)
{
    for (int sections = 0; sections < 2; sections++) {
        if ((orphans != 1 && in_parts(s, sections == 1, true)) ||
            (orphans != 0 && in_parts(s, sections == 1, false))) {
            return true;
        }
    }
    return false;
}

/* Blocks that leave a single seat. Rules may allow it at ends only: those come first then, so
 * that a house full of refused ones in front does not hide them. */
static bool with_singles(struct search *s)
{
    if (!s->judged) {
        return one_block(s, SINGLES_ANYWHERE);
    }
    return one_block(s, SINGLES_AT_ENDS) || one_block(s, SINGLES_INSIDE);
}

/* orphans: -1 avoid single seats while possible, 0 never leave one, 1 do not mind. */
static bool all_tiers(struct search *s, int orphans)
{
    if (orphans == 1 ? one_block(s, SINGLES_EITHER)
                     : one_block(s, SINGLES_NEVER) || (orphans != 0 && with_singles(s))) {
        return true;
    }
    if (s->scored != 0 && lua_rawlen(s->L, s->scored) > 0) {
        return false;
    }
    return s->split && any_parts(s, orphans);
}

/* ---- The call
 * ------------------------------------------------------------------------------------- */

/* Highest score first; table.sort is stable and `scored` is in our own order. */
static int by_score(lua_State *L)
{
    lua_rawgeti(L, 1, 1);
    lua_rawgeti(L, 2, 1);
    lua_pushboolean(L, lua_compare(L, -1, -2, LUA_OPLT));
    return 1;
}

/* Tries the scored candidates; leaves the winner's list on top. */
static bool pick_scored(struct search *s)
{
    lua_State *L = s->L;
    lua_pushcfunction(L, sandbox_sort);
    lua_pushvalue(L, s->scored);
    lua_pushcfunction(L, by_score);
    lua_call(L, 2, 0);
    for (lua_Integer i = 1; lua_rawgeti(L, s->scored, i) == LUA_TTABLE; i++) {
        lua_rawgeti(L, -1, 2);
        for (uint32_t k = 0; k < s->count; k++) {
            lua_rawgeti(L, -1, (lua_Integer)k + 1);
            s->block[k] = ((const struct object *)lua_touserdata(L, -1))->number;
            lua_pop(L, 1);
        }
        if (judge_block(s)) {
            return true;
        }
        lua_pop(L, 2);
    }
    return false;
}

static void add_event(struct search *s, int index)
{
    lua_State *L = s->L;
    const struct event *ev = vm_check_event(L, index);
    if (s->events == EVENTS_MAX) {
        vm_refusef(L, ERR_TOOBIG, "tx:best: at most %d events", EVENTS_MAX);
    }
    if (s->events > 0 && !span_eq(ev->chart_id, s->event[0]->chart_id)) {
        vm_refusef(L, ERR_BADARG, "tx:best: events %.*s and %.*s have different charts",
                   (int)s->event[0]->id.len, s->event[0]->id.data, (int)ev->id.len, ev->id.data);
    }
    s->event[s->events++] = ev;
}

static void read_events(struct search *s, int index)
{
    lua_State *L = s->L;
    if (lua_type(L, index) != LUA_TTABLE) {
        add_event(s, index);
    } else {
        for (lua_Integer i = 1; lua_rawgeti(L, index, i) != LUA_TNIL; i++) {
            add_event(s, lua_gettop(L));
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    if (s->events == 0) {
        luaL_error(L, "tx:best needs an event");
    }
    ASSERT(s->events > 0);
    s->chart = s->event[0]->chart;
    s->shown = s->events;
}

/* Which seats are free at all events (or given up), and of the category. */
static void read_seats(struct search *s, int64_t category)
{
    lua_State *L = s->L;
    struct store *store = vm_store(L);
    uint32_t n = chart_seats(s->chart);
    s->seat = lua_newuserdatauv(L, 2 * (size_t)n + 1, 0);
    uint8_t *status = s->seat + n;
    memset(s->seat, SEAT_OPEN | SEAT_OK, n);
    sandbox_charge(L, (uint64_t)n / 16 * s->events);
    for (uint32_t e = 0; e < s->events; e++) {
        store_seats(store, s->event[e], status);
        for (uint32_t i = 0; s->leaves != NULL && i < s->leaves->count; i++) {
            const struct place *p = &s->leaves->place[i];
            if (p->event == s->event[e]->number && !(p->number & PLACE_AREA)) {
                status[p->number] = SEAT_FREE;
            }
        }
        for (uint32_t i = 0; i < n; i++) {
            s->seat[i] = status[i] == SEAT_FREE ? s->seat[i] : 0;
        }
    }
    for (uint32_t i = 0; category >= 0 && i < n; i++) {
        if (chart_seat_category(s->chart, i) != category) {
            s->seat[i] &= SEAT_OPEN;
        }
    }
}

/* The rules that blocks have to pass, and an ask for those that look at single seats. */
static void read_rules(struct search *s)
{
    lua_State *L = s->L;
    for (uint32_t e = 0; e < s->events; e++) {
        const struct ruleset *set = vm_ruleset(L, s->event[e]);
        s->judged = s->judged || set->judges[VERB_TAKE];
        s->seat_rules = s->seat_rules || (set->judges[VERB_TAKE] && set->seat_rules);
    }
    if (s->seat_rules) {
        struct places *none = places_new(L, 0);
        struct ask ask = { .verb = VERB_TAKE,
                           .customer = s->customer,
                           .seats = none,
                           .gains = none,
                           .leaves = s->leaves,
                           .count = s->count,
                           .after = "held" };
        rules_push_ask(L, &ask);
        s->ask = lua_gettop(L);
    }
}

enum best_field {
    BEST_EVENT,
    BEST_CUSTOMER,
    BEST_COUNT,
    BEST_CATEGORY,
    BEST_LEAVES,
    BEST_SCORE,
    BEST_ORPHANS,
    BEST_ALSO,
    BEST_SPLIT
};

/* Reads the table [2] into the search; [3] event(s), [4] leaves, [5] score, [6] category,
 * [7] also. */
static int read_arguments(struct search *s)
{
    static const char *const names[] = { "event", "customer", "count", "category", "leaves",
                                         "score", "orphans",  "also",  "split",    NULL };
    lua_State *L = s->L;
    lua_Integer count = 0;
    int orphans = -1;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 7);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, 2, names, "tx:best")) >= 0; lua_pop(L, 1)) {
        switch ((enum best_field)i) {
        case BEST_EVENT: lua_copy(L, -1, 3); break;
        case BEST_CUSTOMER: s->customer = vm_check_span(L, -1, "customer"); break;
        case BEST_COUNT: count = vm_check_integer(L, -1, "count"); break;
        case BEST_CATEGORY:
            (void)vm_check_span(L, -1, "category");
            lua_copy(L, -1, 6);
            break;
        case BEST_LEAVES: lua_copy(L, -1, 4); break;
        case BEST_SCORE:
            if (lua_type(L, -1) == LUA_TTABLE) {
                best_order_read(L, lua_gettop(L), &s->order);
                break;
            }
            vm_check_type(L, -1, LUA_TFUNCTION, "score");
            lua_copy(L, -1, 5);
            s->score = 5;
            break;
        case BEST_SPLIT: s->split = lua_toboolean(L, -1); break;
        case BEST_ALSO: lua_copy(L, -1, 7); break;
        case BEST_ORPHANS: orphans = lua_toboolean(L, -1); break;
        }
    }
    if (count < 1 || count > ORDER_SEATS_MAX) {
        vm_refusef(L, ERR_BADARG, "a party has 1 to %d members", ORDER_SEATS_MAX);
    }
    s->count = (uint32_t)count;
    return orphans;
}

static int refuse_category(lua_State *L, const struct event *ev, struct span name)
{
    return vm_refusef(L, ERR_NOTFOUND, "event %.*s has no category '%.*s'", (int)ev->id.len,
                      ev->id.data, (int)name.len, name.data);
}

/* The rule that refused most candidates and how many it refused; 0: none. [-0, +1] name */
static lua_Integer push_strictest(const struct search *s)
{
    lua_State *L = s->L;
    lua_Integer most = 0;
    lua_pushliteral(L, "");
    int name = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, s->refusals)) {
        if (lua_tointeger(L, -1) > most) {
            most = lua_tointeger(L, -1);
            lua_copy(L, -2, name);
        }
        lua_pop(L, 1);
    }
    return most;
}

/* -> nil, reason[, {rule=, refused=, tried=}]: the table when rules were in the way. */
static int say_why(const struct search *s)
{
    lua_State *L = s->L;
    lua_pushnil(L);
    lua_Integer most = push_strictest(s);
    if (most == 0) {
        lua_pushfstring(L,
                        s->split ? "there are no %d free seats for a party"
                                 : "there are no %d free seats next to each other",
                        (int)s->count);
        lua_remove(L, -2);
        return 2;
    }
    if (s->limit) {
        lua_pushfstring(L,
                        "none of the first %d choices is allowed; the rule %s refuses most of them",
                        BEST_CANDIDATES_MAX, lua_tostring(L, -1));
    } else {
        lua_pushfstring(L, "the rules leave no choice for %d: %s refuses most of them",
                        (int)s->count, lua_tostring(L, -1));
    }
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "rule");
    lua_pushinteger(L, most);
    lua_setfield(L, -2, "refused");
    lua_pushinteger(L, s->tried);
    lua_setfield(L, -2, "tried");
    lua_remove(L, -3);
    return 3;
}

int tx_best(lua_State *L)
{
    struct search s;
    memset(&s, 0, sizeof(s));
    s.L = L;
    (void)object_check(L, 1, OBJECT_TX);
    int orphans = read_arguments(&s);
    read_events(&s, 3);
    if (!lua_isnil(L, 7)) {
        uint32_t shown = s.shown;
        read_events(&s, 7);
        s.shown = shown;
    }
    int64_t category = -1;
    if (!lua_isnil(L, 6)) {
        category = chart_find_category(s.chart, vm_to_span(L, 6));
        if (category < 0) {
            return refuse_category(L, s.event[0], vm_to_span(L, 6));
        }
    }
    if (!lua_isnil(L, 4)) {
        s.leaves = places_read(L, 4, s.event[0]);
    }
    read_seats(&s, category);
    s.block = lua_newuserdatauv(L, s.count * sizeof(*s.block), 0);
    if (s.order.by != BEST_FRONT) {
        s.heap = lua_newuserdatauv(L, (size_t)chart_seats(s.chart) * sizeof(*s.heap), 0);
    }
    lua_newtable(L);
    s.refusals = lua_gettop(L);
    read_rules(&s);
    if (s.score != 0) {
        lua_newtable(L);
        s.scored = lua_gettop(L);
    }
    bool done = all_tiers(&s, orphans);
    bool none = !done && (s.scored == 0 || lua_rawlen(L, s.scored) == 0);
    if (none && s.special_seen) {
        s.special = true;
        (void)all_tiers(&s, orphans);
    }
    if (s.scored != 0 && pick_scored(&s)) {
        return 1;
    }
    if (s.found) {
        push_block(&s);
        return 1;
    }
    return say_why(&s);
}
