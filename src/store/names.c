/* Names: small texts that orders and seats refer to by number (ticket types, reasons
 * of blocks). They are numbered as they appear in effects, so every replica has the
 * same numbers, and are never taken back but by undo, newest first. */
#include <string.h>

#include "store/store_impl.h"

static uint64_t text_hash(struct span text) { return hash64_seed(text.data, text.len, SEED_NAME); }

static uint64_t name_hash_of(const void *arg, uint32_t n)
{
    const struct name *name = ((const struct store *)arg)->names[n];
    return text_hash(span_make(name->text, name->len));
}

static uint32_t *name_next(const void *arg, uint32_t n)
{
    return &((const struct store *)arg)->names[n]->chain;
}

bool names_init(struct store *s)
{
    s->names_len = 1;
    return table_init(&s->name_table, &s->slab, 1, name_hash_of, name_next, s);
}

uint32_t name_find(const struct store *s, struct span text)
{
    for (uint32_t n = table_first(&s->name_table, text_hash(text)); n != 0;) {
        const struct name *name = s->names[n];
        if (span_eq(span_make(name->text, name->len), text)) {
            return n;
        }
        n = name->chain;
    }
    return 0;
}

struct name *name_make(struct store *s, struct span text)
{
    if (s->names_len >= s->names_cap) {
        uint32_t cap = s->names_cap == 0 ? 16 : s->names_cap * 2;
        struct name **names = slab_alloc(&s->slab, sizeof(void *) * cap);
        if (names == NULL) {
            return NULL;
        }
        memset(names, 0, sizeof(void *) * cap);
        if (s->names_cap > 0) {
            memcpy(names, s->names, sizeof(void *) * s->names_len);
        }
        slab_free(&s->slab, s->names, sizeof(void *) * s->names_cap);
        s->names = names;
        s->names_cap = cap;
    }
    struct name *n = slab_alloc(&s->slab, sizeof *n + text.len);
    if (n != NULL) {
        *n = (struct name){ .id = s->names_len, .len = (uint32_t)text.len };
        memcpy(n->text, text.data, text.len);
    }
    return n;
}

uint64_t name_hash(const struct name *n)
{
    return hash_mix(text_hash(span_make(n->text, n->len)), n->id);
}

void name_link(struct store *s, struct name *n, bool there)
{
    uint64_t hash = text_hash(span_make(n->text, n->len));
    if (there) {
        ASSERT(n->id == s->names_len && n->id < s->names_cap);
        s->names[s->names_len++] = n;
        table_insert(&s->name_table, hash, n->id);
        s->sum += name_hash(n);
    } else {
        table_remove(&s->name_table, hash, n->id);
        s->names[--s->names_len] = NULL;
        s->sum -= name_hash(n);
    }
}

void name_free(struct store *s, struct name *n) { slab_free(&s->slab, n, sizeof *n + n->len); }

struct span store_name(const struct store *s, uint32_t id)
{
    if (id == 0 || id >= s->names_len) {
        return span_make("", 0);
    }
    return span_make(s->names[id]->text, s->names[id]->len);
}
