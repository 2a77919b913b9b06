/* The store's memory: small blocks from per-size lists, no header, all counted.
 *
 * An order of two seats has 200 bytes for everything; malloc's header and rounding
 * alone would take a dozen. Sizes go in steps of 8 bytes up to 512, each with a free
 * list and the rest of its newest chunk; larger blocks come from mem_alloc. Chunks
 * are given back only when the store is closed: freed blocks of one size serve the
 * next objects of that size.
 *
 * Under the address sanitizer every block is mem_alloc's own, so that it can see
 * overruns and use after free. */
#include <string.h>

#include "base/mem.h"
#include "store/store_impl.h"

#ifdef __SANITIZE_ADDRESS__
#define SLAB_DIRECT 1
#else
#define SLAB_DIRECT 0
#endif

#define CHUNK_MIN 1024
#define CHUNK_MAX (32 * 1024)

struct chunk {
    struct chunk *next;
    uint64_t bytes;
};

static size_t class_of(size_t bytes)
{
    return bytes == 0 ? 1 : (bytes + SLAB_STEP - 1) / SLAB_STEP;
}

static void *direct_alloc(struct slab *m, size_t bytes)
{
    void *p = mem_alloc(bytes);
    if (p != NULL) {
        m->bytes += bytes;
    }
    return p;
}

/* Chunks of a size double from CHUNK_MIN to CHUNK_MAX: few blocks cost little, many
 * cost few calls. */
static bool refill(struct slab *m, size_t class)
{
    size_t bytes = m->chunk[class] == 0 ? CHUNK_MIN : (size_t)m->chunk[class] * 2;
    bytes = bytes > CHUNK_MAX ? CHUNK_MAX : bytes;
    struct chunk *c = mem_alloc(bytes);
    if (c == NULL) {
        return false;
    }
    c->next = m->chunks;
    c->bytes = bytes;
    m->chunks = c;
    m->bytes += bytes;
    m->chunk[class] = (uint32_t)bytes;
    m->bump[class] = (uint8_t *)(c + 1);
    m->bump_left[class] = (uint32_t)(bytes - sizeof *c);
    return true;
}

void *slab_alloc(struct slab *m, size_t bytes)
{
    if (SLAB_DIRECT || bytes > SLAB_MAX) {
        return direct_alloc(m, bytes);
    }
    size_t class = class_of(bytes), size = class * SLAB_STEP;
    void *p = m->free[class];
    if (p != NULL) {
        memcpy(&m->free[class], p, sizeof p);
        return p;
    }
    if (m->bump_left[class] < size && !refill(m, class)) {
        return NULL;
    }
    p = m->bump[class];
    m->bump[class] += size;
    m->bump_left[class] -= (uint32_t)size;
    return p;
}

void slab_free(struct slab *m, void *p, size_t bytes)
{
    if (p == NULL) {
        return;
    }
    if (SLAB_DIRECT || bytes > SLAB_MAX) {
        m->bytes -= bytes;
        mem_free(p);
        return;
    }
    size_t class = class_of(bytes);
    memcpy(p, &m->free[class], sizeof p);
    m->free[class] = p;
}

void slab_close(struct slab *m)
{
    for (struct chunk *c = m->chunks, *next; c != NULL; c = next) {
        next = c->next;
        mem_free(c);
    }
    m->chunks = NULL;
}

struct span slab_copy(struct slab *m, struct span text, bool *ok)
{
    char *p = slab_alloc(m, text.len);
    if (p == NULL) {
        *ok = false;
        return (struct span){ NULL, 0 };
    }
    if (text.len > 0) {
        memcpy(p, text.data, text.len);
    }
    return (struct span){ p, text.len };
}
