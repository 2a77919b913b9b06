/* Which places one list has more of than another: what a move gains, and what it gives up.
 *
 * A numbered seat is in a list or not; of an area a list has a count, in one entry for each ticket
 * type. Entries of the same type are set off first, then what is left of the area: whoever only
 * changes the type of a place neither gains nor gives up one. */
#include <string.h>

#include "policy/vm.h"

static bool same_place(const struct place *a, const struct place *b)
{
    return a->event == b->event && a->number == b->number;
}

static bool same_type(const struct places *a, uint32_t i, const struct places *b, uint32_t k)
{
    return span_eq(a->type[i], b->type[k]);
}

/* Takes from out[i] what `left` still has of it. */
static void set_off(struct places *out, uint32_t i, const struct places *other, uint32_t *left,
                    bool typed)
{
    struct place *p = &out->place[i];
    for (uint32_t k = 0; k < other->count && p->count > 0; k++) {
        if (left[k] > 0 && same_place(p, &other->place[k]) &&
            (!typed || same_type(out, i, other, k))) {
            uint32_t n = p->count < left[k] ? p->count : left[k];
            p->price -= p->price / p->count * n;
            p->count -= n;
            left[k] -= n;
        }
    }
}

static void drop_empty(struct places *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->place[i].count > 0) {
            out->type[n] = out->type[i];
            if (out->data != NULL) {
                out->data[n] = out->data[i];
            }
            out->place[n++] = out->place[i];
        }
    }
    out->count = n;
}

struct places *places_minus(lua_State *L, const struct places *all, const struct places *other)
{
    struct places *out = places_new(L, all->count);
    uint32_t *left = lua_newuserdatauv(L, (other->count + 1) * sizeof(*left), 0);
    memcpy(out->place, all->place, all->count * sizeof(*out->place));
    memcpy(out->type, all->type, all->count * sizeof(*out->type));
    if (all->data != NULL) {
        out->data = lua_newuserdatauv(L, all->count * sizeof(*out->data), 0);
        memcpy(out->data, all->data, all->count * sizeof(*out->data));
        lua_setiuservalue(L, -2, 1);
    }
    for (uint32_t k = 0; k < other->count; k++) {
        left[k] = other->place[k].count;
    }
    for (int typed = 1; typed >= 0; typed--) {
        for (uint32_t i = 0; i < out->count; i++) {
            set_off(out, i, other, left, typed != 0);
        }
    }
    lua_pop(L, 1);
    drop_empty(out);
    return out;
}
