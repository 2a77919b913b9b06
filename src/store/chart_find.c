/* Finding seats and areas by name.
 *
 * One hash table over folded names answers both questions of lua.md 1: the exact
 * label, else the only one that differs in case. Names of a chart may come from
 * hostile bytes, so work is bounded:
 *
 *   1 no name has more than FOLDED_MAX twins that differ only in case
 *   2 no probe runs longer than PROBE_MAX slots (refused when the name is added)
 *
 * At four fifths full, random names stay far below both; whoever crafts colliding
 * names gets the chart refused, the same way on every node since the hash is fixed. */
#include "store/chart_layout.h"

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"

#define FOLDED_MAX        64
#define PROBE_MAX         8192
/* "Did you mean" tries every single edit: about 80 look-ups per byte. */
#define NEAREST_BYTES_MAX 24

static char fold(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; }

uint64_t chart_hash(struct span name)
{
    char folded[ID_BYTES_MAX];
    ASSERT(name.len <= sizeof folded);
    for (size_t i = 0; i < name.len; i++) {
        folded[i] = fold(name.data[i]);
    }
    return hash64(folded, name.len);
}

static uint32_t first_slot(const struct chart_index *ix, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * ix->size) >> 32);
}

static uint32_t tag_of(uint64_t hash) { return (uint32_t)hash & ~INDEX_NUMBER_MASK; }

bool chart_index_init(struct chart_index *ix, uint32_t n)
{
    ASSERT(n < INDEX_NUMBER_MASK);
    ix->size = n + n / 4 + 4;
    ix->slots = mem_zalloc(sizeof *ix->slots * ix->size);
    return ix->slots != NULL;
}

struct chart_match chart_index_find(const struct chart_index *ix, const struct chart_names *names,
                                    struct span name, uint64_t hash)
{
    struct chart_match m = { -1, -1, 0 };
    if (ix->size == 0) {
        return m;
    }
    uint32_t tag = tag_of(hash);
    uint32_t at = first_slot(ix, hash);
    for (uint32_t slot; (slot = ix->slots[at]) != 0; at = at + 1 == ix->size ? 0 : at + 1) {
        if ((slot & ~INDEX_NUMBER_MASK) != tag) {
            continue;
        }
        uint32_t number = (slot & INDEX_NUMBER_MASK) - 1;
        struct span have = chart_name(names, number);
        if (span_eq(have, name)) {
            m.exact = number;
            break;
        }
        if (text_ieq(have, name)) {
            m.folded = number;
            m.folded_count++;
        }
    }
    return m;
}

int chart_index_add(struct chart_index *ix, const struct chart_names *names, uint32_t number,
                    const char *what, struct error *e)
{
    struct span name = chart_name(names, number);
    uint64_t hash = chart_hash(name);
    struct chart_match m = chart_index_find(ix, names, name, hash);
    if (m.exact >= 0) {
        return error_set(e, ERR_BADARG, "%s %.*s is there twice", what, (int)name.len, name.data);
    }
    if (m.folded_count >= FOLDED_MAX) {
        return error_set(e, ERR_BADARG, "too many names differ from %s %.*s only in case", what,
                         (int)name.len, name.data);
    }
    uint32_t at = first_slot(ix, hash);
    for (uint32_t probe = 0; ix->slots[at] != 0; probe++) {
        if (probe == PROBE_MAX) {
            return error_set(e, ERR_BADARG, "too many names collide with %s %.*s", what,
                             (int)name.len, name.data);
        }
        at = at + 1 == ix->size ? 0 : at + 1;
    }
    ix->slots[at] = tag_of(hash) | (number + 1);
    return 0;
}

int64_t chart_find(const struct chart *c, struct span label)
{
    if (label.len == 0 || label.len > ID_BYTES_MAX) {
        return -1;
    }
    uint64_t hash = chart_hash(label);
    struct chart_match m = chart_index_find(&c->by_label, &c->labels, label, hash);
    if (m.exact >= 0) {
        return m.exact;
    }
    struct chart_match a = chart_index_find(&c->by_alias, &c->aliases, label, hash);
    if (a.exact >= 0) {
        return a.exact;
    }
    /* A seat whose label and alias both match is still one seat. */
    if (m.folded_count + a.folded_count == 1 ||
        (m.folded_count == 1 && a.folded_count == 1 && m.folded == a.folded)) {
        return m.folded_count == 1 ? m.folded : a.folded;
    }
    return -1;
}

int64_t chart_find_area(const struct chart *c, struct span name)
{
    if (name.len == 0 || name.len > ID_BYTES_MAX) {
        return -1;
    }
    struct chart_match m = chart_index_find(&c->by_area, &c->area_names, name, chart_hash(name));
    return m.exact >= 0 ? m.exact : m.folded_count == 1 ? m.folded : -1;
}

int64_t chart_find_category(const struct chart *c, struct span name)
{
    int64_t folded = -1;
    uint32_t folded_count = 0;
    for (uint32_t i = 0; i < c->categories_count; i++) {
        if (span_eq(c->categories[i], name)) {
            return i;
        }
        if (text_ieq(c->categories[i], name)) {
            folded = i;
            folded_count++;
        }
    }
    return folded_count == 1 ? folded : -1;
}

/* Copies src into out with `cut` bytes at `at` replaced by `put_len` bytes. */
static struct span edited(char *out, struct span src, size_t at, size_t cut, const char *put,
                          size_t put_len)
{
    memcpy(out, src.data, at);
    memcpy(out + at, put, put_len);
    memcpy(out + at + put_len, src.data + at + cut, src.len - at - cut);
    return span_make(out, src.len - cut + put_len);
}

/* Trying every edit of the word costs the same for a club and for a stadium;
 * measuring the distance to every label would stop the loop for the stadium. */
struct span chart_nearest(const struct chart *c, struct span label)
{
    static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyz-_.";
    char text[NEAREST_BYTES_MAX + 2];
    int64_t seat = -1;
    if (label.len == 0 || label.len > NEAREST_BYTES_MAX) {
        return span_make("", 0);
    }
    for (size_t i = label.len; seat < 0 && i-- > 0;) {
        seat = chart_find(c, edited(text, label, i, 1, "", 0));
    }
    for (size_t i = 0; seat < 0 && i + 1 < label.len; i++) {
        char swapped[2] = { label.data[i + 1], label.data[i] };
        seat = chart_find(c, edited(text, label, i, 2, swapped, 2));
    }
    for (size_t i = label.len; seat < 0 && i-- > 0;) {
        for (const char *a = alphabet; seat < 0 && *a != 0; a++) {
            seat = chart_find(c, edited(text, label, i, 1, a, 1));
        }
    }
    for (size_t i = label.len + 1; seat < 0 && i-- > 0;) {
        for (const char *a = alphabet; seat < 0 && *a != 0; a++) {
            seat = chart_find(c, edited(text, label, i, 0, a, 1));
        }
    }
    return seat < 0 ? span_make("", 0) : chart_label(c, (uint32_t)seat);
}
