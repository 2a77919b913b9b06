/* The blocks of seats that tx:best looks at, tier by tier (best.c has the picture). */
#include "policy/best.h"

#include "policy/single.h"

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
        if (s->asked++ >= s->asks) {
            s->seat[i] &= (uint8_t)~SEAT_OK;
            s->limit = true;
            all = false;
        }
        for (uint32_t e = 0; e < s->events && (s->seat[i] & SEAT_OK); e++) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->filter);
            lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
            lua_pushvalue(L, s->ask);
            object_push_seat(L, s->event[e]->number, i);
            rules_call(L, 3, 2); /* fits, or false and the rule's name */
            if (!lua_toboolean(L, -2)) {
                s->seat[i] &= (uint8_t)~SEAT_OK;
                best_count_seat(s);
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

/* ---- Tiers 1 and 2: one block ---- */

static bool is_open(const void *arg, uint32_t seat)
{
    return (((const struct search *)arg)->seat[seat] & SEAT_OPEN) != 0;
}

/* What blocks may leave single free seats behind, and where. */
enum singles { SINGLES_NEVER, SINGLES_AT_ENDS, SINGLES_INSIDE, SINGLES_ANYWHERE, SINGLES_EITHER };

/* Does the block [a, b) belong to this tier? */
static bool in_tier(struct search *s, const struct chart_row *row, uint32_t a, uint32_t b,
                    enum singles singles)
{
    if (singles == SINGLES_EITHER) {
        return true;
    }
    enum single single = single_beside(s->chart, row, a, b, is_open, s);
    s->single_seen = s->single_seen || single != SINGLE_NOT;
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
    return best_try(s);
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

/* ---- Tiers 3 and 4: parts ---- */

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
        if (seated == s->count && best_try(s)) {
            return true;
        }
    }
    return false;
}

static bool any_parts(struct search *s, int orphans)
{
    for (int sections = 0; sections < 2; sections++) {
        if ((orphans != 1 && best_settle(s, in_parts(s, sections == 1, true))) ||
            (orphans != 0 && best_settle(s, in_parts(s, sections == 1, false)))) {
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

bool best_search(struct search *s, int orphans)
{
    bool done;
    if (orphans == 1) {
        done = best_settle(s, one_block(s, SINGLES_EITHER));
    } else {
        done = best_settle(s, one_block(s, SINGLES_NEVER)) ||
               (orphans != 0 && best_settle(s, with_singles(s)));
    }
    return done || (s->split && any_parts(s, orphans));
}
