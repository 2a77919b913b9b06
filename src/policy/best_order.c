/* The shipped orders of tx:best, and a heap that gives blocks in such an order. */
#include "policy/best_order.h"

#include <lauxlib.h>

#include "base/text.h"
#include "policy/vm.h"

uint64_t best_row_key(const struct chart_row *row, uint32_t start, uint32_t n)
{
    int64_t middle = (int64_t)row->count - 1; /* twice */
    uint64_t sum = 0, nearest = UINT64_MAX;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t d = 2 * (int64_t)(start - row->first + i) - middle;
        uint64_t distance = (uint64_t)(d < 0 ? -d : d);
        sum += distance;
        if (distance < nearest) {
            nearest = distance;
            at = start - row->first + i;
        }
    }
    uint64_t right = 0xffff - ((start - row->first) & 0xffff);
    return (sum < 0xffffffff ? sum : 0xffffffff) << 32 | (uint64_t)(at & 0xffff) << 16 | right;
}

void seat_where(const struct chart *c, uint32_t number, double *x, double *y)
{
    struct chart_seat seat;
    chart_seat(c, number, &seat);
    bool given = chart_has_xy(c);
    *x = given ? (double)seat.x : (double)seat.position + 1;
    *y = given ? (double)seat.y : (double)seat.row + 1;
}

/* The sum of the squared distances to the point. */
static double focal_key(const struct best_order *o, const struct chart *c, uint32_t r,
                        uint32_t start, uint32_t n)
{
    double middle = o->x, sum = 0;
    if (o->any_x) {
        struct chart_row row = chart_row(c, r);
        double left, right, y;
        seat_where(c, row.first, &left, &y);
        seat_where(c, row.first + row.count - 1, &right, &y);
        middle = (left + right) / 2;
    }
    for (uint32_t i = 0; i < n; i++) {
        double x, y;
        seat_where(c, start + i, &x, &y);
        sum += (x - middle) * (x - middle) + (y - o->y) * (y - o->y);
    }
    return sum;
}

void best_key(const struct best_order *o, const struct chart *c, uint32_t r, uint32_t start,
              uint32_t n, uint32_t room, struct best_block *out)
{
    struct chart_row row = chart_row(c, r);
    out->seat = start;
    out->then = best_row_key(&row, start, n);
    switch (o->by) {
    case BEST_BACK: out->key = -(double)r; break;
    case BEST_FOCAL: out->key = focal_key(o, c, r, start, n); break;
    case BEST_TIGHT: out->key = (double)(room - n) * (1 << 20) + r; break;
    default: out->key = r; break;
    }
}

static bool before(const struct best_block *a, const struct best_block *b)
{
    if (a->key != b->key) {
        return a->key < b->key;
    }
    return a->then != b->then ? a->then < b->then : a->seat < b->seat;
}

static void sink(struct best_block *h, size_t n, size_t at)
{
    for (;;) {
        size_t child = at * 2 + 1;
        if (child + 1 < n && before(&h[child + 1], &h[child])) {
            child++;
        }
        if (child >= n || !before(&h[child], &h[at])) {
            return;
        }
        struct best_block t = h[at];
        h[at] = h[child];
        h[child] = t;
        at = child;
    }
}

void best_heapify(struct best_block *h, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) {
        sink(h, n, i);
    }
}

uint32_t best_pop(struct best_block *h, size_t *n)
{
    uint32_t seat = h[0].seat;
    h[0] = h[--*n];
    sink(h, *n, 0);
    return seat;
}

static enum best_by read_by(lua_State *L)
{
    static const char *const names[] = { "front", "back", "focal", "tight", NULL };
    struct span word = vm_check_span(L, -1, "score: by");
    for (int i = 0; names[i] != NULL; i++) {
        if (span_is(word, names[i])) {
            return (enum best_by)i;
        }
    }
    luaL_error(L, "tx:best: score: by is \"front\", \"back\", \"focal\" or \"tight\"");
    return BEST_FRONT;
}

void best_order_read(lua_State *L, int index, struct best_order *out)
{
    static const char *const names[] = { "by", "x", "y", NULL };
    *out = (struct best_order){ .any_x = true };
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, index, names, "tx:best: score")) >= 0; lua_pop(L, 1)) {
        if (i == 0) {
            out->by = read_by(L);
            continue;
        }
        vm_check_type(L, -1, LUA_TNUMBER, "score: x and y");
        if (i == 1) {
            out->x = lua_tonumber(L, -1);
            out->any_x = false;
        } else {
            out->y = lua_tonumber(L, -1);
        }
    }
}
