/* tx:best: the best free seats for a party.
 *
 * Rows are tried front to back (chart order), blocks within a row from its middle outwards, in
 * four tiers, each over the whole house before the next:
 *
 *   1 one block of neighbours that leaves no single free seat beside it
 *   2 one block, single seats left over allowed (where there are rules: at aisles and row ends
 *     first, since they may allow it there only)
 *   3 parts in several rows of one section, nobody alone: only with `split`
 *   4 parts over several sections, nobody alone: likewise
 *
 * (`orphans`: false leaves out tier 2, true makes tiers 1 and 2 one.)
 * This is what seats.io does (the oracle is in tests/unit/policy/test_policy_best.c). Seats for
 * wheelchair users and their companions come only when nothing else is left. What a policy's
 * `seat` rules refuse is never part of a block; each block is judged by all the rules, and has to
 * have a price, before it is returned: at most BEST_CANDIDATES_MAX of them; then the rule that
 * refused most is named.
 * With `order`, or seats that it gives up, the rules judge the reseat of that order to the block.
 * With a `score` of best_order.c all blocks of a tier are tried in that order; with a function
 * they are collected and tried by their score, highest first, BEST_CANDIDATES_MAX in all tiers.
 *
 * Cost: one byte per seat is copied from the store, then rows are scanned until the first block
 * that passes. Rules are asked about a seat only when a row has room for a block there. */
#include "policy/best.h"

#include <limits.h>
#include <string.h>

#include "base/assert.h"

/* With few tries few seats are put before the rules, too. */
#define BEST_SEATS_PER_TRY 32

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

/* What the order has once it is reseated to the block. [-0, +1 or 0] */
static struct places *with_stays(const struct search *s, struct places *block)
{
    uint32_t kept = s->stays != NULL ? s->stays->count : 0;
    if (kept == 0) {
        return block;
    }
    struct places *p = places_new(s->L, kept + block->count);
    memcpy(p->place, s->stays->place, kept * sizeof(*p->place));
    memcpy(p->type, s->stays->type, kept * sizeof(*p->type));
    memcpy(p->place + kept, block->place, block->count * sizeof(*p->place));
    return p;
}

/* What tx:take or tx:reseat will ask for with these seats. */
static struct ask ask_for(const struct search *s, const struct places *seats,
                          const struct places *gains)
{
    struct ask ask = { .verb = s->verb,
                       .customer = s->customer,
                       .order = s->whose,
                       .seats = seats,
                       .gains = gains,
                       .leaves = s->leaves };
    if (s->whose != 0) {
        ask.metadata = order_metadata(object_order(s->L, s->whose));
    } else {
        ask.after = s->until_ms != 0 ? "held" : "booked";
        ask.until_ms = s->until_ms;
    }
    return ask;
}

/* Adds one for the name on top, if it is one. [-0, +0] */
static void count(lua_State *L, int table)
{
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushvalue(L, -1);
        lua_pushvalue(L, -1);
        lua_rawget(L, table);
        lua_Integer n = lua_tointeger(L, -1);
        lua_pop(L, 1);
        lua_pushinteger(L, n + 1);
        lua_rawset(L, table);
    }
}

void best_count_seat(const struct search *s) { count(s->L, s->seat_refusals); }

/* A member of the denial on top. [-0, +1] */
static void push_member(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, -2);
}

/* Counts the denial on top; the first is kept. */
static void count_denial(struct search *s)
{
    lua_State *L = s->L;
    if (s->refused++ == 0) {
        lua_pushvalue(L, -1);
        lua_replace(L, s->denial);
    }
    push_member(L, "rule");
    if (lua_isnil(L, -1)) { /* rules always say which one they are */
        lua_pushliteral(L, "price");
    }
    count(L, s->refusals);
}

/* "There is no such ticket": the seats have no types yet, a command may still give them some. */
static bool lacks_type(lua_State *L)
{
    push_member(L, "code");
    bool lacks = lua_type(L, -1) == LUA_TSTRING && span_is(vm_to_span(L, -1), "BADARG");
    lua_pop(L, 1);
    return lacks;
}

/* What rules and prices have against the places of the ask on top. [-0, +1]: a denial, or nil */
static void push_denial(const struct search *s, struct places *seats)
{
    lua_State *L = s->L;
    int ask = lua_gettop(L);
    lua_pushnil(L);
    if (s->judged) {
        rules_try(L, ask, false);
    }
    if (s->priced && lua_isnil(L, -1)) {
        rules_try_price(L, ask, seats);
        if (!lua_isnil(L, -1) && lacks_type(L)) {
            lua_pushnil(L);
        }
    }
    lua_replace(L, ask + 1);
    lua_settop(L, ask + 1);
}

static bool judge_block(struct search *s)
{
    lua_State *L = s->L;
    if (!s->judged && !s->priced) {
        return true;
    }
    int top = lua_gettop(L);
    struct places *block = block_places(s);
    struct places *seats = with_stays(s, block);
    struct ask ask = ask_for(s, seats, block);
    if (s->before != NULL) { /* a block may have seats that the order gives up */
        ask.gains = places_minus(L, seats, s->before);
        ask.leaves = places_minus(L, s->before, seats);
    }
    rules_push_ask(L, &ask);
    push_denial(s, seats);
    bool ok = lua_isnil(L, -1);
    if (!ok) {
        count_denial(s);
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

/* Keeps the candidate with its score for later: as bytes, for the list of seats is the function's,
 * which may have changed it. The function only looks, as rules do. */
static void score_block(struct search *s)
{
    lua_State *L = s->L;
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, (const char *)s->block, s->count * sizeof(*s->block));
    lua_pushvalue(L, s->score);
    push_block(s);
    rules_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TNUMBER) {
        char where[SANDBOX_WHERE_BYTES];
        vm_where_defined(L, s->score, where);
        lua_pushfstring(L, "tx:best: a score must return a number, that of %s returned %s", where,
                        luaL_typename(L, -1));
        lua_error(L); /* where tx:best was called is no help: mostly in a shipped command */
    }
    lua_rawseti(L, -3, 1);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, s->scored, (lua_Integer)lua_rawlen(L, s->scored) + 1);
}

bool best_try(struct search *s)
{
    if (s->tried >= s->most) {
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

/* ---- The call ---- */

/* Highest score first; table.sort is stable and `scored` is in our own order. */
static int by_score(lua_State *L)
{
    lua_rawgeti(L, 1, 1);
    lua_rawgeti(L, 2, 1);
    lua_pushboolean(L, lua_compare(L, -1, -2, LUA_OPLT));
    return 1;
}

/* Takes the seats of the scored candidate on top into s->block. */
static void read_block(const struct search *s)
{
    lua_State *L = s->L;
    lua_rawgeti(L, -1, 2);
    memcpy(s->block, lua_tostring(L, -1), s->count * sizeof(*s->block));
    lua_pop(L, 1);
}

bool best_settle(struct search *s, bool ended)
{
    lua_State *L = s->L;
    if (s->scored == 0) {
        return ended;
    }
    int top = lua_gettop(L);
    lua_pushcfunction(L, sandbox_sort);
    lua_pushvalue(L, s->scored);
    lua_pushcfunction(L, by_score);
    lua_call(L, 2, 0);
    for (lua_Integer i = 1; !s->found && lua_rawgeti(L, s->scored, i) == LUA_TTABLE; i++) {
        read_block(s);
        s->found = judge_block(s);
        lua_pop(L, 1);
    }
    lua_settop(L, top);
    lua_newtable(L); /* the next tier's */
    lua_replace(L, s->scored);
    return s->found || ended;
}

static void add_event(struct search *s, int index)
{
    lua_State *L = s->L;
    const struct event *ev = vm_check_event(L, index);
    if (s->events == BEST_EVENTS_MAX) {
        vm_refusef(L, ERR_TOOBIG, "tx:best: at most %d events", BEST_EVENTS_MAX);
    }
    if (s->events > 0 && !span_eq(ev->chart_id, s->event[0]->chart_id)) {
        vm_refusef(L, ERR_BADARG,
                   "events %.*s and %.*s have different charts: only events of one "
                   "chart have the same seats",
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
        for (uint32_t i = 0; i < n; i++) { /* no branch: which seats are free is not foreseen */
            const uint8_t mask = status[i] == SEAT_FREE ? UINT8_MAX : 0;
            s->seat[i] &= mask;
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
        s->judged = s->judged || set->judges[s->verb];
        s->priced = s->priced || set->price != LUA_NOREF;
        s->seat_rules = s->seat_rules || (set->judges[s->verb] && set->seat_rules);
    }
    if (s->seat_rules) {
        struct places *none = places_new(L, 0);
        struct ask ask = ask_for(s, none, none);
        ask.count = s->count;
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
    BEST_SPLIT,
    BEST_HOLD,
    BEST_ORDER,
    BEST_TRIES
};

/* How much a search may cost that is but a courtesy. */
static void read_tries(struct search *s, lua_Integer tries)
{
    if (tries < 1 || tries > BEST_CANDIDATES_MAX) {
        luaL_error(s->L, "tx:best: tries is from 1 to %d", BEST_CANDIDATES_MAX);
    }
    s->most = (unsigned)tries;
    s->asks = s->most * BEST_SEATS_PER_TRY;
}

/* Reads the table [2] into the search; [3] event(s), [4] leaves, [5] score, [6] category,
 * [7] also, [8] customer, [9] order: rules may empty the table. */
static int read_arguments(struct search *s)
{
    static const char *const names[] = { "event", "customer", "count", "category", "leaves",
                                         "score", "orphans",  "also",  "split",    "hold",
                                         "order", "tries",    NULL };
    lua_State *L = s->L;
    lua_Integer count = 0;
    int orphans = -1;
    bool counted = false;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 9);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, 2, names, "tx:best")) >= 0; lua_pop(L, 1)) {
        switch ((enum best_field)i) {
        case BEST_EVENT: lua_copy(L, -1, 3); break;
        case BEST_CUSTOMER:
            s->customer = vm_check_span(L, -1, "customer");
            lua_copy(L, -1, 8);
            break;
        case BEST_COUNT:
            count = vm_check_integer(L, -1, "count");
            counted = true;
            break;
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
        case BEST_HOLD: s->until_ms = vm_of(L)->now_ms + vm_check_duration(L, -1, "hold"); break;
        case BEST_ORDER: lua_copy(L, -1, 9); break;
        case BEST_TRIES: read_tries(s, vm_check_integer(L, -1, "tries")); break;
        case BEST_ORPHANS: orphans = lua_toboolean(L, -1); break;
        }
    }
    if (!counted) {
        vm_misuse(L, "tx:best: count is missing");
    }
    if (count < 1 || count > ORDER_SEATS_MAX) {
        vm_refusef(L, ERR_BADARG, "a party has 1 to %d members", ORDER_SEATS_MAX);
    }
    s->count = (uint32_t)count;
    return orphans;
}

/* The order that has one of the numbered places given up; NULL: none does. */
static const struct order *order_of_leaves(const struct search *s)
{
    struct store *store = vm_store(s->L);
    const struct order *o = NULL;
    for (uint32_t i = 0; s->leaves != NULL && o == NULL && i < s->leaves->count; i++) {
        const struct place *p = &s->leaves->place[i];
        if (!(p->number & PLACE_AREA)) {
            o = store_seat_order(store, vm_event(s->L, p->event), p->number);
        }
    }
    return o;
}

/* Places that are given up are an order's: then this is no take but its reseat, and what it keeps
 * is judged with the block. Leaves the order at 9 and its customer at 8. */
static void read_order(struct search *s)
{
    lua_State *L = s->L;
    const struct order *o = lua_isnil(L, 9) ? order_of_leaves(s) : object_order(L, 9);
    s->verb = s->leaves != NULL || o != NULL ? VERB_RESEAT : VERB_TAKE;
    if (o == NULL) {
        return;
    }
    s->whose = 9;
    vm_push_span(L, order_customer(o));
    lua_replace(L, 8);
    s->customer = vm_to_span(L, 8);
    object_push_order(L, order_id(o));
    lua_replace(L, 9);
    s->before = places_of_order(L, o);
    s->stays = s->leaves != NULL ? places_minus(L, s->before, s->leaves) : s->before;
}

/* The name that was counted most often, and how often; 0: none was. [-0, +1] name */
static lua_Integer push_most(lua_State *L, int table)
{
    lua_Integer most = 0;
    lua_pushliteral(L, "");
    int name = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (lua_tointeger(L, -1) > most) {
            most = lua_tointeger(L, -1);
            lua_copy(L, -2, name);
        }
        lua_pop(L, 1);
    }
    return most;
}

/* The rule that refused most blocks. Rules that look at single seats have counted those: they are
 * named only when nothing else refused a block. [-0, +1] name */
static lua_Integer push_strictest(const struct search *s)
{
    lua_Integer most = push_most(s->L, s->refusals);
    if (most == 0) {
        lua_pop(s->L, 1);
        most = push_most(s->L, s->seat_refusals);
    }
    return most;
}

/* -> nil, reason[, {rule=, refused=, tried=[, denial=]}]: the table when rules were in the way,
 * with the first denial when all blocks were refused by the same one. */
static int say_why(const struct search *s, int orphans)
{
    lua_State *L = s->L;
    bool singles = orphans == 0 && s->single_seen;
    lua_pushnil(L);
    lua_Integer most = push_strictest(s);
    if (most == 0) {
        lua_pushfstring(L, "there are no %d free seats %s%s", (int)s->count,
                        s->split ? "for a party" : "next to each other",
                        singles ? " that leave no single seat" : "");
        lua_remove(L, -2);
        return 2;
    }
    if (s->limit) {
        lua_pushfstring(L,
                        "none of the first %d choices is allowed; the rule %s refuses most of them",
                        (int)s->most, lua_tostring(L, -1));
    } else {
        lua_pushfstring(L, "the rules leave no choice for %d: %s refuses most of them",
                        (int)s->count, lua_tostring(L, -1));
    }
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "rule");
    lua_pushinteger(L, most);
    lua_setfield(L, -2, "refused");
    lua_pushinteger(L, s->tried);
    lua_setfield(L, -2, "tried");
    if (s->refused > 0 && most == s->refused) {
        lua_pushvalue(L, s->denial);
        lua_setfield(L, -2, "denial");
    }
    lua_remove(L, -3);
    return 3;
}

int tx_best(lua_State *L)
{
    struct search s;
    memset(&s, 0, sizeof(s));
    s.L = L;
    s.most = BEST_CANDIDATES_MAX;
    s.asks = UINT_MAX;
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
            return vm_refuse_category(L, s.event[0], vm_to_span(L, 6));
        }
    }
    if (!lua_isnil(L, 4)) {
        s.leaves = places_read(L, 4, s.event[0]);
    }
    read_order(&s);
    read_seats(&s, category);
    s.block = lua_newuserdatauv(L, s.count * sizeof(*s.block), 0);
    if (s.order.by != BEST_FRONT) {
        s.heap = lua_newuserdatauv(L, (size_t)chart_seats(s.chart) * sizeof(*s.heap), 0);
    }
    lua_newtable(L);
    s.refusals = lua_gettop(L);
    lua_newtable(L);
    s.seat_refusals = lua_gettop(L);
    lua_pushnil(L);
    s.denial = lua_gettop(L);
    read_rules(&s);
    if (s.score != 0) {
        lua_newtable(L);
        s.scored = lua_gettop(L);
    }
    bool done = best_search(&s, orphans);
    if (!done && s.special_seen) {
        s.special = true;
        (void)best_search(&s, orphans);
    }
    if (s.found) {
        push_block(&s);
        return 1;
    }
    return say_why(&s, orphans);
}
